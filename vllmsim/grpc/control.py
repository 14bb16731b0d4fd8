# -*- test-case-name: tests.grpc.test_control -*-
"""``vllm.Control``: a server tells how it is set up, and is operated.

What it may be told over HTTP it may be told here: it is paused and put to sleep where it has the routes of vLLM's
development mode, and adapters are loaded where clients may do that. Shutting it down, for which HTTP has no route, is
allowed where pausing is, to clients with an API key, or on the same machine where there are no keys; unless
administrators are told from other clients: then it is not for these.
"""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, ClassVar

from attrs import define, field
from twisted.logger import Logger

from vllmsim.api.controlservice.answers import (
    ServerFacts,
    clears_cache,
    event_sources,
    loras,
    pause_mode,
    sleep_level,
    wake_tags,
)
from vllmsim.api.controlservice.messages import CONTROL, answer_to
from vllmsim.errors import PermissionDenied
from vllmsim.grpc.naming import read_ids
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service
from vllmsim.grpc.status import CallError, Code
from vllmsim.interfaces import IModelCatalogue, IRankControl
from vllmsim.web.adapters import AdapterLoading


@define(eq=False, kw_only=True)
class Permissions:
    """What callers may do.

    :param operate: whether they may pause the server and put it to sleep.
    :param shut_down: whether they may shut it down, too.
    :param from_afar: whether those may who are on other machines.
    :param load: whether they may load and unload adapters.
    :param sleep: whether the server may be put to sleep at all.
    """

    operate: bool
    shut_down: bool
    from_afar: bool
    load: bool
    sleep: bool

    def check_operating(self) -> None:
        """Have only those operate the server who may.

        :raises PermissionDenied: when nobody may.
        """
        if not self.operate:
            raise PermissionDenied("This server is not operated by its clients: server-dev-mode is off.")

    def check_shutting_down(self, peer: str) -> None:
        """Have only those shut the server down who may.

        :param peer: where the client is: address and port, or ``unix``.
        :raises PermissionDenied: when that one may not.
        """
        self.check_operating()
        if not self.shut_down:
            raise PermissionDenied("This server is shut down by its administrators alone.")
        if not (self.from_afar or _is_here(peer)):
            raise PermissionDenied("Without an API key, this server is shut down from its own machine alone.")

    def check_loading(self) -> None:
        """Have only those load adapters who may.

        :raises PermissionDenied: when nobody may.
        """
        if not self.load:
            raise PermissionDenied("Adapters are not loaded by clients here: allow-runtime-lora-updating is off.")


def _is_here(peer: str) -> bool:
    return peer == "unix" or ip_address(peer.rpartition(":")[0]).is_loopback


@define(eq=False)
class ControlCalls:
    """Answers those who operate a server.

    :param facts: tells how it is set up now.
    :param sources: tells by rank where its KV events are published; nothing while they are not.
    :param stop: begins to stop the server; what runs goes on to its end.
    """

    _log: ClassVar[Logger] = Logger()
    service: ClassVar[Service] = Service(CONTROL.service("Control"))

    _control: IRankControl
    _models: IModelCatalogue
    _adapters: AdapterLoading
    _facts: Callable[[], ServerFacts]
    _sources: Callable[[], Mapping[int, Mapping[str, Any]]]
    _stop: Callable[[], object]
    _permissions: Permissions
    _stopping: bool = field(init=False, default=False)

    @service.unary("GetServerInfo")
    def server_info(self, _request: Any, _rpc: Rpc) -> Any:
        """Answer how the server is set up."""
        return self._facts().server_info()

    @service.unary("GetModelInfo")
    def model_info(self, _request: Any, _rpc: Rpc) -> Any:
        """Answer what the model is."""
        return self._facts().model_info()

    @service.unary("Shutdown")
    def shutdown(self, _request: Any, rpc: Rpc) -> Any:
        """Have the server stop in order, as a signal would. Who asks again while it does changes nothing."""
        self._permissions.check_shutting_down(rpc.peer)
        if not self._stopping:
            self._stopping = True
            self._log.info("A client has the server shut down.")
            self._stop()
        return answer_to("Shutdown")

    @service.unary("Abort")
    async def abort(self, request: Any, rpc: Rpc) -> Any:
        """End the requests that are named; where none is, none is meant."""
        ids = await read_ids(request.request_ids, rpc.site.clock)
        return answer_to("Abort", num_aborted=self._control.abort(ids) if ids else 0)

    @service.unary("LoadLora")
    async def load_lora(self, request: Any, _rpc: Rpc) -> Any:
        """Load an adapter, and answer when it is in memory."""
        self._permissions.check_loading()
        await self._adapters.load(request.lora_name, request.lora_path, in_place=request.load_inplace)
        return answer_to("LoadLora")

    @service.unary("UnloadLora")
    def unload_lora(self, request: Any, _rpc: Rpc) -> Any:
        """Unload an adapter; requests that have been let in go on."""
        self._permissions.check_loading()
        self._adapters.unload(request.lora_name)
        return answer_to("UnloadLora")

    @service.unary("ListLoras")
    def list_loras(self, _request: Any, _rpc: Rpc) -> Any:
        """Answer which adapters are served."""
        return loras(self._models)

    @service.unary("GetKvEventSources")
    def kv_event_sources(self, _request: Any, _rpc: Rpc) -> Any:
        """Answer where KV events are published."""
        return event_sources(self._sources())

    @service.unary("PauseGeneration")
    async def pause(self, request: Any, _rpc: Rpc) -> Any:
        """Let no more requests in, and answer when nothing runs or what runs stands still."""
        self._permissions.check_operating()
        await self._control.pause(pause_mode(request.mode), clears_cache(request))
        return answer_to("PauseGeneration")

    @service.unary("ResumeGeneration")
    def resume(self, _request: Any, _rpc: Rpc) -> Any:
        """Go on."""
        self._permissions.check_operating()
        self._control.resume()
        return answer_to("ResumeGeneration")

    @service.unary("IsPaused")
    def is_paused(self, _request: Any, _rpc: Rpc) -> Any:
        """Answer whether the server is paused."""
        return answer_to("IsPaused", is_paused=self._control.paused())

    @service.unary("Sleep")
    async def sleep(self, request: Any, _rpc: Rpc) -> Any:
        """Fall asleep, and answer when nothing runs or what runs stands still.

        :raises CallError: when the server may not sleep. Over HTTP the answer tells that it is awake; this one has no
            place for that.
        """
        self._permissions.check_operating()
        level, mode = sleep_level(request), pause_mode(request.mode)
        if not self._permissions.sleep:
            raise CallError(Code.FAILED_PRECONDITION, "The server was not started with enable-sleep-mode.")
        await self._control.sleep(level, mode)
        return answer_to("Sleep")

    @service.unary("WakeUp")
    def wake_up(self, request: Any, _rpc: Rpc) -> Any:
        """Wake up, wholly or in part."""
        self._permissions.check_operating()
        self._control.wake_up(wake_tags(request))
        return answer_to("WakeUp")

    @service.unary("IsSleeping")
    def is_sleeping(self, _request: Any, _rpc: Rpc) -> Any:
        """Answer whether the server is asleep, or still in part."""
        return answer_to("IsSleeping", is_sleeping=self._control.sleeping())
