# -*- test-case-name: tests.web.http2.test_outgoing -*-
"""What goes out on a connection: frames of all its streams, in turns where not all can go at once.

What is written in a turn of the reactor goes to the socket in one piece. How much a client has room for is counted
here, and not by h2, for the connection and in :class:`vllmsim.web.http2.stream.Stream` for each stream: so a token
costs its frame, and little more.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from h2.connection import H2Connection
from h2.errors import ErrorCodes

from vllmsim.web.http2.allowance import Allowance
from vllmsim.web.http2.endofturn import EndOfTurn
from vllmsim.web.http2.protocol import FIRST_WINDOW
from vllmsim.web.sending import Write

if TYPE_CHECKING:
    from vllmsim.web.http2.stream import Fields, Stream

LARGEST_FRAME: Final = 1 << 14
"""How long a frame of ours is at most, which every client allows: so streams have their turns often."""
_LEAST: Final = 1 << 8
"""What each frame of those that wait counts at least, however little the client has room for."""
_AT_ONCE: Final = 1 << 18
"""How many bytes are kept for one write, and how many of what waits go out in one turn."""


def _nowhere(data: bytes) -> None:
    """Take what is written when nothing is sent any more."""


class Outgoing:
    """The way out.

    :param end: comes when a turn of the reactor is over.
    :param write: writes to the socket.
    :param earned: grows with each piece of an answer.
    """

    def __init__(self, end: EndOfTurn, h2: H2Connection, write: Write, earned: Allowance) -> None:
        self._end = end
        self._h2 = h2
        self._write = write
        self._earned = earned
        self.window = FIRST_WINDOW
        """How many bytes the client has room for, whatever their streams."""
        self.full = False
        """Whether the socket is full."""
        self.backlog = 0
        """How many bytes wait in all streams."""
        self.held = False
        """Whether somebody is going to call :meth:`flush` in this turn."""
        self._closed = False
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._others = 0
        """How many of them are no pieces of answers."""
        self._waiting: deque[Stream] = deque()
        self._due = False
        """Whether :meth:`flush` is called when the turn is over."""

    def put(self, data: bytes) -> None:
        """Write a piece of an answer, in its frame. All that is written in a turn goes out at its end."""
        self._kept.append(data)
        self._kept_bytes += len(data)
        if self._kept_bytes > _AT_ONCE:
            self._write_kept()
        elif not (self._due or self.held):
            self.flush_soon()

    def put_other(self, data: bytes) -> None:
        """Write other frames."""
        self._others += 1
        self.put(data)

    def flush_soon(self) -> None:
        """Have everything written when this turn is over."""
        if not (self._due or self.held or self._closed):
            self._due = True
            self._end.do(self._end_turn)

    def _end_turn(self) -> None:
        self._due = False
        if not self._closed:
            self.flush()

    def flush(self) -> None:
        """Write everything now, and of what waits as much as may go out in one turn."""
        self.put_h2()
        if self._waiting:
            self._send_waiting()
        self._write_kept()
        if self._waiting and self.window > 0 and not self.full:
            self.flush_soon()

    def _write_kept(self) -> None:
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        self._earned.earn(len(kept) - self._others)
        self._others = 0
        if kept:
            self._write(kept[0] if len(kept) == 1 else b"".join(kept))

    def close(self) -> None:
        """Write everything now, and nothing any more."""
        self._waiting.clear()
        self._write_kept()
        self._write = _nowhere
        self._closed = True

    # What waits

    def wait(self, stream: "Stream") -> None:
        """Have a stream send when its turn comes, if its client has room."""
        if stream.waits and not stream.queued:
            stream.queued = True
            self._waiting.append(stream)
            self.flush_soon()

    def _send_waiting(self) -> None:
        """Have streams send what waits, one frame each in turns."""
        sent = 0
        while self._waiting and self.window > 0 and not self.full and sent < _AT_ONCE:
            stream = self._waiting.popleft()
            stream.queued = False
            if stream.waits:
                sent += max(stream.send_some(min(self.window, LARGEST_FRAME)), _LEAST)
                self.wait(stream)

    # What h2 writes

    def put_h2(self) -> None:
        """Write what h2 has to say, behind what was written before."""
        data = self._h2.data_to_send()
        if data:
            self.put_other(data)

    def head(self, number: int, fields: "Fields", *, end: bool = False) -> None:
        """Write the head or the trailers of an answer.

        :param end: whether nothing comes behind.
        """
        self._h2.send_headers(number, fields, end_stream=end)
        self.put_h2()

    def end(self, number: int) -> None:
        """Write that an answer is complete."""
        self._h2.end_stream(number)
        self.put_h2()

    def reset(self, number: int, code: ErrorCodes) -> None:
        """Write that a stream is over."""
        self._h2.reset_stream(number, code)
        self.put_h2()

    def acknowledge(self, number: int, size: int) -> None:
        """Have the client send more."""
        self._h2.acknowledge_received_data(size, number)
        self.flush_soon()
