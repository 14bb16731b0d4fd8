"""HTTP/2 as clients speak it that have many streams on a connection, cancel some, and go away with others."""

import asyncio
import ssl
from contextlib import suppress
from typing import Any, Final

from attrs import define, field
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from tests.soak.exchanges import PATIENCE, Call, Left, Reply

_IDLE: Final = 3.0
"""Seconds after which a connection is not used again: the server closes it a little later."""
_USES: Final = 60
"""Streams of a connection."""


@define(eq=False)
class _Stream:
    """One exchange.

    :param moved: is set when something has come.
    """

    reply: Reply
    over: bool = False
    moved: asyncio.Event = field(factory=asyncio.Event)


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._streams: dict[int, _Stream] = {}
        self._transport: Any = None
        self.open = False
        self.used = 0
        self.idle_since = 0.0

    @property
    def busy(self) -> bool:
        """Whether there are streams."""
        return bool(self._streams)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport, self.open = transport, True
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all streams."""
        self.open = False
        for stream in self._streams.values():
            if not stream.over:
                stream.reply.trouble = f"the connection is lost: {exc}"
                stream.over = True
            stream.moved.set()

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        try:
            events = self._h2.receive_data(data)
        except ProtocolError as error:
            self.connection_lost(error)
            self._transport.abort()
            return
        for event in events:
            if isinstance(event, ConnectionTerminated):
                self.open = False
            stream = self._streams.get(getattr(event, "stream_id", 0) or 0)
            if isinstance(event, DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            if stream is not None:
                self._hear(stream, event)
        for stream in self._streams.values():
            stream.moved.set()
        self._flush()

    def _hear(self, stream: _Stream, event: Any) -> None:
        reply = stream.reply
        if isinstance(event, ResponseReceived):
            reply.headers = {str(name): str(value) for name, value in event.headers or ()}
            reply.status = int(reply.headers.get(":status", "0"))
        elif isinstance(event, TrailersReceived):
            reply.trailers = {str(name): str(value) for name, value in event.headers or ()}
        elif isinstance(event, DataReceived):
            reply.pieces.append(event.data or b"")
        elif isinstance(event, StreamEnded):
            stream.over = reply.whole = True
        elif isinstance(event, StreamReset):
            stream.over, reply.trouble = True, f"the stream is reset: {event.error_code}"

    def _flush(self) -> None:
        if (data := self._h2.data_to_send()) and not self._transport.is_closing():
            self._transport.write(data)

    async def send(self, call: Call, reply: Reply) -> None:
        """Send a request, and read what comes back.

        :raises Left: when the client has read enough.
        """
        self.used += 1
        number, stream = self._h2.get_next_available_stream_id(), _Stream(reply)
        self._streams[number] = stream
        fields = {":method": call.method, ":scheme": "http", ":path": call.path, ":authority": "soak",
            **{name.lower(): value for name, value in call.headers.items()}, "x-request-id": call.id}  # fmt: skip
        try:
            self._h2.send_headers(number, list(fields.items()))
            await self._exchange(number, stream, call)
        except Left:
            with suppress(ProtocolError):
                self._h2.reset_stream(number, ErrorCodes.CANCEL)
            raise
        finally:
            del self._streams[number]
            self.idle_since = asyncio.get_running_loop().time()
            self._flush()

    async def _exchange(self, number: int, stream: _Stream, call: Call) -> None:
        leave = call.leave
        if leave is not None and leave.where in ("head", "body"):
            if leave.where == "body":
                await self._write(number, stream, call.body[: len(call.body) // 2], end=False)
            self._flush()
            await asyncio.sleep(leave.after)
            raise Left
        await self._write(number, stream, call.body, end=True)
        waits = leave is not None and leave.where == "waiting"
        most = int(leave.after) if leave is not None and not waits else 0
        try:
            async with asyncio.timeout(leave.after if leave is not None and waits else None):
                while not stream.over:
                    await self._moved(stream)
                    if most and len(stream.reply.pieces) >= most:
                        raise Left
        except TimeoutError:
            raise Left from None

    async def _write(self, number: int, stream: _Stream, body: bytes, *, end: bool) -> None:
        while not stream.over:
            window = self._h2.local_flow_control_window(number)
            size = min(len(body), self._h2.max_outbound_frame_size, window)
            if size or not body:
                self._h2.send_data(number, body[:size], end_stream=end and size == len(body))
                self._flush()
                body = body[size:]
                if not body:
                    return
            else:
                await self._moved(stream)

    async def _moved(self, stream: _Stream) -> None:
        await stream.moved.wait()
        stream.moved.clear()

    def close(self, *, rude: bool = False) -> None:
        """Go away; without a word if that is wanted."""
        self.open = False
        if rude:
            self._transport.abort()
            return
        with suppress(ProtocolError):
            self._h2.close_connection()
        self._flush()
        self._transport.close()


@define(eq=False)
class Http2:
    """Sends requests to one port.

    :param tls: what certificates it believes; None for cleartext.
    """

    port: int
    tls: ssl.SSLContext | None = None
    _shared: Connection | None = field(init=False, default=None)
    _leaving: list[Connection] = field(init=False, factory=list)

    async def send(self, call: Call, *, anew: bool) -> Reply:
        """Send a request, and read what comes back.

        :param anew: whether on a connection that nobody else uses, before or after.
        """
        reply = Reply()
        rude = call.leave is not None and call.leave.rude
        own = anew or rude
        try:
            connection = await self._connect() if own else await self._share()
        except OSError as error:
            reply.trouble = f"nobody listens: {error}"
            return reply
        try:
            async with asyncio.timeout(PATIENCE):
                await connection.send(call, reply)
        except Left:
            reply.left = True
        except TimeoutError:
            reply.trouble = f"it has no end after {PATIENCE:g} s"
        except ProtocolError as error:
            reply.trouble = f"{type(error).__name__}: {error}"
        if own:
            connection.close(rude=rude and reply.left)
        self._tidy()
        return reply

    def close(self) -> None:
        """Close what is kept."""
        for connection in (self._shared, *self._leaving):
            if connection is not None:
                connection.close()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self.tls is not None:
            self.tls.set_alpn_protocols(["h2"])
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self.port, ssl=self.tls)
        return connection

    async def _share(self) -> Connection:
        now = asyncio.get_running_loop().time()
        shared = self._shared
        if shared is not None and shared.open and shared.used < _USES and (
            shared.busy or now - shared.idle_since < _IDLE
        ):  # fmt: skip
            return shared
        if shared is not None:
            self._leaving.append(shared)
        self._shared = await self._connect()
        self._shared.idle_since = now
        return self._shared

    def _tidy(self) -> None:
        for connection in [each for each in self._leaving if not each.busy]:
            connection.close()
            self._leaving.remove(connection)
