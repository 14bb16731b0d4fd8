# -*- test-case-name: tests.web.test_inference -*-
"""How inference requests are answered: a dialect reads the body, the simulator serves it, a sink writes the answer."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from vllmsim.api.body import Head
from vllmsim.api.dialect import Call, StreamEncoder
from vllmsim.api.errorbody import internal_error
from vllmsim.api.naming import Names, named_in_json
from vllmsim.errors import InferenceError
from vllmsim.faults import Fault
from vllmsim.inference import InferenceRequest
from vllmsim.interfaces import ISimulator
from vllmsim.web.damage import CutAnswer, DamagedStream, answer_badly
from vllmsim.web.failing import Failing, disturbed
from vllmsim.web.reading import read_body
from vllmsim.web.request import Request
from vllmsim.web.streaming import EventStream, PreparedStream, WholeAnswer

R = TypeVar("R")
Report = Callable[[Request], None]

_INLINE_TOKENS: Final = 128
"""How many tokens with log probabilities are written without a thread: some 4 ms with 20 alternatives each."""


@define(eq=False)
class Answering:
    """Answers inference requests.

    :param signature: headers that name this server, sent with every answer.
    :param defer_to_thread: runs a function off the reactor; long answers in full detail are written there.
    :param failing: reads requests, of which some are to fail.
    """

    _log: ClassVar[Logger] = Logger()

    simulator: ISimulator
    _signature: Mapping[str, str]
    _defer_to_thread: Callable[..., Deferred[Any]]
    _failing: Failing

    async def read(self, parse: Callable[[bytes, Head], R], request: Request, names: Names = named_in_json) -> R:
        """Read a request as :class:`vllmsim.web.failing.Failing` does, and sign its answer."""
        self._sign(request)
        return await self._failing.read(parse, request, names)

    async def read_in_peace(self, parse: Callable[[bytes, Head], R], request: Request) -> R:
        """Read a request that would cost a model no time, and so never fails on purpose, and sign its answer."""
        self._sign(request)
        return await read_body(parse, request, self._defer_to_thread)

    def _sign(self, request: Request) -> None:
        for name, value in self._signature.items():
            request.setHeader(name, value)

    async def answer(self, call: Call, request: Request, report: Report | None = None) -> None:
        """Have a call served, and write its answer.

        :param report: adds headers to an answer in one piece that is about to be written.
        :raises InferenceError: when it cannot be served, and nothing is written yet.
        """
        if request.record is not None:
            request.record.generates(call.request, stream=call.stream_encoder is not None)
        if request.fault is not None:
            await self._answer_badly(call, request, request.fault)
        elif call.stream_encoder is None:
            body = await self._whole(call, request, call.request, WholeAnswer())
            if report is not None:
                report(request)
            request.answer(200, body)
        else:
            await self._stream(call, call.request, request, call.stream_encoder())

    async def _answer_badly(self, call: Call, request: Request, fault: Fault) -> None:
        """Answer as the request's fault has it."""
        asked, damage = disturbed(call.request, fault), fault.damage
        if call.stream_encoder is None:
            cut = damage if damage is not None and damage.kind == "cut" else None
            sink = CutAnswer(request=request, after=cut.after) if cut else WholeAnswer()
            body = await self._whole(call, request, asked, sink)
            if damage is None:
                request.answer(200, body)
            else:
                answer_badly(request, damage, body, spoiling=call.spoiling)
            return
        encoder = call.stream_encoder()
        if damage is not None:
            choices = asked.sampling.n * len(asked.prompts)
            encoder = DamagedStream(encoder, request, damage, call.spoiling, choices)
        await self._stream(call, asked, request, encoder)

    async def _whole(self, call: Call, request: Request, asked: InferenceRequest, answer: WholeAnswer) -> bytes:
        """Have a call served, and make its answer in one piece."""
        encoder = call.whole_encoder()
        await self.simulator.submit(asked, answer, request.record)
        parts = answer.prompts, answer.prefill, answer.choices
        if call.request.sampling.detailed and answer.length > _INLINE_TOKENS:
            body: bytes = await self._defer_to_thread(encoder.body, *parts)
            return body
        return encoder.body(*parts)

    async def _stream(self, call: Call, asked: InferenceRequest, request: Request, encoder: StreamEncoder) -> None:
        """Have a call served, and write its answer as it comes.

        :param asked: what is served of it.
        """
        if call.prepare is None:
            stream = EventStream(request, encoder)
        else:
            stream = PreparedStream(request, encoder, prepare=partial(self._defer_to_thread, call.prepare))
        try:
            await self.simulator.submit(asked, stream, request.record)
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
