"""Clients: each has a connection, on which it may ask several things, stop to read, and go away."""

from collections import deque
from typing import Any

from attrs import define, field
from h2.settings import SettingCodes
from httptools import HttpResponseParser
from twisted.internet.task import Clock

from tests.http2client import ClientStream, Http2Client
from tests.properties.asked import PROBE, Asked, Shown
from tests.properties.pipe import Pipe
from vllmsim.web.site import Site


@define(eq=False, repr=False)
class HttpCaller(Shown):
    """A client that speaks HTTP/1.1, and need not wait for an answer before it asks again."""

    site: Site
    clock: Clock
    name: int
    pipe: Pipe = field(init=False)
    waiting: deque[Asked] = field(init=False, factory=deque)
    """What is not answered, in order."""
    _parser: Any = field(init=False)

    def __repr__(self) -> str:
        """Name the client."""
        return f"client {self.name}"

    @pipe.default
    def _connect(self) -> Pipe:
        pipe = Pipe(self.clock)
        pipe.attach(self.site.buildProtocol(None))
        return pipe

    @_parser.default
    def _make_parser(self) -> Any:
        return HttpResponseParser(self)

    @property
    def open(self) -> bool:
        """Whether it may ask."""
        return not (self.pipe.lost or self.pipe.disconnecting)

    def ask(self, asked: Asked) -> None:
        """Send a request."""
        self.waiting.append(asked)
        lines = [f"{asked.method} {asked.path} HTTP/1.1", "Host: example.test", f"{PROBE}: {asked.number}"]
        if asked.body is not None:
            lines.append(f"Content-Length: {len(asked.body)}")
        lines += [f"{name}: {value}" for name, value in asked.headers.items()]
        self.pipe.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (asked.body or b""))
        self.listen()

    def listen(self) -> None:
        """Take what has come, and learn whether more may come."""
        data = self.pipe.value()
        self.pipe.clear()
        if data:
            self._parser.feed_data(data)
        if self.pipe.lost:
            while self.waiting:
                self.waiting.popleft().over = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.waiting[0].fields[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        """Learn the status."""
        self.waiting[0].status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.waiting[0].answer += data

    def on_message_complete(self) -> None:
        """Learn that an answer is complete."""
        asked = self.waiting.popleft()
        asked.complete = asked.over = True

    def stop_reading(self) -> None:
        """Read nothing."""
        self.pipe.stop_reading()

    def read_on(self) -> None:
        """Read again."""
        self.pipe.read_on()
        self.listen()

    def drop(self) -> None:
        """Go away."""
        for asked in self.waiting:
            asked.left = True
        self.pipe.drop()
        self.listen()


@define(eq=False, repr=False)
class Http2Caller(Shown):
    """A client that speaks HTTP/2, whose exchanges go on side by side.

    :param reads: whether it makes room for more than the beginning of each answer.
    """

    site: Site
    clock: Clock
    name: int
    reads: bool = True
    client: Http2Client = field(init=False)
    waiting: dict[Asked, ClientStream] = field(init=False, factory=dict)

    def __repr__(self) -> str:
        """Name the client."""
        return f"client {self.name}"

    @client.default
    def _connect(self) -> Http2Client:
        settings: dict[SettingCodes | int, int] = {} if self.reads else {SettingCodes.INITIAL_WINDOW_SIZE: 300}
        pipe = Pipe(self.clock)
        client = Http2Client(self.site, self.reads, settings, pipe)
        pipe.protocol = client.protocol
        return client

    @property
    def pipe(self) -> Pipe:
        """The connection."""
        pipe = self.client.transport
        assert isinstance(pipe, Pipe)
        return pipe

    @property
    def open(self) -> bool:
        """Whether it may ask."""
        return not (self.pipe.lost or self.pipe.disconnecting or self.client.goodbyes)

    def ask(self, asked: Asked) -> None:
        """Begin an exchange."""
        stream = self.client.begin(
            asked.method, asked.path, end=asked.body is None, **{PROBE: str(asked.number)}, **asked.headers
        )
        self.waiting[asked] = stream
        if asked.body is not None:
            stream.send(asked.body, end=True)
        self.listen()

    def listen(self) -> None:
        """Take what has come."""
        self.client.gone = self.pipe.lost
        self.client.pump()
        for asked, stream in [*self.waiting.items()]:
            asked.status, asked.fields, asked.answer, asked.trailers = (
                stream.status,
                stream.headers,
                stream.body,
                stream.trailers,
            )
            asked.complete = stream.ended
            if stream.ended or stream.reset is not None or self.pipe.lost:
                asked.over = True
                del self.waiting[asked]

    def cancel(self, asked: Asked) -> None:
        """Want no more of an answer."""
        asked.left = asked.over = True
        self.waiting.pop(asked).cancel()

    def stop_reading(self) -> None:
        """Make no more room in any exchange."""
        self.client.reads = False

    def read_on(self) -> None:
        """Make room."""
        self.client.reads = True
        for stream in [*self.waiting.values()]:
            stream.read()
        self.listen()

    def drop(self) -> None:
        """Go away."""
        for asked in self.waiting:
            asked.left = True
        self.pipe.drop()
        self.listen()
