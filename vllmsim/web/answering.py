# -*- test-case-name: tests.web.test_inference -*-
"""How inference requests are answered: a dialect reads the body, the simulator serves it, a sink writes the answer."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeVar

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from vllmsim.api.body import Head
from vllmsim.api.dialect import Call, StreamEncoder
from vllmsim.api.errorbody import internal_error
from vllmsim.errors import InferenceError
from vllmsim.interfaces import ISimulator
from vllmsim.web.request import Request
from vllmsim.web.streaming import EventStream, WholeAnswer

R = TypeVar("R")

_INLINE_BYTES: Final = 16_384
"""How large a body is read without a thread: some 10 ms if it is all messages or tools."""
_INLINE_TOKENS: Final = 128
"""How many tokens with log probabilities are written without a thread: some 4 ms with 20 alternatives each."""


async def read_body(
    parse: Callable[[bytes, Head], R], request: Request, defer_to_thread: Callable[..., Deferred[Any]]
) -> R:
    """Read a request's body, in a thread if it is large.

    :param parse: a dialect's method; it must not mind in which thread it is called.
    :raises InferenceError: when the body is wrong.
    """
    body = request.content.read()
    if len(body) <= _INLINE_BYTES:
        return parse(body, request.head)
    read: R = await defer_to_thread(parse, body, request.head)
    return read


@define(eq=False)
class Answering:
    """Answers inference requests.

    :param signature: headers that name this server, sent with every answer.
    :param defer_to_thread: runs a function off the reactor; large bodies are read there, and long answers in full
        detail written.
    """

    _log: ClassVar[Logger] = Logger()

    simulator: ISimulator
    _signature: Mapping[str, str]
    _defer_to_thread: Callable[..., Deferred[Any]]

    async def read(self, parse: Callable[[bytes, Head], R], request: Request) -> R:
        """Read a request as :func:`read_body` does, and sign its answer."""
        for name, value in self._signature.items():
            request.setHeader(name, value)
        return await read_body(parse, request, self._defer_to_thread)

    async def answer(self, call: Call, request: Request) -> None:
        """Have a call served, and write its answer.

        :raises InferenceError: when it cannot be served, and nothing is written yet.
        """
        if request.record is not None:
            request.record.generates(call.request, stream=call.stream_encoder is not None)
        if call.stream_encoder is None:
            await self._answer_whole(call, request)
        else:
            await self._stream(call, request, call.stream_encoder())

    async def _answer_whole(self, call: Call, request: Request) -> None:
        answer, encoder = WholeAnswer(), call.whole_encoder()
        await self.simulator.submit(call.request, answer, request.record)
        parts = answer.prompts, answer.prefill, answer.choices
        if call.request.sampling.detailed and answer.length > _INLINE_TOKENS:
            body = await self._defer_to_thread(encoder.body, *parts)
        else:
            body = encoder.body(*parts)
        request.answer(200, body)

    async def _stream(self, call: Call, request: Request, encoder: StreamEncoder) -> None:
        stream = EventStream(request, encoder)
        try:
            await self.simulator.submit(call.request, stream, request.record)
            await stream.close()
        except InferenceError as error:
            if not stream.begun:
                raise
            request.remember(error)
            await stream.fail(error)
        except Exception:
            if not stream.begun or request.gone:
                raise
            self._log.failure("While streaming to {uri}", uri=request.uri)
            ours = internal_error()
            request.remember(ours)
            await stream.fail(ours)
