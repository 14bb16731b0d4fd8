# -*- test-case-name: tests.web.test_request -*-
"""One exchange over HTTP: its way through the chain to its route, how it fails, and how it ends."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from zope.interface import implementer

from vllmsim.api.errorbody import ERROR_BODIES, internal_error
from vllmsim.errors import InferenceError, InjectedFailure, Unavailable
from vllmsim.faults import Fault
from vllmsim.interfaces import IExchange
from vllmsim.records import HttpFacts, RequestRecord
from vllmsim.web.answered import AnsweredRequest
from vllmsim.web.forgetting import forget_way
from vllmsim.web.received import length_of

if TYPE_CHECKING:
    from vllmsim.web.channel import Channel
    from vllmsim.web.http2.stream import Stream

Dialect: TypeAlias = Literal["openai", "anthropic"]
NO_ROUTE: Final = "none"
"""What stands for the template of a path that is none."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


@implementer(IExchange)
class Request(AnsweredRequest):
    """One exchange. A body above the site's limit is thrown away as it comes; the route that reads it answers 413."""

    _log = Logger()

    dialect: Dialect = "openai"
    """Which shape of errors the route's clients know; set by the root resource, as what follows."""
    route = NO_ROUTE
    """The path's template, for metrics."""
    place: Any
    """What is found of its path."""
    worth_a_record = False
    """Whether the journal remembers such requests."""
    inference = False
    """Whether the route is one for which a model computes something."""
    tenant: str | None = None
    """Whose client it is, if that is known."""
    passed = 0
    """How many members of the chain have seen the request, and not its end."""
    fault: Fault | None = None
    """What goes wrong with it on purpose."""
    verdict: str | None = None
    """The status that is told behind the answer, where the protocol has one of its own."""
    _used: tuple[Callable[[int], object], ...] = ()
    _answering: Deferred[None] | None = None
    _arrived: float | None = None
    """When its route was asked to answer it."""
    _counted = False
    _aborted = False

    def __init__(
        self,
        channel: "Channel | Stream",
        method: bytes,
        target: bytes,
        version: str,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> None:
        super().__init__(channel, method, target, version, headers)
        self.chain, self.routes = self.site.chain, self.site.resource

    def process(self) -> None:
        """Answer the request, now that it is complete."""
        self._complete()
        try:
            self.routes.locate(self)
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
                self.remember(InjectedFailure(self.code, "Middleware", "A middleware has answered."))
        self._end(None)

    def _enter(self, _: object = None) -> None:
        """Serve the request, unless a middleware has answered it."""
        self._answering = None
        if self.gone:
            return
        if self.startedWriting:
            self._turned_away()
            return
        self._arrived = self.site.seconds()
        if self.hopeless:
            if self.method == b"POST":
                self.begin_record()
            self.fail(self._why_hopeless())
            self.finish()
        else:
            self._serve()

    def _why_hopeless(self) -> InferenceError:
        if self._oversize:
            return self._too_large()
        if self.site.closing:
            return _stopping()
        # Who would not have let it in has done so all the same.
        return Unavailable("The body of the request was not asked for, as it had no chance then. Please try again.")

    def _serve(self) -> None:
        """Have the route answer, and finish when it has; what it raises is answered too."""
        try:
            answering = self.routes.render(self)
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
            path, body = self.uri.decode("latin-1"), self.body
            facts = HttpFacts(self.method.decode(), path, self._received, body, self._body_bytes)
            self.record = journal.begin(self.route, facts)
            if self.record is not None:
                self.record.tenant = self.tenant
        if self._used and self.record is None:
            # What is used is counted in a record, also where nobody remembers it.
            self.record = RequestRecord(self.route)

    def when_used(self, callback: Callable[[int], object]) -> None:
        """Have somebody told how many tokens were computed, when all work for the request is over."""
        self._used += (callback,)

    def remember(self, error: InferenceError) -> None:
        """Have the journal know what the client is told of what went wrong."""
        if self.record is not None:
            self.record.fails(error)

    def part_with_record(self) -> Callable[[object], None]:
        """Have the record go on when this exchange is over: what was asked for is done in the background.

        :return: ends the record.
        """
        record, self.record = self.record, None
        if record is None:
            return lambda _: None
        if record.http is not None:
            record.http.status = HTTPStatus.OK
        used, self._used = self._used, ()
        return lambda _: self._end_of(record, used, gone=False)

    def _end_record(self) -> None:
        record, self.record = self.record, None
        used, self._used = self._used, ()
        self._end_of(record, used, gone=self.gone)

    def _end_of(self, record: RequestRecord | None, used: Sequence[Callable[[int], object]], *, gone: bool) -> None:
        """Have a record come to its end, and those know who want to know what was used."""
        for callback in used:
            callback(0 if record is None else record.used)
        if record is not None and self.site.journal is not None:
            self.site.journal.end(record, gone=gone)

    def _end(self, result: Any) -> None:
        self._answering = None
        if isinstance(result, Failure):
            self.processingFailed(result)
            if isinstance(result.value, InferenceError):
                forget_way(result)
                self.body, self.content = b"", BytesIO()
        elif not self.gone:
            self.finish()

    def fail(self, error: InferenceError) -> None:
        """Write an error as the whole response. One that has begun is cut off: it must not pass for complete."""
        self.remember(error)
        if self.startedWriting:
            self._aborted = True
            self.channel.abort()
        else:
            self.answer(error.status, ERROR_BODIES[self.dialect](error))

    def dismiss(self) -> None:
        """Tell the client, who has no answer yet, that the server stops, if what answers can be stopped."""
        if self._answering is None:
            self.channel.abort()
        else:
            self._answering.cancel()

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
            self.channel.abort()
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
        elif isinstance(error, CancelledError) and self.site.closing:
            self.fail(_stopping())
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

    def _count(self) -> None:
        if self._counted or self._arrived is None:
            return
        self._counted = True
        method = self.method.decode()
        self.site.metrics.exchange_finished(
            self.route,
            method if method in _METHODS else "other",
            self.code,
            self.site.seconds() - self._arrived,
            length_of(self._received.get(b"content-length")),
            self.length or 0,
        )


def _stopping() -> Unavailable:
    """Make the error of those who have no answer when the server stops."""
    return Unavailable("The server is shutting down.")
