# -*- test-case-name: tests.systemd.test_sockets -*-
"""Sockets that systemd has opened and passed, which endpoints ``systemd:domain=INET6:name=http`` stand for.

systemd tells in ``LISTEN_FDS`` how many descriptors there are from 3 on, in ``LISTEN_FDNAMES`` what they are called, as
``FileDescriptorName=`` of their units says, and in ``LISTEN_PID`` whom they are for. Twisted reads that when its
endpoints are imported, and then takes the first and the last out of the environment. What it makes of a name that is
not there is a ``KeyError``; and a socket of another family than the endpoint says would have clients with addresses
that are nobody's. Here is said what is wrong.
"""

import os
import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any, Final

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, quoteStringArgument, serverFromString
from twisted.internet.fdesc import setNonBlocking
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

PREFIX: Final = "systemd:"
"""What endpoints that stand for such a socket begin with."""
_BACKLOG: Final = 2048
"""How many connections may wait to be accepted: as many as at ports of our own."""
_FAMILIES: Final = {socket.AF_INET: "INET", socket.AF_INET6: "INET6", socket.AF_UNIX: "UNIX"}


class InheritedEndpoint(AdoptedStreamServerEndpoint):
    """Listens on a socket that stays systemd's: Twisted would make it a port of its own.

    It would let fewer clients wait than systemd does, and change and in the end remove the file of a unix socket.
    """

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Serve the clients who come.

        :return: has fired with the port.
        """
        listening = self._borrow(factory) if self.addressFamily == socket.AF_UNIX else super().listen(factory)
        waiting: Deferred[IListeningPort] = listening
        return waiting.addCallback(_lengthen)

    def _borrow(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        setNonBlocking(self.fileno)
        port: Any = unix.Port._fromListeningDescriptor(self.reactor, self.fileno, factory)  # noqa: SLF001
        with closing(_copy(self)) as copy:
            # It leaves alone what is no file. Its releases call that differently.
            port._bindPath = port.port = b"\0" + os.fsencode(copy.getsockname())  # noqa: SLF001
        # As it does with others that it adopts: it would end the socket for everybody.
        port._shouldShutdown = False  # noqa: SLF001
        port.startListening()
        os.close(self.fileno)
        return succeed(port)


def _lengthen(port: Any) -> Any:
    if isinstance(port, tcp.Port):
        port.socket.listen(_BACKLOG)
    return port


def inherited(endpoint: str, reactor: Any, environ: Mapping[str, str]) -> InheritedEndpoint:
    """Find the socket that an endpoint stands for.

    :param endpoint: in Twisted's syntax.
    :param environ: the environment, when Twisted has seen it.
    :raises ValueError: when there is none, or another than the endpoint says; the message is one clear line.
    """
    name = name_of(endpoint)
    if name is not None and environ.get("LISTEN_FDNAMES", "").split(":").count(name) > 1:
        raise ValueError(
            f"systemd has passed several sockets named {name!r}; give each a FileDescriptorName= of its own"
        )
    try:
        adopted: Any = serverFromString(reactor, endpoint)
    except (KeyError, IndexError):
        raise ValueError(_why_missing(name, environ)) from None
    except TypeError:
        raise ValueError("it takes domain= and name=") from None
    except AttributeError:
        raise ValueError("its domain is none; there are INET, INET6 and UNIX") from None
    _check(adopted)
    return InheritedEndpoint(reactor, adopted.fileno, adopted.addressFamily)


def name_of(endpoint: str) -> str | None:
    """Find the name of the socket that an endpoint stands for; None if it has none."""
    match = re.search(r":name=((?:\\.|[^:\\])+)", endpoint) if endpoint.startswith(PREFIX) else None
    return re.sub(r"\\(.)", r"\1", match[1]) if match else None


def unserved(endpoints: Iterable[str], environ: Mapping[str, str]) -> list[str]:
    """List sockets that were passed and that no endpoint stands for: whoever connects to them would wait for ever."""
    wanted = list(endpoints)
    if any(each.startswith(PREFIX) and name_of(each) is None for each in wanted):
        return []
    served = set(map(name_of, wanted))
    return [name for name in environ.get("LISTEN_FDNAMES", "").split(":") if name and name not in served]


def as_endpoint(adopted: InheritedEndpoint) -> str:
    """Write the endpoint that would have made a socket."""
    with closing(_copy(adopted)) as copy:
        address = copy.getsockname()
    if adopted.addressFamily == socket.AF_UNIX:
        return f"unix:{quoteStringArgument(os.fsdecode(address))}"
    kind = "tcp6" if adopted.addressFamily == socket.AF_INET6 else "tcp"
    return f"{kind}:{address[1]}:interface={quoteStringArgument(address[0])}"


def _why_missing(name: str | None, environ: Mapping[str, str]) -> str:
    names = environ.get("LISTEN_FDNAMES", "")
    if environ.get("LISTEN_PID", str(os.getpid())) != str(os.getpid()):
        return f"systemd has passed its sockets to process {environ['LISTEN_PID']}, and this one is {os.getpid()}"
    if not names:
        return "systemd has passed no sockets with names; a socket unit names them by FileDescriptorName="
    if name is None:
        return f"systemd has passed no socket of that number; say which by name=, of {_listed(names)}"
    if name in names.split(":"):
        return "systemd has passed more names than sockets, or fewer: LISTEN_FDS and LISTEN_FDNAMES do not agree"
    return f"systemd has passed no socket named {name!r}, but {_listed(names)}"


def _listed(names: str) -> str:
    return ", ".join(map(repr, names.split(":")))


def _check(adopted: AdoptedStreamServerEndpoint) -> None:
    try:
        with closing(_copy(adopted)) as copy:
            family, kind = copy.family, copy.type
            listens = kind == socket.SOCK_STREAM and copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ValueError(f"descriptor {adopted.fileno} is no socket: {error.strerror}") from None
    if not listens:
        raise ValueError("its socket takes no connections; the unit needs ListenStream= and Accept=no")
    if family != adopted.addressFamily:
        right = _FAMILIES.get(family, str(family))
        raise ValueError(f"its socket is of another family; say domain={right}")


def _copy(adopted: AdoptedStreamServerEndpoint) -> socket.socket:
    return socket.socket(fileno=os.dup(adopted.fileno))
