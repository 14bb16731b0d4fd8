# -*- test-case-name: tests.web.test_request -*-
"""One exchange over HTTP: its body, its answer, and how it fails."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import NO_BODY_CODES, parse_qs
from twisted.web.http_headers import Headers
from zope.interface import implementer

from vllmsim.api.body import Head
from vllmsim.api.errorbody import error_body, internal_error
from vllmsim.errors import BodyTooLarge, InferenceError, InjectedFailure
from vllmsim.faults import Fault
from vllmsim.interfaces import IExchange
from vllmsim.records import HttpFacts, RequestRecord
from vllmsim.web.sending import Write

if TYPE_CHECKING:
    from vllmsim.web.channel import Channel
    from vllmsim.web.site import Site

ErrorBody: TypeAlias = Callable[[InferenceError], bytes]
NO_ROUTE: Final = "none"
"""What stands for the template of a path that is none."""
JSON: Final = b"application/json"
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_PATIENCE: Final = 16
"""How many times the body limit is read and thrown away, so that the client may finish and see the error."""
_STATUS_LINES: Final[Mapping[int, bytes]] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_LAST_CHUNK: Final = b"0\r\n\r\n"


def _status_line(status: int) -> bytes:
    """Begin a response whose status has no name."""
    return b"HTTP/1.1 %d Unknown\r\n" % status


class _Refused(BytesIO):
    """Stands for a body that was thrown away: who reads it hears why."""

    def __init__(self, reason: InferenceError) -> None:
        super().__init__()
        self._reason = reason

    def read(self, size: int | None = -1) -> bytes:
        """Refuse."""
        raise self._reason


@implementer(IExchange)
class Request(server.Request):
    """One exchange. A body above the site's limit is thrown away as it comes; the route that reads it answers 413.

    :param headers: names, in whatever case they were sent, and values.
    """

    _log = Logger()

    channel: "Channel"  # type: ignore[assignment]
    site: "Site"  # type: ignore[assignment]
    content: BytesIO
    error_body: ErrorBody = staticmethod(error_body)
    """Writes errors, in the shape that clients of the route know; set by the root resource."""
    route = NO_ROUTE
    """The path's template, for metrics; set by the root resource."""
    place: Any
    """What the root resource has found of its path."""
    worth_a_record = False
    """Whether the journal remembers such requests; set by the root resource."""
    passed = 0
    """How many members of the chain have seen the request, and not its end."""
    persistent = False
    """Whether another request may follow on the connection."""
    hopeless = False
    """Whether the body is so large that it is not read to its end; no route may answer a request that is incomplete."""
    gone = False
    """Whether the client has left."""
    record: RequestRecord | None = None
    """What the journal remembers of it, if it does."""
    fault: Fault | None = None
    """What goes wrong with it on purpose."""
    length: int | None = None
    """How many bytes the body of the answer has. While that is not known, it is written in chunks."""
    _answering: Deferred[None] | None = None
    _arrived: float | None = None
    """When its route was asked to answer it."""
    _body_bytes = 0
    _oversize = False
    _counted = False
    _aborted = False
    _bodiless = False

    def __init__(
        self, channel: "Channel", method: bytes, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        super().__init__(channel, parsePOSTFormSubmission=False)
        # The base class parts with the channel when the connection is lost.
        self._connection = channel
        self.site = channel.site
        self.chain = channel.site.chain
        self.method, self.uri, self.clientproto = method, target, b"HTTP/" + version.encode()
        self.path, _, query = target.partition(b"?")
        self.args = parse_qs(query, 1) if query else {}
        self._headers = headers
        self._received = {name.lower(): value for name, value in headers}
        self._pieces: list[bytes] = []
        if _length(self._received.get(b"content-length")) > self._limit:
            self._oversize = True
            self.hopeless = self.expects

    @property
    def requestHeaders(self) -> Headers:
        """All headers. Routes that want one do better with :meth:`getHeader`, which needs no collection of them."""
        headers = Headers()
        for name, value in self._headers:
            headers.addRawHeader(name, value)
        return headers

    @requestHeaders.setter
    def requestHeaders(self, headers: Headers) -> None:
        """Let the base class begin with none."""

    @property
    def expects(self) -> bool:
        """Whether the client asks before it sends its body; then one that is too large is refused at once."""
        return self._received.get(b"expect", b"").lower() == b"100-continue"

    def getHeader(self, key: Any) -> Any:
        """Look up a header; the last of several."""
        if isinstance(key, bytes):
            return self._received.get(key.lower())
        return super().getHeader(key)

    def take(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        self._body_bytes += len(piece)
        if self._body_bytes <= self._limit and not self._oversize:
            self._pieces.append(piece)
            return
        self._oversize = True
        if self._body_bytes > _PATIENCE * self._limit:
            self.hopeless = True

    def process(self) -> None:
        """Answer the request, now that it is complete."""
        self.content = _Refused(self._too_large()) if self._oversize else BytesIO(b"".join(self._pieces))
        self._pieces.clear()
        self.site.resource.locate(self)
        try:
            entering = self.chain.enter(self)
        except Exception:  # noqa: BLE001 - a middleware that breaks must not break the connection
            self._turn_away(Failure())
            return
        if entering is None:
            self._enter()
        else:
            self._answering = entering
            entering.addCallbacks(self._enter, self._turn_away)

    def _turn_away(self, reason: Failure) -> None:
        """Answer a request that a middleware refuses, or fails to let in."""
        if self.worth_a_record and not self.gone:
            self.begin_record()
        self._end(reason)

    def _turned_away(self) -> None:
        """Finish with a request that a middleware has answered."""
        if self.worth_a_record:
            self.begin_record()
            if self.record is not None and self.record.http is not None:
                self.record.http.status = self.code
            if self.code >= HTTPStatus.BAD_REQUEST:
                self.remember(InjectedFailure(self.code, "", "A middleware has answered."))
        self._end(None)

    def _enter(self, _: object = None) -> None:
        """Serve the request, unless a middleware has answered it."""
        self._answering = None
        if self.gone:
            return
        if self.startedWriting:
            self._turned_away()
            return
        self._arrived = self.site.clock.seconds()
        if self.hopeless:
            if self.method == b"POST":
                self.begin_record()
            self.fail(self._too_large())
            self.finish()
        else:
            self._serve()

    def _serve(self) -> None:
        """Have the site's resource answer, and finish when it has; what it raises is answered too."""
        try:
            answering = self.site.resource.render(self)
        except Exception:  # noqa: BLE001 - a route that breaks must not break the connection
            answering = Failure()
        if isinstance(answering, Deferred):
            # Cancelled when the client leaves.
            self._answering = answering
            answering.addBoth(self._end)
        elif answering is not server.NOT_DONE_YET:
            self._end(answering)

    def begin_record(self) -> None:
        """Have the journal remember this request, if there is one that does."""
        journal = self.site.journal
        if journal is not None:
            path, body = self.uri.decode("latin-1"), self.content.getvalue()
            facts = HttpFacts(self.method.decode(), path, self._received, body, self._body_bytes)
            self.record = journal.begin(self.route, facts)

    def remember(self, error: InferenceError) -> None:
        """Have the journal know what the client is told of what went wrong."""
        if self.record is not None:
            self.record.fails(error)

    def part_with_record(self) -> Callable[[object], None]:
        """Have the record go on when this exchange is over: what was asked for is done in the background.

        :return: ends the record.
        """
        record, self.record = self.record, None
        journal = self.site.journal
        if record is None or journal is None:
            return lambda _: None
        if record.http is not None:
            record.http.status = HTTPStatus.OK
        return lambda _: journal.end(record)

    def _end_record(self) -> None:
        record, self.record = self.record, None
        journal = self.site.journal
        if record is None or journal is None:
            return
        journal.end(record, gone=self.gone)

    def _end(self, result: Any) -> None:
        self._answering = None
        if isinstance(result, Failure):
            self.processingFailed(result)
        elif not self.gone:
            self.finish()

    @property
    def settled(self) -> bool:
        """Whether it has an answer, or needs none any more."""
        return bool(self.startedWriting) or self.gone

    @property
    def status(self) -> int:
        """The status of the answer; 0 as long as nothing is written."""
        return self.code if self.startedWriting else 0

    @property
    def peer(self) -> str:
        """Where the client is: address and port."""
        address = self._connection.getPeer()
        return f"{address.host}:{address.port}" if isinstance(address, IPv4Address | IPv6Address) else "unix"

    @property
    def head(self) -> Head:
        """What dialects need of the headers."""
        text = self._text
        return Head(
            text(b"content-type"),
            text(b"x-request-id"),
            text(b"x-data-parallel-rank"),
            send_image=text(b"x-send-image") in _TRUE,
            cache_threshold=text(b"x-cache-threshold-finish-reason"),
            priority=text(b"x-vllm-priority"),
        )

    @property
    def arguments(self) -> dict[str, list[str]]:
        """The query string's arguments."""
        return {_utf8(name): list(map(_utf8, values)) for name, values in self.args.items()}

    def _text(self, name: bytes) -> str | None:
        value = self._received.get(name)
        return None if value is None else value.decode("latin-1")

    def header(self, name: str) -> str | None:
        """Look up a header by its name in any case; the last of several."""
        return self._text(name.lower().encode("latin-1", "replace"))

    def answer(self, status: int, body: bytes, content_type: bytes | None = JSON) -> None:
        """Write a whole response. Whoever was asked to render finishes the request.

        :param content_type: None for a response that does not say.
        """
        self.begin(status, len(body), content_type)
        self.write(body)

    def begin(self, status: int, length: int, content_type: bytes | None) -> None:
        """Settle what the head says of a whole response; it is written with the first piece of the body."""
        self.code = status
        self.length = length
        if content_type is not None:
            self.setHeader(b"Content-Type", content_type)

    def write(self, data: bytes) -> None:
        """Write a piece of the body, and the head before the first. Harmless when the client is gone."""
        if self.gone:
            return
        if not self.startedWriting:
            self._begin(data)
        elif data and not self._bodiless:
            self.channel.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def piece_writer(self) -> Write:
        """Find the shortest way for pieces of the body, once the first is written."""
        write = self.channel.write
        if self._bodiless:
            return lambda _: None
        if not self.chunked:
            return write

        def write_chunk(data: bytes) -> None:
            if data:
                write(b"%x\r\n%b\r\n" % (len(data), data))

        return write_chunk

    def write_last(self, data: bytes) -> None:
        """Write the last piece of the body; the request is yet to be finished."""
        if self.chunked and data and not self.gone:
            self.chunked = 0
            self.channel.write(b"%x\r\n%b\r\n%b" % (len(data), data, _LAST_CHUNK))
        else:
            self.write(data)

    def room(self) -> Deferred[None]:
        """Wait until more may be written.

        :return: fires then, at once if it may; a client that leaves has the route cancelled, which waits here.
        """
        return succeed(None) if self.gone else self.channel.room()

    def _begin(self, data: bytes) -> None:
        """Write the head, and the first piece of the body with it."""
        self.startedWriting = 1
        if self.record is not None and self.record.http is not None:
            self.record.http.status = self.code
        empty = self.code in NO_BODY_CODES
        self._bodiless = self.method == b"HEAD" or empty
        lines = [_STATUS_LINES.get(self.code) or _status_line(self.code), self.site.signature]
        if self.length is not None and not empty:
            lines.append(b"content-length: %d\r\n" % self.length)
        elif self.clientproto == b"HTTP/1.1" and not self._bodiless:
            self.chunked = 1
            lines.append(b"transfer-encoding: chunked\r\n")
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        else:
            # Clients of HTTP/1.0 learn the end by the connection's.
            self.persistent = self.persistent and self._bodiless
        if self._bodiless:
            data = b""
        for name, values in self.responseHeaders.getAllRawHeaders():
            lines += [b"%b: %b\r\n" % (name.lower(), value) for value in values]
        if not self.persistent or self.site.closing:
            lines.append(b"connection: close\r\n")
        elif self.clientproto != b"HTTP/1.1":
            lines.append(b"connection: keep-alive\r\n")
        self.channel.write(b"%b\r\n%b" % (b"".join(lines), data))

    def fail(self, error: InferenceError) -> None:
        """Write an error as the whole response. One that has begun is cut off: it must not pass for complete."""
        self.remember(error)
        if self.startedWriting:
            self._aborted = True
            self.channel.socket.abortConnection()
        else:
            self.answer(error.status, self.error_body(error))

    def hang_up(self, *, reset: bool = False) -> None:
        """Close the connection where the response stands, which then is not complete.

        Whoever answers the request has its Deferred cancelled, as if the client had left. Harmless when it has.

        :param reset: throw away what is not sent yet; else the connection is closed behind it.
        """
        if self.gone:
            return
        self._aborted = True
        self._leave()
        if reset:
            self.channel.socket.abortConnection()
        else:
            self.channel.loseConnection()

    def end_early(self) -> None:
        """End the response where it stands, as if it were complete; who answers it is cancelled likewise."""
        if not self.gone:
            self._count()
            super().finish()
            self._leave()

    def _leave(self) -> None:
        """Have nobody answer any more. That is not cancelled at once: it may be what calls."""
        self.gone = True
        self._count()
        self.site.clock.callLater(0, self._part)

    def _part(self) -> None:
        """Cancel what answers, and tell the journal that this is the end."""
        if self._answering is not None:
            self._answering.cancel()
        self.chain.leave(self)
        self._end_record()

    def fail_unexpectedly(self, reason: Failure) -> None:
        """Answer an error that is ours: the log has it, the client learns no more than that."""
        self._log.failure("While answering {method} {uri}", reason, method=self.method, uri=self.uri)
        self.fail(internal_error())

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer an error; one that comes when the client is gone, and is not the client's going, is logged."""
        error = reason.value
        if self.gone:
            if not isinstance(error, CancelledError | InferenceError):
                self._log.failure("After {method} {uri}", reason, method=self.method, uri=self.uri)
            return reason
        if isinstance(error, InferenceError):
            self.fail(error)
        else:
            self.fail_unexpectedly(reason)
        self.finish()
        return reason

    def finish(self) -> None:
        """End the response."""
        self._count()
        self.chain.leave(self)
        self._end_record()
        if not self._aborted:
            super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """Learn that the client has left."""
        self.gone = True
        self._count()
        super().connectionLost(reason)
        self._part()

    @property
    def _limit(self) -> int:
        return self.site.limits.body_bytes

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request body is larger than {self._limit} bytes.")

    def _count(self) -> None:
        if self._counted or self._arrived is None:
            return
        self._counted = True
        method = self.method.decode()
        self.site.metrics.exchange_finished(
            self.route,
            method if method in _METHODS else "other",
            self.code,
            self.site.clock.seconds() - self._arrived,
            _length(self._received.get(b"content-length")),
            self.length or 0,
        )


def _utf8(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _length(header: bytes | None) -> int:
    return int(header) if header is not None and header.isdigit() else 0
