# -*- test-case-name: tests.web.test_adapters -*-
"""The routes that load and unload LoRA adapters: vLLM's two, and SageMaker's two.

Loading is answered when the adapter is in memory. It is served from the moment on at which it is asked for: requests
that come in between wait until it is there.
"""

from collections.abc import Callable
from typing import ClassVar

from attrs import define
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from vllmsim.api import adapters
from vllmsim.api.description import READING, Response
from vllmsim.errors import InvalidUserInput, UnknownAdapter
from vllmsim.interfaces import IAdapterRegistry
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(eq=False)
class AdapterLoading:
    """Loads and unloads adapters.

    :param find: tells whether there is anything at a path.
    """

    _registry: IAdapterRegistry
    _clock: IReactorTime
    _find: Callable[[str], Deferred[bool]]

    async def load(self, name: str, path: str, *, in_place: bool) -> None:
        """Load an adapter, and wait until it is in memory; see :meth:`vllmsim.interfaces.IAdapterRegistry.load`."""
        found = await self._find(path)
        if seconds := self._registry.load(name, path, in_place, found=found):
            await deferLater(self._clock, seconds)

    def unload(self, name: str) -> None:
        """Unload an adapter; see :meth:`vllmsim.interfaces.IAdapterRegistry.unload`."""
        self._registry.unload(name)


@define(slots=False, eq=False)
class AdapterRoutes:
    """Changes which adapters a rank serves. Like vLLM it answers in plain words, without a content type."""

    app: ClassVar[Klein] = Klein()

    _adapters: AdapterLoading

    @app.route("/v1/load_lora_adapter", methods=["POST"])
    @described(
        "LoRA",
        Response(),
        body=adapters.LoadBody,
        errors=(*READING, InvalidUserInput, UnknownAdapter),
        example={"lora_name": "poet", "lora_path": "/adapters/poet", "load_inplace": True},
    )
    async def load(self, request: Request) -> None:
        """Load an adapter."""
        body = adapters.read_load(request.content.read(), request.head)
        await self._adapters.load(body.lora_name, body.lora_path, in_place=body.load_inplace)
        request.answer(200, adapters.loaded(body.lora_name), content_type=None)

    @app.route("/v1/unload_lora_adapter", methods=["POST"])
    @described(
        "LoRA",
        Response(),
        body=adapters.UnloadBody,
        errors=(*READING, InvalidUserInput, UnknownAdapter),
        example={"lora_name": "poet"},
    )
    def unload(self, request: Request) -> None:
        """Unload an adapter."""
        body = adapters.read_unload(request.content.read(), request.head)
        self._adapters.unload(body.lora_name)
        request.answer(200, adapters.unloaded(body.lora_name), content_type=None)

    @app.route("/adapters", methods=["POST"])
    @described(
        "LoRA",
        Response(),
        body=adapters.RegisterBody,
        errors=(*READING, InvalidUserInput, UnknownAdapter),
        example={"name": "painter", "src": "/adapters/painter"},
    )
    async def register(self, request: Request) -> None:
        """Load an adapter for SageMaker."""
        body = adapters.read_register(request.content.read(), request.head)
        await self._adapters.load(body.name, body.src, in_place=False)
        request.answer(200, adapters.registered(body.name), content_type=None)

    @app.route("/adapters/<adapter_name>", methods=["DELETE"])
    @described("LoRA", Response(), errors=(UnknownAdapter,))
    def unregister(self, request: Request, adapter_name: str) -> None:
        """Unload an adapter for SageMaker."""
        self._adapters.unload(adapter_name)
        request.answer(200, adapters.unregistered(adapter_name), content_type=None)
