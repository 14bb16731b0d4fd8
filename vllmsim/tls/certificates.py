# -*- test-case-name: tests.tls.test_certificates -*-
"""The certificate that is in use, and the next one when its files change.

Files are looked at every second, and where their links lead: so one that is replaced, rewritten or reached by another
link, as Kubernetes does with its secrets, is found. What has changed is read when it was the same at two looks, and
taken when it is whole: a certificate that was replaced before its key is waited with. New handshakes have the new one
then; connections that are open go on with theirs.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar, Final

from attrs import define, evolve, field
from cryptography.x509 import Certificate
from OpenSSL import SSL
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, LogLevel

from vllmsim.tls.contexts import make_context
from vllmsim.tls.errors import TlsError
from vllmsim.tls.identities import Identity, States, moment, read_authorities, read_identity, states, whole
from vllmsim.tls.selfsigned import server_identity
from vllmsim.tls.settings import FileSource, Manner, SelfSigned, Source

_LOOK: Final = 1.0
"""Seconds between two looks at the files."""
_REMIND: Final = 86400.0
"""Seconds between two lines about a certificate that ends."""
_SOON: Final = 14 * 86400.0
"""A certificate is renewed later than it should be when fewer seconds than these are left of it."""
_SHARE: Final = 0.2
"""The same, as a share of its life, where that is short."""


@define(eq=False)
class Certificates:
    """Has the context that new connections are made with.

    :param clock: says when to look at the files.
    :param now: tells the time, in seconds since the epoch.
    :param in_thread: runs a function off the reactor.
    :param passphrase: the key's, if it is not in a file.
    :param trusted: clients' certificates that are believed too.
    :raises TlsError: when there is no certificate that can be used.
    """

    _log: ClassVar[Logger] = Logger()

    _source: Source
    _manner: Manner
    _clock: IReactorTime
    _now: Callable[[], float]
    _in_thread: Callable[..., Deferred[Any]]
    _passphrase: str = field(default="", repr=False)
    _trusted: tuple[Certificate, ...] = ()
    context: SSL.Context = field(init=False)
    """What new connections are made with."""
    identity: Identity = field(init=False)
    """Who the server is."""
    _users: int = field(init=False, default=0)
    _turn: DeferredLock = field(init=False, factory=DeferredLock)
    _loop: LoopingCall = field(init=False)
    _seen: States = field(init=False, default=())
    """How the files were at the last look."""
    _read: States = field(init=False, default=())
    """How they were when they were read."""
    _watched: bool = field(init=False, default=False)
    _said: tuple[str, float] = field(init=False, default=("", 0.0))
    """What was said last about its time, and when."""

    def __attrs_post_init__(self) -> None:
        self._seen = self._read = states(self._source.paths)
        self.identity, self.context = self._load()
        self._watched = self._source.watched and whole(self._source.paths)
        self._loop = LoopingCall(self._look)
        self._loop.clock = self._clock

    def start(self) -> None:
        """Learn that someone listens: look at the files from now on, and when the certificate ends."""
        self._users += 1
        if self._users > 1:
            return
        self._log.info("The TLS certificate is {certificate}.", certificate=self.identity.text)
        self._remind()
        self._loop.start(_LOOK, now=False).addErrback(
            lambda reason: self._log.failure("The TLS certificate is watched no more.", reason)
        )

    def stop(self) -> None:
        """Learn that one who listened does no more; nothing is looked at when nobody does."""
        self._users -= 1
        if not self._users and self._loop.running:
            self._loop.stop()

    def publish(self) -> None:
        """Write a certificate that was made here to the file that clients read it from, whole or not at all.

        :raises OSError: when that is not possible.
        """
        path = getattr(self._source, "certificate", "") if isinstance(self._source, SelfSigned) else ""
        if not path:
            return
        with NamedTemporaryFile(dir=Path(path).parent, prefix=".", delete=False) as file:
            file.write(self.identity.pem)
        new = Path(file.name)
        try:
            new.chmod(0o644)
            new.replace(path)
        except OSError:
            new.unlink()
            raise

    def reload(self, who: str) -> Deferred[None]:
        """Read the files again, whether they have changed or not. The log says what came of it.

        :param who: says in the log who wants it.
        :return: fires when that is done; it is not to be cancelled.
        """
        if not self._source.paths:
            return succeed(None)
        return self._turn.run(lambda: Deferred.fromCoroutine(self._reload(who)))

    def _look(self) -> Deferred[None] | None:
        self._remind()
        return Deferred.fromCoroutine(self._examine()) if self._watched else None

    async def _examine(self) -> None:
        seen: States = await self._in_thread(states, self._source.paths)
        before, self._seen = self._seen, seen
        if seen == before and seen != self._read and self._users:
            await self._turn.run(lambda: Deferred.fromCoroutine(self._reload("TLS files have changed")))

    async def _reload(self, who: str) -> None:
        self._read = self._seen = await self._in_thread(states, self._source.paths)
        try:
            identity, context = await self._in_thread(self._load)
        except TlsError as error:
            self._log.warn("{who}: {fault}; the certificate in use stays.", who=who, fault=error)
            return
        if identity.same(self.identity):
            self._log.info("{who}: the certificate is the same.", who=who)
            return
        self.identity, self.context, self._said = identity, context, ("", 0.0)
        self._log.info("{who}: new connections have {certificate}.", who=who, certificate=identity.text)
        self._remind()

    def _load(self) -> tuple[Identity, SSL.Context]:
        """Read or make it.

        :raises TlsError: when it cannot be used.
        """
        source, now = self._source, self._now()
        if isinstance(source, FileSource):
            identity = read_identity(source, self._passphrase)
        else:
            identity = evolve(server_identity(source.names, now), authorities=read_authorities(source.authorities))
        if identity.ends.timestamp() < now:
            where = f" in {source.certificate!r}" if isinstance(source, FileSource) else ""
            raise TlsError(f"the certificate{where} has expired: it was valid until {moment(identity.ends)}")
        return identity, make_context(identity, self._manner, self._trusted)

    def _remind(self) -> None:
        """Say that the certificate ends soon, has ended, or is not valid yet: when that begins, and then once a day."""
        now, identity = self._now(), self.identity
        left = identity.ends.timestamp() - now
        begins = identity.certificate.not_valid_before_utc
        if left < 0:
            level, doubt, when = LogLevel.error, "has expired: clients who check it refuse it since", identity.ends
        elif left < min(_SOON, identity.lifetime * _SHARE):
            level, doubt, when = LogLevel.warn, "expires soon: it is valid until", identity.ends
        elif now < begins.timestamp():
            level, doubt, when = LogLevel.warn, "is not valid yet: it is from", begins
        else:
            return
        said, last = self._said
        if said == doubt and now - last < _REMIND:
            return
        self._said = doubt, now
        self._log.emit(level, "The TLS certificate {doubt} {when}.", doubt=doubt, when=moment(when))
