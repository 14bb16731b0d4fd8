# -*- test-case-name: tests.web.test_operations -*-
"""The routes that tell about the server: health, version, models, load, and where its side effects are to be had."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import orjson
from attrs import define
from klein import Klein

from vllmsim import VLLM_VERSION
from vllmsim.api.description import Response
from vllmsim.api.models import ModelList
from vllmsim.api.shapes.server import EngineEntry, Load, ModelCards, Nothing, Version
from vllmsim.interfaces import IHealth
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(slots=False, eq=False)
class OperationRoutes:
    """Answers what probes and clients ask before they work.

    :param load: counts the requests that are not answered yet.
    :param engines: what Mooncake's peers are told of every data-parallel rank, by its number.
    :param event_sources: tells by rank where its KV events are published; nothing while they are not.
    """

    app: ClassVar[Klein] = Klein()

    _models: ModelList
    _health: IHealth
    _load: Callable[[], int]
    _engines: Mapping[int, Mapping[str, Any]]
    _event_sources: Callable[[], Mapping[int, Mapping[str, Any]]]

    @app.route("/health", methods=["GET"])
    @described("Server", Response(Nothing), Response(Nothing, status=503))
    def health(self, request: Request) -> None:
        """Answer whether the server is alive."""
        request.answer(self._status(self._health.healthy), b"{}")

    @app.route("/ready", methods=["GET"])
    @described("Server", Response(Nothing), Response(Nothing, status=503))
    def alive(self, request: Request) -> None:
        """Answer whether the server is alive, and willing; also while its model would be loading."""
        request.answer(self._status(self._health.healthy and self._health.willing), b"{}")

    @app.route("/health/ready", methods=["GET"])
    @described("Server", Response(Nothing), Response(Nothing, status=503))
    def readiness(self, request: Request) -> None:
        """Answer whether requests should come here."""
        request.answer(self._status(self._health.ready()), b"{}")

    @app.route("/ping", methods=["GET", "POST"])
    @described("Server", Response(), Response(status=503))
    def ping(self, request: Request) -> None:
        """Answer whether the server is alive, without a word."""
        request.answer(self._status(self._health.healthy), b"", content_type=None)

    @staticmethod
    def _status(well: bool) -> int:
        return 200 if well else 503

    @app.route("/version", methods=["GET"])
    @described("Server", Response(Version))
    def version(self, request: Request) -> None:
        """Answer which vLLM is simulated."""
        request.answer(200, orjson.dumps({"version": VLLM_VERSION}))

    @app.route("/v1/models", methods=["GET"])
    @described("Server", Response(ModelCards))
    def models(self, request: Request) -> None:
        """Answer which models are served."""
        request.answer(200, self._models.body())

    @app.route("/load", methods=["GET"])
    @described("Server", Response(Load))
    def load(self, request: Request) -> None:
        """Answer how much there is to do."""
        request.answer(200, orjson.dumps({"server_load": self._load()}))

    @app.route("/kv_event_sources", methods=["GET"])
    @described("Server", Response(dict[str, dict[str, Any]]))
    def kv_event_sources(self, request: Request) -> None:
        """Answer where KV events are published."""
        request.answer(200, orjson.dumps({str(rank): source for rank, source in self._event_sources().items()}))

    @app.route("/query", methods=["GET"])
    @described("Server", Response(dict[str, EngineEntry]))
    def query(self, request: Request) -> None:
        """Answer as Mooncake's bootstrap server: who is behind which rank."""
        request.answer(200, orjson.dumps({str(rank): engine for rank, engine in self._engines.items()}))
