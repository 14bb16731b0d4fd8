# -*- test-case-name: tests.grpc.test_engine -*-
"""``vllm.grpc.engine.VllmEngine``: the method that generates."""

from collections.abc import Awaitable, Callable
from typing import ClassVar

from attrs import define, evolve
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from vllmsim.api.engine.generate import GenerateDialect
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service
from vllmsim.interfaces import ITokenizer
from vllmsim.web.answering import Answering


@define(eq=False)
class GenerateCalls:
    """Answers calls to generate as requests over HTTP are answered: the dialect's bytes are framed messages.

    :param tokenizer: finds the tokenizer in whose tokens clients speak, if that is not the rank's own.
    """

    service: ClassVar[Service] = Service(pb.DESCRIPTOR.services_by_name["VllmEngine"])

    _answering: Answering
    _dialect: Callable[[], GenerateDialect]
    _tokenizer: Callable[[], Awaitable[ITokenizer]] | None = None

    @service.raw("Generate", remembered=True, inference=True)
    async def generate(self, rpc: Rpc) -> None:
        """Answer with a row of messages."""
        dialect = self._dialect()
        call = await self._answering.read(dialect.parse, rpc, dialect.named)
        if self._tokenizer is not None:
            call = evolve(call, request=evolve(call.request, tokenizer=await self._tokenizer()))
        await self._answering.answer(call, rpc)
