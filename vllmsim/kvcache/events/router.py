# -*- test-case-name: tests.kvcache.events.test_router -*-
"""The socket at which subscribers ask for batches once more: a ROUTER, always bound.

What :class:`vllmsim.kvcache.events.replay.Replay` decides goes out here. Imported late: txZMQ imports the reactor.
"""

from collections.abc import Sequence
from typing import Any, Final

import zmq
from twisted.internet.interfaces import IDelayedCall
from txzmq import ZmqEndpoint, ZmqEndpointType, ZmqFactory, ZmqRouterConnection

from vllmsim.config.events import is_found
from vllmsim.kvcache.events.replay import PeerGone, Replay

_QUEUE: Final = 32
"""Messages that may wait in the socket for one subscriber, or be read ahead from it."""
_COPIED: Final = 1 << 14
"""Bytes from which on a payload is not copied for that, but shared with the window."""
_SEND_BUFFER: Final = 1 << 18
"""Bytes that may wait in the kernel for one subscriber."""
_LONGEST_FRAME: Final = 1024
"""Bytes of a frame that a subscriber may send; one that sends longer ones is disconnected."""
_PATIENCE_MS: Final = 60_000
"""How long a subscriber's machine may take no bytes before it is disconnected."""
_FRAMES: Final = 128
"""Frames that are read in one turn of the reactor, at most."""
_ENOUGH: Final = 4
"""Frames of a message that are looked at: one more than a question has."""


class ReplayRouter(ZmqRouterConnection):  # type: ignore[misc]
    """Hears questions and sends answers.

    :param factory: whose connection it is.
    :param endpoint: where, in ZeroMQ's syntax; it is bound.
    :param replay: answers, until the socket is shut down.
    :raises OSError: when it cannot be bound; ``filename`` is the endpoint.
    """

    highWaterMark = _QUEUE
    factory: Any
    socket: Any
    recv_parts: list[bytes]
    read_scheduled: IDelayedCall | None

    def __init__(self, factory: ZmqFactory, endpoint: str, replay: Replay) -> None:
        self._said, self._replay = endpoint, replay
        super().__init__(factory)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        self.socket.set(zmq.SNDBUF, _SEND_BUFFER)
        self.socket.copy_threshold = _COPIED
        self.socket.set(zmq.MAXMSGSIZE, _LONGEST_FRAME)
        self.socket.set(zmq.TCP_MAXRT, _PATIENCE_MS)
        self.socket.set(zmq.IPV6, int("::" in endpoint))
        try:
            self.addEndpoints([ZmqEndpoint(ZmqEndpointType.bind, endpoint)])
        except zmq.ZMQError as error:
            self.shutdown()
            raise OSError(error.errno, zmq.strerror(error.errno or 0), endpoint) from error
        replay.offer = self.offer
        # The first that is not copied has a thread started, which takes milliseconds.
        zmq.Frame(bytes(_COPIED), copy=False)

    @property
    def endpoint(self) -> str:
        """Where it is, as it was said; where the system was to find a port, with that."""
        if not is_found(self._said):
            return self._said
        return str(self.socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())

    def offer(self, frames: Sequence[bytes]) -> bool:
        """Send a message, unless the queue of whom its first frame names is full.

        :return: whether it is on its way.
        :raises PeerGone: when nobody of that name is connected.
        """
        # A message is let in or not by its first frame. Payloads are not copied when they are large.
        try:
            self.socket.send(frames[0], zmq.NOBLOCK | zmq.SNDMORE)
            for frame in frames[1:-1]:
                self.socket.send(frame, zmq.NOBLOCK | zmq.SNDMORE)
            self.socket.send(frames[-1], zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            raise PeerGone from error
        finally:
            self._read_later()
        return True

    def shutdown(self) -> None:
        """Answer nobody any more."""
        self._replay.stop()
        super().shutdown()

    def doRead(self) -> None:
        """Read what has come, but not for long: others have their turn in between."""
        if self.read_scheduled is not None:
            if self.read_scheduled.active():
                self.read_scheduled.cancel()
            self.read_scheduled = None
        for _ in range(_FRAMES):
            if self.factory is None or not self.socket.get(zmq.EVENTS) & zmq.POLLIN:
                return
            frame = self.socket.recv(zmq.NOBLOCK)
            if len(self.recv_parts) < _ENOUGH:
                self.recv_parts.append(frame)
            if not self.socket.get(zmq.RCVMORE):
                message, self.recv_parts = self.recv_parts, []
                self._replay.asked(message)
        self._read_later()

    def _read_later(self) -> None:
        # The socket's descriptor tells of news once, and sending may have taken notice of them.
        if self.read_scheduled is None:
            self.read_scheduled = self.factory.reactor.callLater(0, self.doRead)
