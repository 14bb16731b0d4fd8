# -*- test-case-name: tests.test_listening -*-
"""Listening as a service that says in one line why it cannot."""

import atexit
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory, IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from vllmsim.config.endpoints import TLS_KINDS, EndpointWords, endpoint_words

if TYPE_CHECKING:
    from vllmsim.tls.keyring import Keyring

_BUILT_IN = ("tcp", "ssl", "unix")
"""Endpoints that Twisted has without plugins."""


class StartError(SystemExit):
    """Something cannot listen: ends the program with status 1 and one line that says why."""

    def __init__(self, endpoint: str, reason: object) -> None:
        super().__init__(f"vllmsim: cannot listen on {endpoint!r}: {reason}")


class Listener(Service):
    """Listens while it runs.

    :param endpoint: where, in Twisted's endpoint syntax.
    :param factory: makes the connections.
    :param keyring: has the certificates of endpoints that speak TLS; they have their own without one.
    :param bound: makes of the endpoint the one that is used.
    :raises StartError: when the endpoint is none.
    """

    def __init__(
        self,
        endpoint: str,
        factory: IProtocolFactory,
        reactor: Any,
        keyring: "Keyring | None" = None,
        bound: Callable[[IStreamServerEndpoint], IStreamServerEndpoint] = lambda endpoint: endpoint,
    ) -> None:
        self._endpoint = endpoint
        try:
            words = endpoint_words(endpoint)
            self._path = _path(words)
            service = StreamServerEndpointService(bound(_endpoint(endpoint, words, reactor, keyring)), factory)
        except Exception as error:
            raise StartError(endpoint, error) from error
        # As twisted.application.strports has it.
        service._raiseSynchronously = True  # noqa: SLF001
        self._port = service
        self._bound = False

    def privilegedStartService(self) -> None:
        """Listen.

        :raises StartError: when that is not possible.
        """
        super().privilegedStartService()
        try:
            if self._path:
                _tidy(self._path)
                # Whatever ends a start leaves no file.
                atexit.register(self._remove)
            self._port.privilegedStartService()
            self._bound = True
        except (CannotListenError, OSError, ValueError) as error:
            cause = getattr(error, "socketError", error)
            raise StartError(self._endpoint, getattr(cause, "strerror", None) or cause) from error

    def startService(self) -> None:
        """Go on listening."""
        super().startService()
        self._port.startService()

    def stopService(self) -> Deferred[None]:
        """Take no more connections.

        :return: fires when the port is closed.
        """
        super().stopService()
        atexit.unregister(self._remove)
        return maybeDeferred(self._port.stopService)

    def _remove(self) -> None:
        """Remove the socket's file and its lock, if they are ours."""
        with suppress(OSError):
            if self._bound:
                Path(self._path).unlink(missing_ok=True)
            lock = Path(f"{self._path}.lock")
            if str(lock.readlink()) == str(os.getpid()):
                lock.unlink()


def keyring_for(endpoints: Iterable[str], reactor: Any, passphrase: str = "", trusted: bytes = b"") -> "Keyring | None":
    """Make what has the certificates of endpoints, if any of them needs one.

    :param passphrase: see :class:`vllmsim.tls.keyring.Keyring`, as for `trusted`.
    """
    needed = any(endpoint.partition(":")[0] in TLS_KINDS for endpoint in endpoints)
    return _keyring(reactor, passphrase, trusted) if needed else None


def _keyring(reactor: Any, *arguments: Any) -> "Keyring":
    from vllmsim.tls.keyring import Keyring  # noqa: PLC0415 - most servers speak no TLS

    return Keyring(reactor, *arguments)


def _endpoint(text: str, words: EndpointWords, reactor: Any, keyring: "Keyring | None") -> IStreamServerEndpoint:
    """Make an endpoint; our own ones also where Twisted does not find its plugins."""
    if words.kind in TLS_KINDS:
        own = keyring or _keyring(reactor)
        return own.endpoint(words.kind, words.positional, words.named)
    if words.kind == "systemd":
        from vllmsim.systemd.sockets import inherited  # noqa: PLC0415 - few servers are passed a socket

        return inherited(text, reactor, os.environ)
    if words.kind not in _BUILT_IN:
        plugins = getPlugins(IStreamServerEndpointStringParser)
        every = sorted({*_BUILT_IN, *TLS_KINDS, *(plugin.prefix for plugin in plugins)})
        if words.kind.lower() not in every:
            raise ValueError(f"{words.kind!r} is no kind of endpoint; there are {', '.join(every)}")
    endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    return endpoint


def _path(words: EndpointWords) -> str:
    """Find the socket's file, where an endpoint has one."""
    return next(iter(words.positional), words.named.get("address", "")) if words.kind == "unix" else ""


def _tidy(path: str) -> None:
    """Remove a socket, with its lock, at which nobody listens any more: its server was killed.

    :raises CannotListenError: when somebody does.
    """
    with socket.socket(socket.AF_UNIX) as knocking:
        knocking.setblocking(False)
        try:
            knocking.connect(path)
        except ConnectionRefusedError:
            # A file that is none refuses too.
            if not Path(path).is_socket():
                return
            Path(path).unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError:
            # Somebody who is busy, or no socket: the attempt to listen will tell.
            return
        else:
            raise CannotListenError(None, path, OSError(0, "another server listens there"))
    # One that is left may name a process that lives, such as this one in a container that was started again.
    lock = Path(f"{path}.lock")
    if lock.is_symlink():
        lock.unlink(missing_ok=True)
