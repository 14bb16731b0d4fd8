"""HTTP/1.1 as clients speak it that keep connections for a while, break off, and count every byte."""

import asyncio
import socket
import ssl
import struct
from contextlib import suppress
from typing import Final

from attrs import define, field

from tests.soak.exchanges import PATIENCE, Call, Left, Reply

_IDLE: Final = 3.0
"""Seconds after which a connection is not used again: the server closes it a little later."""


def head(call: Call, *, closes: bool) -> bytes:
    """Write the head of a request."""
    fields = {"Host": "soak", **call.headers, "X-Request-Id": call.id, "Content-Length": str(len(call.body))}
    if closes:
        fields["Connection"] = "close"
    lines = [f"{call.method} {call.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


@define(eq=False)
class Connection:
    """One connection, and since when nothing happens on it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0

    def close(self, *, rude: bool = False) -> None:
        """Go away; without a word if that is wanted."""
        if rude:
            with suppress(OSError):
                self.writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            self.writer.transport.abort()
        else:
            self.writer.close()


@define(eq=False)
class Http1:
    """Sends requests to one port.

    :param tls: what certificates it believes; None for cleartext.
    """

    port: int
    tls: ssl.SSLContext | None = None
    _free: list[Connection] = field(init=False, factory=list)

    async def send(self, call: Call, *, anew: bool) -> Reply:
        """Send a request, and read what comes back.

        :param anew: whether on a connection that nobody else uses, before or after.
        """
        reply = Reply()
        rude = call.leave is not None and call.leave.rude
        try:
            connection = await self._connect(anew=anew or call.leave is not None)
        except OSError as error:
            reply.trouble = f"nobody listens: {error}"
            return reply
        used = connection.idle_since > 0
        try:
            async with asyncio.timeout(PATIENCE):
                await self._exchange(connection, call, reply, closes=anew)
        except Left:
            reply.left = True
            connection.close(rude=rude)
        except TimeoutError:
            reply.trouble = f"it has no end after {PATIENCE:g} s"
            connection.close()
        except (OSError, EOFError, ValueError) as error:
            reply.trouble = reply.trouble or f"{type(error).__name__}: {error}"
            connection.close()
        else:
            if anew or not reply.whole or call.leave is not None or reply.headers.get("connection") == "close":
                connection.close()
            else:
                connection.idle_since = asyncio.get_running_loop().time()
                self._free.append(connection)
        reply.late = used and not reply.status
        return reply

    def close(self) -> None:
        """Close what is kept."""
        for connection in self._free:
            connection.close()
        self._free.clear()

    async def _connect(self, *, anew: bool) -> Connection:
        now = asyncio.get_running_loop().time()
        while self._free and not anew:
            connection = self._free.pop()
            if now - connection.idle_since < _IDLE and not connection.reader.at_eof():
                return connection
            connection.close()
        return Connection(*await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls))

    async def _exchange(self, connection: Connection, call: Call, reply: Reply, *, closes: bool) -> None:
        writer, leave = connection.writer, call.leave
        writer.write(head(call, closes=closes))
        if leave is not None and leave.where in ("head", "body"):
            if leave.where == "body":
                writer.write(call.body[: len(call.body) // 2])
            await writer.drain()
            await asyncio.sleep(leave.after)
            raise Left
        writer.write(call.body)
        await writer.drain()
        if leave is None or leave.where != "waiting":
            await self._read(connection.reader, reply, int(leave.after) if leave else 0)
            return
        try:
            async with asyncio.timeout(leave.after):
                await self._read(connection.reader, reply, 0)
        except TimeoutError:
            raise Left from None

    async def _read(self, reader: asyncio.StreamReader, reply: Reply, most: int) -> None:
        """Read an answer.

        :param most: after how many pieces the client leaves; 0 for never.
        """
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        reply.status = int(lines[0].split()[1])
        reply.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if (length := reply.headers.get("content-length")) is not None:
            reply.pieces.append(await reader.readexactly(int(length)))
        elif "chunked" in reply.headers.get("transfer-encoding", ""):
            while size := int(await reader.readline(), 16):
                reply.pieces.append((await reader.readexactly(size + 2))[:-2])
                if most and len(reply.pieces) >= most:
                    raise Left
            await reader.readline()
        elif reply.status != 204:
            reply.trouble = "an answer without a length"
            return
        reply.whole = True
