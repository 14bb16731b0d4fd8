# -*- test-case-name: tests.grpc.test_inference -*-
"""``vllm.Inference``: prompts are continued, as by any route over HTTP."""

from collections.abc import Callable
from typing import ClassVar

from attrs import define

from vllmsim.api.inferenceservice.generate import InferenceDialect
from vllmsim.api.inferenceservice.messages import INFERENCE
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service
from vllmsim.web.answering import Answering


@define(eq=False)
class InferenceCalls:
    """Answers calls that a model works for.

    :param whole: finds what reads those that want an answer in one message.
    :param streamed: finds what reads those that want one in pieces.
    """

    service: ClassVar[Service] = Service(INFERENCE.service("Inference"))

    _answering: Answering
    _whole: Callable[[], InferenceDialect]
    _streamed: Callable[[], InferenceDialect]

    @service.raw("Generate", remembered=True, inference=True)
    async def generate(self, rpc: Rpc) -> None:
        """Continue a prompt, and answer when all is there."""
        await self._answer(self._whole(), rpc)

    @service.raw("GenerateStream", remembered=True, inference=True)
    async def generate_stream(self, rpc: Rpc) -> None:
        """Continue a prompt, and answer with each token as it comes."""
        await self._answer(self._streamed(), rpc)

    async def _answer(self, dialect: InferenceDialect, rpc: Rpc) -> None:
        call = await self._answering.read(dialect.parse, rpc, dialect.named)
        await self._answering.answer(call, rpc)
