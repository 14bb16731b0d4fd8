# -*- test-case-name: tests.grpc.test_inquiries -*-
"""The calls of ``VllmEngine`` with which a gateway gets to know a server: model, state, load, tokenizer."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar, Final

from attrs import define
from smg_grpc_proto.generated import common_pb2 as common

from vllmsim import VLLM_VERSION
from vllmsim.api.engine.loads import loads_of
from vllmsim.api.engine.modelinfo import ModelFacts, model_info
from vllmsim.api.engine.serverinfo import ServerSetup, ServerState, server_info
from vllmsim.grpc.operations import ENGINE
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service
from vllmsim.grpc.status import CallError, Code
from vllmsim.interfaces import ILoads

CHUNK: Final = 1 << 16
"""Bytes of an archive in one message."""


@define(eq=False)
class InquiryCalls:
    """Answers them.

    :param epoch: tells seconds since the epoch.
    :param loads: finds who tells how much there is to do.
    :param model: finds what there is to tell of the model.
    :param setup: finds how the server is set up.
    :param state: tells how it is now.
    :param archive: finds the archive of the tokenizer's files, and its SHA-256; None where the tokenizer has no files.
        Awaiting it raises :class:`ValueError` when they cannot be read.
    """

    service: ClassVar[Service] = Service(ENGINE)

    _epoch: Callable[[], float]
    _loads: Callable[[], ILoads]
    _model: Callable[[], Awaitable[ModelFacts]]
    _setup: Callable[[], Awaitable[ServerSetup]]
    _state: Callable[[], ServerState]
    _archive: Callable[[], Awaitable[tuple[bytes, str]]] | None

    @service.unary("GetModelInfo")
    async def model_info(self, request: Any, _: Rpc) -> Any:
        """Tell of the model."""
        return model_info(await self._model())

    @service.unary("GetServerInfo")
    async def server_info(self, request: Any, _: Rpc) -> Any:
        """Tell of the server."""
        setup = await self._setup()
        return server_info(setup, self._state())

    @service.unary("GetLoads")
    def loads(self, request: Any, _: Rpc) -> Any:
        """Tell how much each rank has to do."""
        return loads_of(request, self._loads(), VLLM_VERSION, self._epoch())

    @service.stream("GetTokenizer")
    async def tokenizer(self, request: Any, _: Rpc) -> AsyncIterator[Any]:
        """Send the archive of the tokenizer's files in pieces, with the last its SHA-256.

        :raises CallError: when there is none.
        """
        if self._archive is None:
            raise CallError(Code.FAILED_PRECONDITION, "Tokenizer path is not configured on this server.", 412)
        try:
            data, sha256 = await self._archive()
        except ValueError as error:
            raise CallError(Code.INTERNAL, str(error), 500) from error
        for start in range(0, len(data), CHUNK):
            stop = start + CHUNK
            yield common.GetTokenizerChunk(data=data[start:stop], sha256=sha256 if stop >= len(data) else "")
