# -*- test-case-name: tests.grpc.test_embedding -*-
"""``VllmEngine.Embed``: as ``/v1/embeddings``, for those who have tokens already."""

from collections.abc import Callable
from typing import ClassVar

from attrs import define

from vllmsim.api.engine.embedding import EmbedDialect
from vllmsim.grpc.operations import ENGINE
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service
from vllmsim.web.pooling import PoolAnswering


@define(eq=False)
class EmbedCalls:
    """Answers it.

    :param dialect: finds what reads requests now.
    """

    service: ClassVar[Service] = Service(ENGINE)

    _answering: PoolAnswering
    _dialect: Callable[[], EmbedDialect]

    @service.raw("Embed", remembered=True, inference=True)
    async def embed(self, rpc: Rpc) -> None:
        """Answer with the vector of a prompt."""
        dialect = self._dialect()
        await self._answering.answer(await self._answering.read(dialect, rpc, dialect.named), rpc)
