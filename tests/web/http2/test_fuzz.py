"""Frames made by chance: whatever comes, nothing is logged, nothing is left, and others are served.

``make fuzz`` has thousands.
"""

import random
from collections.abc import Callable, Iterator
from typing import Final

from hpack import Encoder
from twisted.web.server import NOT_DONE_YET

from tests.fuzz.report import play
from tests.harness import Exchange
from tests.http2client import Http2Client
from tests.web.test_channel import Library
from tests.web.test_doorway import DoorwayTestCase
from vllmsim.web.doorway import PREFACE
from vllmsim.web.request import Request

_CASES: Final = 150

_FIELDS: Final = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"x")]
_OTHER: Final = [
    (b":path", b"/later"),
    (b":path", b"/large"),
    (b":path", b"/fails"),
    (b":method", b"HEAD"),
    (b"expect", b"100-continue"),
    (b"content-length", b"1000"),
    (b"cookie", b"a=b"),
    (b"te", b"trailers"),
    (b"x", b"y" * 300),
]
_WRONG: Final = [
    (b":method", b"CONNECT"),
    (b":path", b""),
    (b"content-length", b"3"),
    (b"content-length", b"x"),
    (b"connection", b"close"),
    (b"X", b"\xff\0"),
]


class Careless(Library):
    """Answers in one piece, in a large one, late, or not to its end."""

    def render(self, request: Request) -> int:
        """Answer."""
        if request.path == b"/large":
            request.answer(200, b"x" * 200_000, None)
            request.finish()
        elif request.path == b"/fails":
            request.write(b"some")
            request.hang_up(reset=len(self.later) % 2 == 1)
        else:
            super().render(request)
        return NOT_DONE_YET


class Chance:
    """What one client sends: a third does nothing wrong, and the others now and then, or often.

    :param chance: decides.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._wrong = chance.choice((0.0, 0.02, 0.2))
        self._encoder = Encoder()
        self._next = 1
        self._open: list[int] = []

    def frames(self) -> Iterator[bytes]:
        """Make some frames."""
        chance = self._chance
        yield self._frame(4, 0, 0, b"")
        right: list[Callable[[], bytes]] = [
            *[self._head] * 4,
            *[self._data] * 4,
            *[self._window] * 2,
            self._reset,
            self._setting,
            lambda: self._frame(6, chance.choice((0, 1)), 0, b"12345678"),
            lambda: self._frame(2, 0, self._some(), bytes(4) + chance.randbytes(1)),
            lambda: self._frame(chance.randrange(16, 256), chance.randrange(256), 0, chance.randbytes(20)),
        ]
        wrong: list[Callable[[], bytes]] = [
            lambda: self._frame(7, 0, 0, bytes(8)),
            lambda: self._frame(9, chance.choice((0, 4)), self._some(), b""),
            lambda: self._frame(0, 9, self._some(), chance.randbytes(9)),
            lambda: self._frame(8, 0, self._some(), chance.choice((bytes(4), b"\x7f\xff\xff\xff", b"x"))),
            lambda: self._frame(4, 0, 0, bytes((0, chance.randrange(10))) + chance.randbytes(4)),
            lambda: self._frame(chance.randrange(10), chance.randrange(256), self._some(), chance.randbytes(9)),
            lambda: self._broken(self._head()),
            lambda: self._broken(self._data()),
        ]
        for _ in range(chance.randrange(1, 60)):
            yield chance.choice(wrong if self._errs() else right)()

    def _errs(self) -> bool:
        return self._chance.random() < self._wrong

    def _broken(self, frame: bytes) -> bytes:
        at = self._chance.randrange(len(frame))
        return frame[:at] + self._chance.randbytes(1) + frame[at + 1 :]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload

    def _some(self) -> int:
        """Choose a stream that there was; or any, by mistake."""
        if self._errs():
            return self._chance.choice((0, 2, self._next + 8))
        return self._chance.choice((1, max(1, self._next - 2))) if self._next > 1 else 1

    def _head(self) -> bytes:
        chance = self._chance
        other = chance.choice(_WRONG if self._errs() else _OTHER)
        fields = [other if field[0] == other[0] else field for field in _FIELDS]
        if other not in fields:
            fields.append(other)
        block = self._encoder.encode(fields, huffman=chance.random() < 0.5)
        number, self._next = self._next, self._next + 2
        end = chance.choice((0, 1)) if other[0] != b"content-length" else 0
        if not end:
            self._open.append(number)
        if chance.random() < 0.1:
            cut = chance.randrange(len(block))
            return self._frame(1, end, number, block[:cut]) + self._frame(9, 4, number, block[cut:])
        return self._frame(1, 4 | end, number, block)

    def _data(self) -> bytes:
        if not self._open:
            return self._head()
        number = self._chance.choice(self._open)
        end = self._chance.choice((0, 0, 1))
        if end:
            self._open.remove(number)
        return self._frame(0, end, number, self._chance.randbytes(self._chance.choice((0, 1, 10, 200, 2000))))

    def _window(self) -> bytes:
        number = 0 if self._next == 1 else self._chance.choice((0, self._next - 2))
        return self._frame(8, 0, number, self._chance.choice((1, 100, 70_000)).to_bytes(4, "big"))

    def _reset(self) -> bytes:
        if self._next == 1:
            return self._head()
        number = self._chance.randrange(1, self._next, 2)
        if number in self._open:
            self._open.remove(number)
        return self._frame(3, 0, number, bytes(4))

    def _setting(self) -> bytes:
        code, value = self._chance.choice(((1, 0), (1, 1 << 30), (3, 0), (4, 0), (4, 100), (4, 1 << 20), (5, 1 << 16)))
        return self._frame(4, 0, 0, code.to_bytes(2, "big") + value.to_bytes(4, "big"))


class FuzzTests(DoorwayTestCase):
    """Many connections, one after another."""

    def test_chance(self) -> None:
        """Whatever frames come, in whatever pieces, no harm is done."""
        self.library = self.site.resource = Careless()
        figures = play("HTTP/2 frames", _CASES, self._try)
        self.assertEqual(b"/b \n", Http2Client(self.site).send("GET", "/b").body)
        figures.tell()

    def _try(self, chance: random.Random, _: int) -> None:
        """Play one client, and see that nothing is left of it."""
        self._play(chance)
        self.assertEqual([], self.flushLoggedErrors())
        self.assertEqual(set(), self.site.channels)
        self.clock.advance(0)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertTrue(all(request.gone or request.finished for request in self.library.later))
        self.library.later.clear()

    def _play(self, chance: random.Random) -> None:
        """Play one client."""
        exchange = Exchange(self.site)
        data = PREFACE + b"".join(Chance(chance).frames())
        at = 0
        while at < len(data):
            size = chance.choice((1, 5, 50, 500, 5000))
            exchange.send_bytes(data[at : at + size])
            at += size
            if chance.random() < 0.2:
                self.clock.advance(chance.choice((0, 0, 0, 1, 20)))
            if self.library.later and chance.random() < 0.3:
                request = self.library.later.pop(0)
                if not request.gone:
                    self.library.answer(request)
        if chance.random() < 0.2:
            self.clock.advance(100)
        exchange.drop()
