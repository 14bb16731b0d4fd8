# -*- test-case-name: tests.grpc.test_operations -*-
"""The calls of ``VllmEngine`` with which a server is operated: is it well, abort, flush, profile."""

import math
from typing import Any, ClassVar, Final

from attrs import define, field
from smg_grpc_proto.generated import common_pb2 as common
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from vllmsim.errors import Conflict, InvalidRequest, Overloaded
from vllmsim.grpc.naming import read_ids
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service
from vllmsim.grpc.status import CallError, Code
from vllmsim.interfaces import IHealth, IRankControl
from vllmsim.web.profiling import Profiler

ENGINE: Final = pb.DESCRIPTOR.services_by_name["VllmEngine"]
_PAUSE: Final = 0.1
"""Seconds from one try to flush to the next."""
_MOST_FLUSHES: Final = 100
"""How many may wait until they can."""
_OPTIONS: Final = ("output_dir", "start_step", "num_steps", "with_stack", "record_shapes")
_NO_PROFILER: Final = "Profiling is not enabled. Please set --profiler-config to enable profiling."


@define(eq=False)
class OperationCalls:
    """Operates the ranks that a port leads to.

    :param profiler: takes profiles; None on servers that do not.
    """

    service: ClassVar[Service] = Service(ENGINE)

    _clock: IReactorTime
    _health: IHealth
    _control: IRankControl
    _profiler: Profiler | None
    _flushing: int = field(init=False, default=0)

    @service.unary("HealthCheck")
    def check(self, request: Any, _: Rpc) -> Any:
        """Tell whether requests should be sent here."""
        if self._health.ready():
            return pb.HealthCheckResponse(healthy=True, message="Health")
        return pb.HealthCheckResponse(message="Engine is not ready" if self._health.healthy else "Engine is not alive")

    @service.unary("Abort")
    async def abort(self, request: Any, _: Rpc) -> Any:
        """End requests with what they have said. Those that there are not do not matter."""
        ids = await read_ids(request.request_ids, self._clock)
        if ids:
            self._control.abort(ids)
        return pb.AbortResponse()

    @service.unary("FlushCache")
    async def flush(self, request: Any, _: Rpc) -> Any:
        """Forget the prefix cache, if nothing uses it now or within the time that the request allows.

        :raises CallError: when that is over.
        """
        seconds = request.timeout_s
        if not math.isfinite(seconds) or seconds < 0:
            raise InvalidRequest("timeout_s must be finite and non-negative")
        if self._flushing >= _MOST_FLUSHES:
            raise Overloaded("Too many flushes of the prefix cache are waiting.")
        self._flushing += 1
        try:
            flushed = await self._flush(seconds)
        finally:
            self._flushing -= 1
        if flushed:
            return common.FlushCacheResponse(success=True, message="Local KV prefix cache flushed successfully")
        if seconds:
            raise CallError(
                Code.DEADLINE_EXCEEDED, "Flush cache timed out; the engine may still complete an issued reset", 504
            )
        return common.FlushCacheResponse(message="KV prefix cache reset refused; requests may be in flight")

    async def _flush(self, seconds: float) -> bool:
        """Try until it is done, or the time is over."""
        end = self._clock.seconds() + seconds
        while not await self._control.reset_prefix_cache(False, False):
            left = end - self._clock.seconds()
            if left <= 0:
                return False
            await deferLater(self._clock, min(_PAUSE, left))
        return True

    @service.unary("StartProfile")
    def start_profile(self, request: Any, _: Rpc) -> Any:
        """Begin a profile.

        :raises CallError: when there is one, or there is no profiler.
        """
        named = [name for name in _OPTIONS if request.HasField(name)]
        named += [name for name in ("activities", "profile_by_stage") if getattr(request, name)]
        if named:
            raise InvalidRequest(
                f"StartProfile options {', '.join(named)} cannot be set per request on this engine: its profiler's "
                "directory and options are its launch configuration; send a start with no options"
            )
        try:
            self._find_profiler("Start").start()
        except Conflict as error:
            raise _failed("Start", error.message) from error
        return common.ProfileResponse(success=True, message="Start profiling succeeded")

    @service.unary("StopProfile")
    def stop_profile(self, request: Any, _: Rpc) -> Any:
        """End the profile, if there is one.

        :raises CallError: when there is no profiler.
        """
        self._find_profiler("Stop").stop()
        return common.ProfileResponse(success=True, message="Stop profiling succeeded")

    def _find_profiler(self, verb: str) -> Profiler:
        if self._profiler is None:
            raise _failed(verb, _NO_PROFILER)
        return self._profiler


def _failed(verb: str, reason: str) -> CallError:
    """Make what is told where a profiler does not do what it should: vLLM takes any reason for a mistake of its own."""
    return CallError(Code.INTERNAL, f"{verb} profiling failed: {reason}")
