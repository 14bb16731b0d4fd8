# -*- test-case-name: tests.scripts.clock.test_client -*-
"""A light client: many streams of one request, and when the kernel received each token.

One loop over epoll, no HTTP library. A request is sent at its time and the stream read as it comes::

    -> POST /v1/completions HTTP/1.1 ... {"stream": true, "stream_options": {"include_usage": true}, ...}
    <- HTTP/1.1 200 OK ...
    <- data: {... "choices": [{"text": " word", ...}]}      one event for each token
    <- data: {... "choices": [], "usage": {...}}            how many tokens there were
    <- data: [DONE]

Linux stamps what arrives on a socket before any program is woken (SO_TIMESTAMPNS). So the client's own lateness is no
part of what it measures, and is told beside it. Where there are no stamps, a token has arrived when it is read.
"""

import re
import resource
import select
import socket
import struct
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import eq
from typing import Final

from attrs import define, field

_STAMPS: Final = 35
"""SO_TIMESTAMPNS of asm-generic/socket.h, which Python does not name, and the type of the message that has it."""
_STAMP: Final = struct.Struct("@ll")
_MOST_READ: Final = 1 << 16
_KEPT: Final = 2048
_SPARE_FILES: Final = 100
_OK: Final = b"HTTP/1.1 200 "
_EVENT_END: Final = b"\n\n"
_END: Final = b"\r\n0\r\n\r\n"
_USAGE: Final = re.compile(rb'"prompt_tokens":(\d+).*?"completion_tokens":(\d+)')
_MESSAGE: Final = re.compile(rb'"message":"((?:[^"\\]|\\.)*)"')
_SECOND: Final = 10**9


class NoFiles(Exception):
    """The operating system does not let this program open as many sockets as there would be streams."""


@define(eq=False)
class Stream:
    """Reads one answer.

    :param asked: how many tokens it should have.
    """

    asked: int
    sent: int = 0
    """When the request was sent, in nanoseconds of the monotonic clock."""
    arrivals: "array[int]" = field(init=False, factory=lambda: array("q"))
    """When each token arrived, likewise."""
    finished: bool = field(init=False, default=False)
    fault: str = field(init=False, default="")
    """What went wrong, if something did."""
    prompt_tokens: int = field(init=False, default=0)
    _refused: bool = field(init=False, default=False)
    _tail: bytes = field(init=False, default=b"")

    @property
    def together(self) -> int:
        """How many tokens were read together with a later one, and have its time."""
        return sum(map(eq, self.arrivals, self.arrivals[1:]))

    def received(self, data: bytes, arrival: int) -> None:
        """Take what was read at one time."""
        if len(self._tail) < len(_OK):
            self._refused = not _OK.startswith((self._tail + data)[: len(_OK)])
        if not self._refused:
            # An event's end may be cut in two.
            events = data.count(_EVENT_END) + (self._tail[-1:] + data[:1] == _EVENT_END)
            self.arrivals.extend([arrival] * events)
        self._tail = (self._tail + data)[-_KEPT:]
        if self._tail.endswith(_END) and not self._refused:
            self._close()

    def lost(self, reason: str) -> None:
        """Learn that there will be nothing more."""
        if not self.finished and not self.fault:
            del self.arrivals[self.asked :]
            self.fault = self._message() if self._refused else reason

    def _close(self) -> None:
        usage = _USAGE.search(self._tail)
        # The last two events were the usage, or an error, and the end.
        del self.arrivals[-2:]
        if usage is None:
            self.fault = self._message()
            return
        self.prompt_tokens = int(usage[1])
        if len(self.arrivals) == int(usage[2]) == self.asked:
            self.finished = True
        else:
            self.fault = f"{len(self.arrivals)} of {int(usage[2])} tokens came, and {self.asked} were asked"

    def _message(self) -> str:
        message = _MESSAGE.search(self._tail)
        if message is not None:
            return message[1].decode("utf-8", "replace")
        return self._tail.partition(b"\r\n")[0].decode("utf-8", "replace")


@define(eq=False)
class Client:
    """Runs streams against one port.

    :param port: of the loopback address.
    :param request: what every stream sends.
    :param patience: seconds without a byte after which streams that are not finished are given up.
    :param progress: told how many tokens have come, some times in a second.
    """

    _port: int
    _request: bytes
    _patience: float
    _progress: Callable[[int], object] = lambda _tokens: None
    stamped: bool = field(init=False, default=True)
    """Whether the kernel has told when everything arrived."""
    delays: "array[int]" = field(init=False, factory=lambda: array("q"))
    """How many nanoseconds after its arrival each piece was read."""

    def run(self, streams: Sequence[Stream], starts: Sequence[float]) -> None:
        """Run every stream to its end, good or bad.

        :param starts: when each of them sends its request, in seconds from now, ascending.
        :raises OSError: when nobody listens.
        """
        connections = [self._connect() for _ in streams]
        try:
            self._await_accepted()
            self._serve(dict(zip((c.fileno() for c in connections), streams, strict=True)), connections, starts)
        finally:
            for connection in connections:
                connection.close()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), self._patience)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.setsockopt(socket.SOL_SOCKET, _STAMPS, 1)
        except OSError:
            self.stamped = False
        connection.setblocking(False)
        return connection

    def _await_accepted(self) -> None:
        """Wait until the server has got to know all connections: it takes them in order, and answers the last."""
        with socket.create_connection(("127.0.0.1", self._port), self._patience) as last:
            last.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            last.recv(_MOST_READ)

    def _serve(self, streams: dict[int, Stream], connections: list[socket.socket], starts: Sequence[float]) -> None:
        by_number = {connection.fileno(): connection for connection in connections}
        waiting = [(start, c.fileno()) for start, c in zip(starts, connections, strict=True)][::-1]
        running = len(waiting)
        begun = heard = told = time.monotonic()
        with select.epoll() as poll:
            while running:
                now = time.monotonic()
                while waiting and begun + waiting[-1][0] <= now:
                    number = waiting.pop()[1]
                    streams[number].sent = time.monotonic_ns()
                    # What becomes of it is seen when it is read from.
                    with suppress(OSError):
                        by_number[number].send(self._request)
                    poll.register(number, select.EPOLLIN)
                    heard = now
                if now - told > 0.2:  # noqa: PLR2004 - of a second: as often as eyes want it
                    told = now
                    self._progress(sum(len(stream.arrivals) for stream in streams.values()))
                rest = self._patience - (now - heard)
                if rest <= 0 and not waiting:
                    break
                for number, _ in poll.poll(min(0.2, max(0.0, begun + waiting[-1][0] - now)) if waiting else 0.2):
                    heard = now
                    stream = streams[number]
                    self._read(by_number[number], stream)
                    if stream.finished or stream.fault:
                        poll.unregister(number)
                        running -= 1
        for stream in streams.values():
            stream.lost(f"nothing came for {self._patience:g} s")

    def _read(self, connection: socket.socket, stream: Stream) -> None:
        try:
            data, messages, _, _ = connection.recvmsg(_MOST_READ, socket.CMSG_SPACE(_STAMP.size))
        except BlockingIOError:
            return
        except OSError as error:
            stream.lost(str(error))
            return
        if not data:
            stream.lost("the connection was closed")
            return
        read, arrival = time.time_ns(), time.monotonic_ns()
        stamps = [content for level, kind, content in messages if (level, kind) == (socket.SOL_SOCKET, _STAMPS)]
        if stamps:
            seconds, nanoseconds = _STAMP.unpack(stamps[0])
            delay = max(0, read - seconds * _SECOND - nanoseconds)
            self.delays.append(delay)
            arrival -= delay
        else:
            self.stamped = False
        stream.received(data, arrival)


def allow_connections(count: int) -> None:
    """Have this process, and those that it starts from now on, open so many connections.

    :raises NoFiles: when that is not allowed.
    """
    count += _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    if hard < count:
        raise NoFiles(f"{count} files would be open, and this system allows {hard}; see ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
