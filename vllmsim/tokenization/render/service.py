# -*- test-case-name: tests.tokenization.render.test_service -*-
"""Questions to a vLLM render service, over HTTP: JSON is posted, and JSON comes back.

Connections are kept open and used again. A service closes one that has been idle for a while, perhaps just when the
next question is on its way; as questions change nothing there, one that got no answer at all is asked once more.

What the service finds wrong with a request is its client's error, and is passed on. All else that goes wrong is ours:
the client is told in one sentence, the log why.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import orjson
from attrs import define, field
from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from vllmsim.downloading.web import NO_ANSWER, describe, hang_up, uncover
from vllmsim.errors import InferenceError, InvalidRequest, Unavailable

if TYPE_CHECKING:
    from treq.client import HTTPClient

T = TypeVar("T")

_BAD_REQUEST: Final = 400
_MISSING: Final = frozenset({404, 405, 501})
_TOO_MANY: Final = 429
_CONCURRENCY: Final = 64
_IDLE: Final = 4
"""Seconds that connections are kept, one less than a vLLM server does."""
_CONNECT_TIMEOUT: Final = 10.0
_MAX_ANSWER: Final = 1 << 26
_INLINE: Final = 1 << 16
"""Bytes of JSON that are read or written without a thread."""
_MAX_SHOWN: Final = 1000


class NoSuchRoute(InferenceError):
    """The service does not have a route, or not the model."""

    def __init__(self, path: str) -> None:
        super().__init__(f"The render service has no {path} for the model.")


class _Collected(Protocol):
    """Collects a response's body.

    :param whole: fires with it; cancelled, it hangs up.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self.whole: Deferred[bytes] = Deferred(lambda _: hang_up(self))

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        self._pieces.append(data)
        if self._size > _MAX_ANSWER and not self.whole.called:
            hang_up(self)
            self.whole.errback(OSError(f"its answer has more than {_MAX_ANSWER} bytes"))
            self._pieces.clear()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._pieces))
        else:
            self.whole.errback(reason)


@implementer(IBodyProducer)
@define(eq=False)
class _Bytes:
    """A request's body, which is sent at once."""

    _data: bytes
    length: int = field(init=False)

    @length.default
    def _measure(self) -> int:
        return len(self._data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to be sent."""

    def resumeProducing(self) -> None:
        """Likewise."""

    def stopProducing(self) -> None:
        """Likewise."""


@define(eq=False)
class RenderService:
    """One render service.

    :param client: sends requests.
    :param url: the service's address.
    :param defer_to_thread: runs a function off the reactor; long JSON is read and written there.
    :param pool: has the connections that are kept.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _client: "HTTPClient"
    _url: str
    _defer_to_thread: Callable[..., Deferred[Any]]
    _pool: HTTPConnectionPool | None = None
    _turn: DeferredSemaphore = field(init=False, factory=lambda: DeferredSemaphore(_CONCURRENCY))
    _trouble: bool = field(init=False, default=False)
    """Whether the log has said that it is in trouble, and not yet that it answers again."""

    async def ask(
        self, path: str, question: Mapping[str, Any] | None, read: Callable[[Any], T], *, within: float, size: int = 0
    ) -> T:
        """Post a question, or just get what is at a path.

        :param question: what JSON can say; None to get.
        :param read: takes what the JSON of the answer says, off the reactor if that is much; ValueError for nonsense.
        :param within: seconds that it may take, with the time that it waits for its turn.
        :param size: about how many bytes the question has.
        :return: what `read` makes of the answer.
        :raises InvalidRequest: with the service's words, when it finds the question wrong.
        :raises NoSuchRoute: when there is nothing at the path, or no such model.
        :raises Unavailable: when there is no answer.
        :raises InferenceError: when the answer is none.
        """
        try:
            asked = Deferred.fromCoroutine(self._ask_in_turn(path, question, read, size))
            return await asked.addTimeout(within, self._clock)
        except DeferredTimeoutError:
            self._complain("The render service took more than {seconds} s for {path}.", seconds=within, path=path)
            raise Unavailable("The render service did not answer in time.") from None
        except NO_ANSWER as error:
            self._complain("The render service gives no answer: {why}.", why=describe(error))
            raise Unavailable("The render service cannot be reached.") from None

    def _complain(self, text: str, **facts: object) -> None:
        """Say what is wrong: once for all, and in details for each request, until it answers again."""
        level = LogLevel.debug if self._trouble else LogLevel.warn
        self._trouble = True
        self._log.emit(level, text, **facts)

    def _praise(self) -> None:
        if self._trouble:
            self._trouble = False
            self._log.info("The render service answers again.")

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._pool is not None:
            await self._pool.closeCachedConnections()

    async def _ask_in_turn(
        self, path: str, question: Mapping[str, Any] | None, read: Callable[[Any], T], size: int
    ) -> T:
        await self._turn.acquire()
        try:
            body = None
            if question is not None:
                body = await self._defer_to_thread(_write, question) if size > _INLINE else _write(question)
            try:
                status, answer = await self._exchange(path, body)
            except ResponseNeverReceived:
                status, answer = await self._exchange(path, body)
            return await self._read(path, status, answer, read)
        finally:
            self._turn.release()

    async def _exchange(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        response: IResponse = await self._client.request(
            "GET" if body is None else "POST",
            self._url + path,
            data=body,
            headers=Headers() if body is None else Headers({"Content-Type": ["application/json"]}),
            allow_redirects=False,
            unbuffered=True,
            reactor=self._clock,  # type: ignore[arg-type]
        ).addErrback(uncover)
        collected = _Collected()
        response.deliverBody(collected)
        return response.code, await collected.whole.addErrback(uncover)

    async def _read(self, path: str, status: int, answer: bytes, read: Callable[[Any], T]) -> T:
        if status in _MISSING:
            said = _words(answer)[0]
            self._log.debug(
                "The render service answers {path} with {status}: {said}", path=path, status=status, said=said
            )
            raise NoSuchRoute(path)
        if status == _BAD_REQUEST:
            raise InvalidRequest(*_words(answer))
        fault: ValueError | None = None
        if 200 <= status < 300:  # noqa: PLR2004
            try:
                if len(answer) <= _INLINE:
                    parsed = _parse(answer, read)
                else:
                    parsed = await self._defer_to_thread(_parse, answer, read)
            except ValueError as error:
                fault = error
            else:
                self._praise()
                return parsed
        said = str(fault or _words(answer)[0])
        self._complain("The render service answers {path} with {status}: {said}", path=path, status=status, said=said)
        if status >= 500 or status == _TOO_MANY:  # noqa: PLR2004
            raise Unavailable("The render service cannot answer now.")
        raise InferenceError("The render service gave no usable answer.")


def _parse(answer: bytes, read: Callable[[Any], T]) -> T:
    return read(orjson.loads(answer))


def _write(question: Mapping[str, Any]) -> bytes:
    return orjson.dumps(question, default=dict)


def _words(answer: bytes) -> tuple[str, str | None]:
    """Find what an error says, and which member is at fault."""
    error: Any = None
    if len(answer) <= _INLINE:
        with suppress(ValueError):
            error = orjson.loads(answer)
    if isinstance(error, Mapping):
        error = error.get("error", error)
    message = error.get("message") if isinstance(error, Mapping) else None
    param = error.get("param") if isinstance(error, Mapping) else None
    said = message if isinstance(message, str) and message else "The render service refuses the request."
    return said[:_MAX_SHOWN], param if isinstance(param, str) else None


def render_client(agent: IAgent) -> "HTTPClient":
    """Make what sends requests."""
    # It takes a tenth of a second, which a start without a render service can do without.
    from treq.client import HTTPClient  # noqa: PLC0415

    return HTTPClient(agent, data_to_body_producer=_Bytes)


def render_service(reactor: Any, url: str, defer_to_thread: Callable[..., Deferred[Any]]) -> RenderService:
    """Make what asks the render service at an address.

    :param reactor: provides time and connections.
    """
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = _CONCURRENCY
    pool.cachedConnectionTimeout = _IDLE
    client = render_client(Agent(reactor, connectTimeout=_CONNECT_TIMEOUT, pool=pool))
    return RenderService(reactor, client, url.rstrip("/"), defer_to_thread, pool)
