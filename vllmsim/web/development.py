# -*- test-case-name: tests.web.test_development -*-
"""Further routes of vLLM's development mode: caches, workers, and what the server knows about itself."""

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import orjson
from attrs import define
from klein import Klein
from twisted.internet.defer import Deferred

from vllmsim.api.body import read_query
from vllmsim.api.control import InfoQuery, ResetQuery, RpcBody, WorldQuery, check_rpc
from vllmsim.api.description import READING, Response
from vllmsim.api.shapes.control import CacheReset, RpcResults, ServerInfo, WorldSize
from vllmsim.errors import MalformedRequest
from vllmsim.interfaces import IRankControl
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(slots=False, eq=False)
class DevelopmentRoutes:
    """Answers what developers ask.

    :param workers: how many workers one rank would have.
    :param ranks: how many ranks there are.
    :param configuration: shows the effective configuration, secrets left out.
    :param environment: the environment variables that are vLLM's, secrets left out.
    :param system: finds out about the machine, off the reactor.
    """

    app: ClassVar[Klein] = Klein()

    _control: IRankControl
    _workers: int
    _ranks: int
    _configuration: Callable[[], Mapping[str, Any]]
    _environment: Mapping[str, str]
    _system: Callable[[], Deferred[Mapping[str, Any]]]

    @app.route("/server_info", methods=["GET"])
    @described("Development", Response(ServerInfo), query=InfoQuery, errors=(MalformedRequest,))
    async def server_info(self, request: Request) -> None:
        """Answer how the server is set up, and where it runs."""
        form = read_query(InfoQuery, request.arguments).config_format
        configuration = self._configuration()
        shown: object = configuration
        if form == "text":
            shown = ", ".join(f"{name}={value!r}" for name, value in configuration.items())
        info = {"vllm_config": shown, "vllm_env": self._environment, "system_env": await self._system()}
        # The strict encoder knows no integers beyond 64 bits and no bytes that are no text, which both may have.
        request.answer(200, json.dumps(info, separators=(",", ":"), default=str).encode())

    @app.route("/reset_prefix_cache", methods=["POST"])
    @described("Development", Response(CacheReset), query=ResetQuery, errors=(MalformedRequest,))
    async def reset_prefix_cache(self, request: Request) -> None:
        """Empty the prefix cache, and the one outside if asked to, and answer whether that was possible."""
        query = read_query(ResetQuery, request.arguments)
        done = await self._control.reset_prefix_cache(query.reset_running_requests, query.reset_external)
        request.answer(200, orjson.dumps({"success": done}))

    @app.route("/reset_mm_cache", methods=["POST"])
    @described("Development", Response())
    def reset_media_cache(self, request: Request) -> None:
        """Forget which media were read."""
        self._control.reset_media_cache()
        request.answer(200, b"", content_type=None)

    @app.route("/reset_encoder_cache", methods=["POST"])
    @described("Development", Response())
    def reset_encoder_cache(self, request: Request) -> None:
        """Empty a cache that has never anything in it: media are not encoded."""
        request.answer(200, b"", content_type=None)

    @app.route("/collective_rpc", methods=["POST"])
    @described("Development", Response(RpcResults), body=RpcBody, errors=READING, example={"method": "check_health"})
    def collective_rpc(self, request: Request) -> None:
        """Call a method of the workers; the simulated model is one worker, whose methods do nothing."""
        check_rpc(request.content.read(), request.head)
        request.answer(200, orjson.dumps({"results": [None]}))

    @app.route("/get_world_size", methods=["GET"])
    @described("Development", Response(WorldSize), query=WorldQuery, errors=(MalformedRequest,))
    def world_size(self, request: Request) -> None:
        """Answer how many workers there would be."""
        query = read_query(WorldQuery, request.arguments)
        size = self._workers * (self._ranks if query.include_dp else 1)
        request.answer(200, orjson.dumps({"world_size": size}))
