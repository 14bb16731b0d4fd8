# -*- test-case-name: tests.processes.test_site -*-
"""What the supervisor answers.

``GET /health``, ``/ready`` and ``/readyz`` are the same and have no body: 200 while all ranks are well, else 503.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

import orjson
from twisted.internet.interfaces import IReactorTime
from twisted.web import server
from twisted.web.resource import Resource

_PATHS: Final = frozenset({b"/health", b"/ready", b"/readyz"})


class _Request(server.Request):
    """A request whose body is thrown away as it comes."""

    defaultContentType = None

    def gotLength(self, length: int | None) -> None:
        """Make room for nothing."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Throw a piece away."""


class SupervisorSite(server.Site):
    """Serves the answers, and keeps no access log.

    :param well: tells whether all ranks are.
    :param clock: times out idle connections.
    """

    noisy = False

    def __init__(self, well: Callable[[], bool], clock: IReactorTime) -> None:
        super().__init__(_Answers(well), requestFactory=_Request, reactor=clock, parsePOSTFormSubmission=False)

    def log(self, request: Any) -> None:
        """Keep quiet."""


class _Answers(Resource):
    """Answers on every path."""

    isLeaf = True

    def __init__(self, well: Callable[[], bool]) -> None:
        super().__init__()
        self._well = well

    def render(self, request: server.Request) -> bytes:
        """Tell how the ranks are, or in JSON that there is nothing here."""
        request.setHeader(b"Server", b"uvicorn")
        if request.path in _PATHS and request.method == b"GET":
            request.setResponseCode(200 if self._well() else 503)
            return b""
        known = request.path in _PATHS
        request.setResponseCode(405 if known else 404)
        if known:
            request.setHeader(b"Allow", b"GET")
        request.setHeader(b"Content-Type", b"application/json")
        return orjson.dumps({"detail": "Method Not Allowed" if known else "Not Found"})
