# -*- test-case-name: tests.scripts.dataset.test_server -*-
"""The server whose answers are recorded: asked over HTTP, and again when that may help."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import orjson
from attrs import define, field
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IReactorTime, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from vllmsim.inference import TextPrompt
from vllmsim.scripts.dataset.dialogues import Exchange
from vllmsim.scripts.dataset.events import Broken, Recording
from vllmsim.scripts.dataset.faults import BadItem, BuildError

T = TypeVar("T")

_WRAPPED: Final = (ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed)
"""What a client of Twisted's raises, with its reasons."""
_OK: Final = 200
_HOPELESS: Final = frozenset({401, 403, 404, 405})
"""What these say is true of every request."""
_FLEETING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 30.0
_SHOWN: Final = 16_384
"""The most bytes of a refusal that are read."""
_LISTED: Final = 1 << 20


class _Unreachable(Broken):
    """Nobody answers."""


@define(eq=False)
class Server:
    """Asks a server that is OpenAI-compatible.

    :param client: makes requests, and follows no redirections by itself that change a method.
    :param address: where the server's paths begin, without the ``/v1``.
    :param headers: what every request has.
    :param max_tokens: the most tokens of an answer.
    :param timeout: seconds that an answer may take, at most, from its request to its end.
    :param retries: how often a request is made again.
    :param model: which model answers; asked from the server if it is empty.
    """

    _client: HTTPClient
    _clock: IReactorTime
    _address: str
    _headers: Headers
    _max_tokens: int
    _timeout: float
    _retries: int
    model: str = ""
    retried: int = field(init=False, default=0)
    """How often a request was made again."""

    async def prepare(self) -> None:
        """Find out which model there is, unless that is known.

        :raises BuildError: when the server does not tell.
        """
        if self.model:
            return
        try:
            content = await self._persist(self._models)
        except BadItem as error:
            raise BuildError(f"the server does not list its models: {error.reason}; --model names one") from None
        try:
            self.model = str(orjson.loads(content)["data"][0]["id"])
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
            raise BuildError("the server's list of models cannot be read; --model names one") from None

    async def ask(self, exchange: Exchange) -> Recording:
        """Have a prompt answered.

        :raises BadItem: when the server will not, or its answer cannot be kept.
        :raises BuildError: when it cannot be reached, or answers nothing at all.
        """
        path = "/v1/completions" if isinstance(exchange.prompt, TextPrompt) else "/v1/chat/completions"
        body = {
            "model": self.model,
            **exchange.body,
            "max_tokens": self._max_tokens,
            "stream": True,
            "stream_interval": 1,
            "return_token_ids": True,
            "return_prompt_text": True,
        }
        data = orjson.dumps(body)

        async def attempt() -> Recording:
            recording = Recording()
            await self._exchange("POST", path, data, recording.received)
            recording.check()
            return recording

        return await self._persist(attempt)

    async def _models(self) -> bytes:
        listed = _Beginning(_LISTED)
        await self._exchange("GET", "/v1/models", None, listed.take)
        return listed.content

    async def _exchange(self, method: str, path: str, data: bytes | None, take: Callable[[bytes], None]) -> None:
        """Make a request.

        :param take: given the body of a good response as it comes.
        """
        done = Deferred.fromCoroutine(self._converse(method, path, data, take))
        await done.addTimeout(self._timeout, self._clock)

    async def _converse(self, method: str, path: str, data: bytes | None, take: Callable[[bytes], None]) -> None:
        headers = self._headers.copy()
        headers.setRawHeaders("Content-Type", ["application/json"])
        try:
            response = await self._client.request(
                method, self._address + path, headers=headers, data=data, unbuffered=True, allow_redirects=False
            )
        except _WRAPPED as error:
            # Who gave up was this client.
            if any(reason.check(CancelledError) for reason in error.reasons):
                raise CancelledError from None
            raise
        except ConnectingCancelledError:
            raise CancelledError from None
        if response.code == _OK:
            await _deliver(response, take)
            return
        said = _Beginning(_SHOWN)
        await _deliver(response, said.take)
        raise _refusal(response.code, said.content, response.headers.getRawHeaders("retry-after", [""])[0])

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Make an attempt, and others if it fails in a way that may pass."""
        wait = _FIRST_WAIT
        fault = Broken("")
        for left in range(self._retries, -1, -1):
            try:
                return await attempt()
            except Broken as error:
                fault = error
            except TookTooLong:
                fault = Broken(f"there is no whole answer after {self._timeout:g} s")
            except (ConnectError, DNSLookupError) as error:
                fault = _Unreachable(_words(error))
            except (ConnectionClosed, *_WRAPPED) as error:
                fault = Broken(f"the connection broke: {_words(error)}")
            if left:
                self.retried += 1
                await deferLater(self._clock, min(_LONGEST_WAIT, max(wait, getattr(fault, "wait", 0.0))))
                wait *= 2
        if isinstance(fault, _Unreachable):
            raise BuildError(f"the server at {self._address} cannot be reached: {fault}")
        raise BadItem(str(fault))


class _Fleeting(Broken):
    """The server cannot answer now.

    :param wait: seconds after which it may.
    """

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = wait


@define(eq=False)
class _Beginning:
    """Keeps the first bytes of a body.

    :param most: how many.
    """

    _most: int
    content: bytes = field(init=False, default=b"")

    def take(self, data: bytes) -> None:
        """Keep what there is room for."""
        self.content += data[: self._most - len(self.content)]


class _Body(Protocol):
    """Passes on the body of a response.

    ``finished`` fires when there is no more; cancelled, it closes the connection.

    :param take: given what comes; what it raises ends everything.
    """

    transport: ITransport

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._fault: Failure | None = None
        self.finished: Deferred[None] = Deferred(lambda _: self.transport.loseConnection())

    def dataReceived(self, data: bytes) -> None:
        """Pass it on, unless something is wrong with what came before."""
        if self._fault is None:
            try:
                self._take(data)
            except (Broken, BadItem):
                self._fault = Failure()
                self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell what became of it."""
        if self.finished.called:
            return
        if self._fault is not None:
            self.finished.errback(self._fault)
        elif reason.check(ResponseDone, PotentialDataLoss):
            self.finished.callback(None)
        else:
            self.finished.errback(reason)


async def _deliver(response: IResponse, take: Callable[[bytes], None]) -> None:
    body = _Body(take)
    response.deliverBody(body)
    await body.finished


def _refusal(status: int, content: bytes, retry_after: str) -> Exception:
    """Say what a response that is no answer means."""
    try:
        error = orjson.loads(content)["error"]
        message = str(error["message"] if isinstance(error, dict) else error)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = content.decode("utf-8", "replace").strip() or "no reason is given"
    text = BadItem(f"the server answers with status {status}: {message}")
    if status in _FLEETING:
        return _Fleeting(str(text), float(retry_after) if retry_after.isdecimal() else 0.0)
    return BuildError(text.reason) if status in _HOPELESS else text


def _words(error: Exception) -> str:
    """Say in words what Twisted says of a connection."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        error = reasons[-1].value
    return str(error).rstrip(".") or type(error).__name__
