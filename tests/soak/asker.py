"""Asks one server for things, one after the other, and reads JSON."""

import json
import ssl
from typing import Any

from attrs import define, field

from tests.soak.exchanges import Call
from tests.soak.http1 import Http1


class Refused(Exception):
    """The server has answered with another status than 200."""


@define(eq=False)
class Asker:
    """What operators and tools have in the place of an SDK."""

    port: int
    tls: ssl.SSLContext | None = None
    _http1: Http1 = field(init=False)

    @_http1.default
    def _make_http1(self) -> Http1:
        return Http1(self.port, self.tls)

    async def fetch(self, path: str, body: Any = None, method: str = "", kind: str = "application/json") -> bytes:
        """Ask for something.

        :param body: what is sent as JSON; None for nothing.
        :raises Refused: when the status is not 200 or 204.
        """
        data = b"" if body is None else json.dumps(body).encode()
        call = Call("", "", path, data, {"Content-Type": kind}, method=method or ("GET" if body is None else "POST"))
        reply = await self._http1.send(call, anew=False)
        if not reply.whole or reply.status not in (200, 204):
            raise Refused(f"{call.method} {path} {body}: {reply.status} {reply.trouble} {reply.body[:300]!r}")
        return reply.body

    async def ask(self, path: str, body: Any = None, method: str = "") -> Any:
        """Ask for JSON."""
        return json.loads(await self.fetch(path, body, method) or b"null")

    def close(self) -> None:
        """Ask for nothing more."""
        self._http1.close()
