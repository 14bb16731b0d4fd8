"""A client of HTTP/2 in memory: no sockets, and its own side of the protocol by h2."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, field, frozen
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from vllmsim.web.site import Site

Fields = Sequence[tuple[str, str]]

_HEAD = 9
_GOAWAY = 7


@frozen
class Goodbye:
    """What a GOAWAY of the server's says.

    :param last: the last stream that is answered.
    """

    last: int
    code: int


@define(eq=False)
class Parting:
    """Takes those frames off behind which h2 would hear nothing more, as clients do that wait for their answers."""

    goodbyes: list[Goodbye] = field(factory=list)
    """Each GOAWAY of the server's."""
    _begun: bytes = b""

    def without_goodbyes(self, data: bytes) -> bytes:
        """Take what came, and give all other frames that are whole."""
        data, kept = self._begun + data, []
        while len(data) >= _HEAD and len(data) >= (end := _HEAD + int.from_bytes(data[:3], "big")):
            frame, data = data[:end], data[end:]
            if frame[3] == _GOAWAY:
                self.goodbyes.append(Goodbye(*(int.from_bytes(frame[at : at + 4], "big") for at in (9, 13))))
            else:
                kept.append(frame)
        self._begun = data
        return b"".join(kept)


@define(eq=False)
class ClientStream:
    """One exchange, and what came back on it.

    :param number: what the stream is called in frames.
    """

    client: "Http2Client"
    number: int
    informed: list[int] = field(factory=list)
    """The status of each answer that was none yet."""
    fields: list[tuple[str, str]] = field(factory=list)
    """The head of the answer, ``:status`` too."""
    pieces: list[bytes] = field(factory=list)
    """The body, as its frames came."""
    trailers: dict[str, str] = field(factory=dict)
    ended: bool = False
    """Whether the answer has come to its end."""
    reset: int | None = None
    """The code with which the server has reset the stream."""
    unread: int = 0
    """How many bytes the client has not acknowledged."""

    @property
    def headers(self) -> dict[str, str]:
        """The head without ``:status``; the last of several of a name."""
        return {name: value for name, value in self.fields if not name.startswith(":")}

    @property
    def status(self) -> int:
        """The status of the answer; 0 before it is there."""
        return int(dict(self.fields).get(":status", "0"))

    @property
    def body(self) -> bytes:
        """The body so far."""
        return b"".join(self.pieces)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The events of a stream so far, ``[DONE]`` as text."""
        texts = [part.partition("data: ")[2] for part in self.body.decode().split("\n\n") if part]
        return [text if text == "[DONE]" else json.loads(text) for text in texts]

    def hear(self, event: Any) -> None:
        """Learn what came."""
        if isinstance(event, InformationalResponseReceived):
            head: Any = event.headers
            self.informed.append(int(dict(head)[":status"]))
        elif isinstance(event, ResponseReceived):
            self.fields = [(str(name), str(value)) for name, value in event.headers]
        elif isinstance(event, DataReceived):
            self.pieces.append(event.data)
            self.unread += event.flow_controlled_length
        elif isinstance(event, TrailersReceived):
            self.trailers = {str(name): str(value) for name, value in event.headers}
        elif isinstance(event, StreamEnded):
            self.ended = True
        elif isinstance(event, StreamReset) and event.remote_reset:
            self.reset = event.error_code

    def send(self, data: bytes, *, end: bool = False) -> "ClientStream":
        """Send a piece of the body, in frames as large as the server allows; it must have room for it."""
        largest = self.client.h2.max_outbound_frame_size
        pieces = [data[at : at + largest] for at in range(0, len(data), largest)] or [b""]
        for piece in pieces[:-1]:
            self.client.h2.send_data(self.number, piece)
            self.client.pump()
        self.client.h2.send_data(self.number, pieces[-1], end_stream=end)
        self.client.pump()
        return self

    def end(self) -> "ClientStream":
        """Send nothing more."""
        self.client.h2.end_stream(self.number)
        self.client.pump()
        return self

    def cancel(self, code: int = ErrorCodes.CANCEL) -> "ClientStream":
        """Want no more of the answer."""
        self.client.h2.reset_stream(self.number, code)
        self.client.pump()
        return self

    def read(self) -> "ClientStream":
        """Make room for what has come; only for clients that do not do so by themselves."""
        unread, self.unread = self.unread, 0
        if unread:
            self.client.h2.acknowledge_received_data(unread, self.number)
            self.client.pump()
        return self


@define(eq=False)
class Http2Client:
    """One connection to a site whose clock is a :class:`twisted.internet.task.Clock`.

    :param reads: whether it makes room for more as data comes; else :meth:`ClientStream.read` does.
    :param settings: what it asks for at the beginning.
    """

    site: Site
    reads: bool = True
    settings: dict[SettingCodes | int, int] = field(factory=dict)
    transport: StringTransport = field(factory=StringTransport)
    protocol: Any = field(init=False)
    h2: H2Connection = field(init=False)
    streams: dict[int, ClientStream] = field(init=False, factory=dict)
    seen: list[Any] = field(init=False, factory=list)
    """All that h2 has told, in order."""
    gone: bool = field(init=False, default=False)
    """Whether the connection has come to its end."""
    _parting: Parting = field(init=False, factory=Parting)

    def __attrs_post_init__(self) -> None:
        """Connect, and say the preface."""
        self.protocol = self.site.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.h2.update_settings(self.settings)
        self.h2.local_settings.acknowledge()
        self.h2.clear_outbound_data_buffer()
        self.h2.initiate_connection()
        self.pump()

    @property
    def goodbyes(self) -> list[Goodbye]:
        """Each GOAWAY of the server's."""
        return self._parting.goodbyes

    def open(self, fields: Fields, *, end: bool = False) -> ClientStream:
        """Open a stream with a head as it is."""
        number = self.h2.get_next_available_stream_id()
        stream = self.streams[number] = ClientStream(self, number)
        self.h2.send_headers(number, fields, end_stream=end)
        self.pump()
        return stream

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> ClientStream:
        """Send a request; header names have ``_`` for ``-``."""
        stream = self.begin(method, path, end=body is None, **headers)
        return stream if body is None else stream.send(body, end=True)

    def begin(self, method: str, path: str, *, end: bool = False, **headers: str) -> ClientStream:
        """Send the head of a request."""
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "example.test")]
        fields += [(name.lower().replace("_", "-"), value) for name, value in headers.items()]
        return self.open(fields, end=end)

    def post(self, path: str, value: Any, **headers: str) -> ClientStream:
        """Send JSON, or bytes as they are."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.send("POST", path, body, **{"content_type": "application/json", **headers})

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.protocol.dataReceived(data)
        self.pump()

    def pump(self) -> None:
        """Have both sides hear each other until they are quiet."""
        while True:
            clock: Any = self.site.clock
            clock.advance(0)
            data = self.transport.value()
            self.transport.clear()
            self._hear(self.h2.receive_data(self._parting.without_goodbyes(data)))
            reply = self.h2.data_to_send()
            if not self.gone and reply:
                self.protocol.dataReceived(reply)
            if not (data or reply):
                return

    def _hear(self, events: Iterable[Any]) -> None:
        for event in events:
            self.seen.append(event)
            stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
            if stream is None:
                continue
            if isinstance(event, DataReceived) and self.reads:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            stream.hear(event)

    def drop(self) -> None:
        """Go away without a word. Harmless for one that is gone."""
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(Failure(ConnectionLost()))
