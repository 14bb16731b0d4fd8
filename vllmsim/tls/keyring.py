# -*- test-case-name: tests.tls.test_keyring -*-
"""All certificates of a process: endpoints that ask for the same have the same, and all are read again together."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.tls.settings import Manner, Source, read_words

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from vllmsim.tls.certificates import Certificates

_ALWAYS: Final = 2


class Keyring:
    """Makes endpoints that speak TLS.

    :param reactor: provides time, sockets and a thread pool.
    :param passphrase: that of private keys, where no file has it.
    :param trusted: clients' certificates that are believed beside those of the authorities, as PEM.
    :param now: tells the time, in seconds since the epoch.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self, reactor: Any, passphrase: str = "", trusted: bytes = b"", now: Callable[[], float] = time.time
    ) -> None:
        self._reactor = reactor
        self._passphrase = passphrase
        self._trusted = trusted
        self._now = now
        self._certificates: dict[tuple[Source, Manner], Certificates] = {}

    def endpoint(self, prefix: str, positional: Sequence[str], named: Mapping[str, str]) -> IStreamServerEndpoint:
        """Make an endpoint of the words of its string.

        :param prefix: one of :data:`vllmsim.tls.settings.PREFIXES`.
        :raises vllmsim.tls.errors.TlsError: when it cannot be, or its certificate cannot be used.
        """
        from vllmsim.tls.serving import TlsEndpoint  # noqa: PLC0415 - OpenSSL is for those who ask for TLS

        wanted = read_words(prefix, positional, named)
        return TlsEndpoint(self._reactor, wanted.place, self._of(wanted.source, wanted.manner))

    def _of(self, source: Source, manner: Manner) -> "Certificates":
        from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415 - see above
        from twisted.internet.threads import deferToThreadPool  # noqa: PLC0415

        from vllmsim.tls.certificates import Certificates  # noqa: PLC0415

        known = self._certificates.get((source, manner))
        if known is None:
            reactor = self._reactor
            in_thread = partial(_in_thread, deferToThreadPool, reactor)
            trusted: tuple[Certificate, ...] = tuple(load_pem_x509_certificates(self._trusted)) if self._trusted else ()
            known = Certificates(source, manner, reactor, self._now, in_thread, self._passphrase, trusted)
            self._certificates[source, manner] = known
        return known

    @property
    def asks(self) -> bool:
        """Whether an endpoint lets no client in that has no certificate."""
        return any(manner.asking == _ALWAYS for _, manner in self._certificates)

    def reload(self, who: str) -> Deferred[Any]:
        """Read all files again.

        :param who: says in the log who wants it.
        :return: fires when that is done.
        """
        return DeferredList([each.reload(who).addErrback(self._failed) for each in self._certificates.values()])

    def _failed(self, reason: Failure) -> None:
        self._log.failure("TLS certificates could not be read again.", reason)


def _in_thread(defer: Any, reactor: Any, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Find the thread pool when it is needed: it belongs to a reactor that runs."""
    deferred: Deferred[Any] = defer(reactor, reactor.getThreadPool(), function, *arguments)
    return deferred
