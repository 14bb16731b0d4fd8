# -*- test-case-name: tests.bench.test_twisted_control -*-
"""What Twisted itself costs: a bare Protocol that sends what vllmsim sends and does next to nothing else.

    python -m bench.twisted_control PORT RECORDING WHOLE ITL_NS

The files, and what is answered to whom, are those of ``control.c``. It finds the blank line and the Content-Length,
and writes with ``transport.write``: each token when it is due, or 64 KiB of tokens, joined, where all are due at once.
"""

import heapq
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Final, cast

from attrs import define, field
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol

from bench.recording import Recording

_BURST: Final = 1 << 16
_TURN: Final = 0.002
_EMPTY: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@define(eq=False)
class Wheel:
    """Emits the tokens of all streams, each at its own deadline.

    :param gap: seconds between two tokens of a stream.
    """

    _clock: IReactorTime
    gap: float
    _waiting: "list[tuple[float, int, Control]]" = field(init=False, factory=list)
    _order: "count[int]" = field(init=False, factory=count)
    _armed: bool = field(init=False, default=False)

    def add(self, stream: "Control") -> None:
        """Have a stream emit from its next deadline on."""
        heapq.heappush(self._waiting, (stream.due, next(self._order), stream))
        self._arm()

    def _arm(self) -> None:
        if self._waiting and not self._armed:
            self._armed = True
            self._clock.callLater(max(0.0, self._waiting[0][0] - self._clock.seconds()), self._turn)

    def _turn(self) -> None:
        self._armed = False
        waiting, seconds = self._waiting, self._clock.seconds
        begun = now = seconds()
        while waiting and waiting[0][0] <= now and now - begun < _TURN:
            due, order, stream = heapq.heappop(waiting)
            if stream.send_token():
                heapq.heappush(waiting, (due + self.gap, order, stream))
            now = seconds()
        self._arm()


class Control(Protocol):
    """One connection.

    :param pieces: of a stream, the last one with its end.
    :param bursts: the same, in groups of those that are joined and written when all tokens are due at once.
    :param whole: the answer to a request that asks for no stream.
    :param wheel: emits the tokens, unless they are all due at once.
    """

    def __init__(
        self,
        clock: IReactorTime,
        pieces: Sequence[bytes],
        bursts: Sequence[Sequence[bytes]],
        whole: bytes,
        wheel: Wheel,
    ) -> None:
        self._clock, self._wheel = clock, wheel
        self._pieces, self._bursts, self._whole = pieces, bursts, whole
        self._data = b""
        self._missing = 0
        self._token = self._tokens = 0
        self._gone = False
        self.due = 0.0

    def connectionMade(self) -> None:
        """Send small pieces at once."""
        transport = cast("ITCPTransport", self.transport)
        transport.setTcpNoDelay(True)
        self._write = transport.write

    def connectionLost(self, reason: object = None) -> None:
        """Emit nothing more."""
        self._gone = True

    def dataReceived(self, data: bytes) -> None:
        """Find out where a request ends, and answer it."""
        if self._missing > 0:
            self._missing -= len(data)
        else:
            self._data += data
            head, blank, body = self._data.partition(b"\r\n\r\n")
            if not blank:
                return
            _, found, rest = head.lower().partition(b"\r\ncontent-length:")
            self._missing = (int(rest.partition(b"\r\n")[0]) if found else 0) - len(body)
        if self._missing <= 0:
            request, self._data = self._data, b""
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET "):
            self._write(_EMPTY)
        elif b'"stream":true' not in request:
            self._write(self._whole)
        elif not self._wheel.gap:
            self._burst(0)
        else:
            self._tokens = int(request.partition(b'"max_tokens":')[2].partition(b",")[0].rstrip(b"}"))
            self._token = 0
            self.due = self._clock.seconds() + self._wheel.gap
            self._write(self._pieces[0])
            if self.send_token():
                self._wheel.add(self)

    def _burst(self, number: int) -> None:
        if self._gone:
            return
        self._write(b"".join(self._bursts[number]))
        if number + 1 < len(self._bursts):
            self._clock.callLater(0, self._burst, number + 1)

    def send_token(self) -> bool:
        """Send the next token.

        :return: whether there is another one.
        """
        if self._gone:
            return False
        self._token += 1
        more = self._token < self._tokens
        piece = 1 + (self._token - 1) % (len(self._pieces) - 2) if more else -1
        self._write(self._pieces[piece])
        return more


@define(eq=False)
class ControlFactory(Factory):
    """Makes a :class:`Control` for each connection."""

    _clock: IReactorTime
    _recording: Recording
    _whole: bytes
    _wheel: Wheel
    _bursts: Sequence[Sequence[bytes]] = field(init=False)

    noisy = False

    @_bursts.default
    def _group_pieces(self) -> Sequence[Sequence[bytes]]:
        return list(self._recording.bursts(_BURST))

    def buildProtocol(self, addr: object) -> Control:
        """Serve a connection."""
        return Control(self._clock, self._recording.pieces, self._bursts, self._whole, self._wheel)


def main(port: str, recording: str, whole: str, itl_ns: str) -> None:
    """Serve until a signal comes."""
    reactor = EPollReactor()
    wheel = Wheel(reactor, int(itl_ns) / 1e9)
    factory = ControlFactory(reactor, Recording.read(Path(recording)), Path(whole).read_bytes(), wheel)
    reactor.listenTCP(int(port), factory, backlog=4096, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
