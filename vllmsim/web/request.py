# -*- test-case-name: tests.web.test_site -*-
"""One exchange over HTTP: its body, its answer, and how it fails."""

import uuid
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import datetimeToString
from twisted.web.iweb import INonQueuedRequestFactory
from zope.interface import provider

from vllmsim.api.body import Head
from vllmsim.api.errorbody import error_body, internal_error
from vllmsim.errors import BodyTooLarge, InferenceError
from vllmsim.web.cors import Headers

if TYPE_CHECKING:
    from vllmsim.web.site import Channel, Site

JSON: Final = b"application/json"
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_PATIENCE: Final = 16
"""How many times the body limit is read and thrown away, so that the client may finish and see the error."""


class _Refused(BytesIO):
    """Stands for a body that was thrown away: who reads it hears why."""

    def __init__(self, reason: InferenceError) -> None:
        super().__init__()
        self._reason = reason

    def read(self, size: int | None = -1) -> bytes:
        """Refuse."""
        raise self._reason


@provider(INonQueuedRequestFactory)
class Request(server.Request):
    """One exchange. A body above the site's limit is thrown away as it comes; the route that reads it answers 413."""

    _log = Logger()

    defaultContentType = None
    channel: "Channel"
    site: "Site"
    content: BytesIO
    error_body: Callable[[InferenceError], bytes] = staticmethod(error_body)
    """Writes errors; a route whose clients know another shape than OpenAI's sets its own before it does anything."""
    route = "none"
    """The path's template, for metrics; set by the root resource."""
    _arrived: float | None = None
    _body_bytes = 0
    _oversize = False
    _hopeless = False
    _counted = False
    _aborted = False
    gone = False
    """Whether the client has left."""

    def gotLength(self, length: int | None) -> None:
        """Learn the body's length, if the head tells it. A client that asks before it sends is refused at once."""
        self.content = BytesIO()
        self._oversize = length is not None and length > self._limit
        if self._oversize and self.requestHeaders.hasHeader(b"expect"):
            self.requestHeaders.removeHeader(b"expect")
            self._cut_off()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body."""
        self._body_bytes += len(data)
        self._oversize = self._oversize or self._body_bytes > self._limit
        if not self._oversize:
            self.content.write(data)
        elif self._body_bytes > _PATIENCE * self._limit and not self._hopeless:
            self._cut_off()

    def _cut_off(self) -> None:
        """Refuse a body before its end and close the connection: no route may answer a request that is incomplete."""
        self._hopeless = True
        self._arrive()
        body = error_body(self._too_large())
        origin = self.getHeader(b"origin")
        headers = [(b"Content-Type", JSON), (b"Content-Length", b"%d" % len(body)), (b"Vary", b"Origin")]
        headers += [(b"Connection", b"close"), *([] if origin is None else self._cors_headers(origin))]
        lines = [b"HTTP/1.1 413 Request Entity Too Large", *map(b": ".join, headers), b"", body]
        self.channel.socket.write(b"\r\n".join(lines))
        self.channel.loseConnection()
        self.code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        self._count()

    def _arrive(self) -> None:
        self.site = self.channel.site
        self._arrived = self.site.clock.seconds()

    def process(self) -> None:
        """Answer the request, now that it is complete."""
        if self._hopeless:
            return
        self._arrive()
        site = self.site
        headers = self.responseHeaders
        headers.setRawHeaders(b"Server", [b"uvicorn"])
        headers.setRawHeaders(b"Date", [datetimeToString()])
        headers.setRawHeaders(b"Vary", [b"Origin"])
        if site.request_ids:
            self.setHeader(b"X-Request-Id", self.getHeader(b"x-request-id") or uuid.uuid4().hex.encode())
        origin = self.getHeader(b"origin")
        if origin is not None:
            asked = self.getHeader(b"access-control-request-method")
            if asked is not None and self.method == b"OPTIONS":
                self._answer_preflight(origin, asked)
                return
            for name, value in self._cors_headers(origin):
                headers.setRawHeaders(name, [value])
        self.prepath = []
        self.postpath = [unquote_to_bytes(part) for part in self.path[1:].split(b"/")]
        if self._oversize:
            self.content = _Refused(self._too_large())
        try:
            self.render(site.resource)
        except InferenceError as error:
            self.fail(error)
            self.finish()
        except Exception:  # noqa: BLE001 - a route that breaks must not break the connection
            self.processingFailed(Failure())

    def _cors_headers(self, origin: bytes) -> Headers:
        return self.site.cors.headers_for(origin, with_cookie=self.requestHeaders.hasHeader(b"cookie"))

    def _answer_preflight(self, origin: bytes, method: bytes) -> None:
        """Tell a browser what it may send. Metrics do not count it, as no route sees it."""
        asked = self.getHeader(b"access-control-request-headers")
        status, text, headers = self.site.cors.preflight(origin, method, asked)
        for name, value in headers.items():
            self.responseHeaders.setRawHeaders(name, [value])
        self._counted = True
        self.answer(status, text, b"text/plain; charset=utf-8")
        self.finish()

    def getRequestHostname(self) -> bytes:
        """Give Klein a host to build addresses with, which no route does: the client's may be missing or no text."""
        return b"localhost"

    @property
    def head(self) -> Head:
        """What dialects need of the headers."""
        return Head(
            self._text(b"content-type"),
            self._text(b"x-request-id"),
            self._text(b"x-data-parallel-rank"),
            send_image=self._text(b"x-send-image") in _TRUE,
        )

    @property
    def arguments(self) -> dict[str, list[str]]:
        """The query string's arguments."""
        return {_utf8(name): list(map(_utf8, values)) for name, values in self.args.items()}

    def _text(self, name: bytes) -> str | None:
        value = self.getHeader(name)
        return None if value is None else value.decode("latin-1")

    def answer(self, status: int, body: bytes, content_type: bytes | None = JSON) -> None:
        """Write a whole response. Whoever was asked to render finishes the request.

        :param content_type: None for a response that does not say.
        """
        self.setResponseCode(status, HTTPStatus(status).phrase.encode())
        if content_type is not None:
            self.setHeader(b"Content-Type", content_type)
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)

    def fail(self, error: InferenceError) -> None:
        """Write an error as the whole response. One that has begun is cut off: it must not pass for complete."""
        if self.startedWriting:
            self._aborted = True
            self.channel.socket.abortConnection()
        else:
            self.answer(error.status, self.error_body(error))

    def fail_unexpectedly(self, reason: Failure) -> None:
        """Answer an error that is ours: the log has it, the client learns no more than that."""
        self._log.failure("While answering {method} {uri}", reason, method=self.method, uri=self.uri)
        self.fail(internal_error())

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer an error that no route has answered."""
        self.fail_unexpectedly(reason)
        self.finish()
        return reason

    def finish(self) -> None:
        """End the response."""
        self._count()
        if not self._aborted:
            super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """Learn that the client has left."""
        self.gone = True
        self._count()
        super().connectionLost(reason)

    @property
    def _limit(self) -> int:
        return self.channel.site.limits.body_bytes

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request body is larger than {self._limit} bytes.")

    def _count(self) -> None:
        if self._counted or self._arrived is None:
            return
        self._counted = True
        method = self.method.decode("ascii", "replace")
        self.site.metrics.exchange_finished(
            self.route,
            method if method in _METHODS else "other",
            self.code,
            self.site.clock.seconds() - self._arrived,
            _length(self.getHeader(b"content-length")),
            _length(next(iter(self.responseHeaders.getRawHeaders(b"content-length", [])), None)),
        )


def _utf8(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _length(header: bytes | None) -> int:
    return int(header) if header is not None and header.isdigit() else 0
