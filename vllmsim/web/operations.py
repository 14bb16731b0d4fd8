# -*- test-case-name: tests.web.test_operations -*-
"""The routes that tell about the server: health, version, models."""

from collections.abc import Callable
from typing import ClassVar

import orjson
from attrs import define
from klein import Klein

from vllmsim import VLLM_VERSION
from vllmsim.api.models import ModelList
from vllmsim.web.failing import answer_errors
from vllmsim.web.site import Request


@define(slots=False, eq=False)
class OperationRoutes:
    """Answers what probes and clients ask before they work.

    :param ready: tells whether the model would be loaded.
    """

    app: ClassVar[Klein] = Klein()

    _models: ModelList
    _ready: Callable[[], bool]

    @app.route("/health", methods=["GET"])
    @app.route("/ready", methods=["GET"], endpoint="ready")
    def health(self, request: Request) -> None:
        """Answer that the server is alive."""
        request.answer(200, b"{}")

    @app.route("/health/ready", methods=["GET"])
    def readiness(self, request: Request) -> None:
        """Answer whether requests should come here."""
        request.answer(200 if self._ready() else 503, b"{}")

    @app.route("/ping", methods=["GET", "POST"])
    def ping(self, request: Request) -> None:
        """Answer that the server is alive, without a word."""
        request.answer(200, b"")

    @app.route("/version", methods=["GET"])
    def version(self, request: Request) -> None:
        """Answer which vLLM is simulated."""
        request.answer(200, orjson.dumps({"version": VLLM_VERSION}))

    @app.route("/v1/models", methods=["GET"])
    def models(self, request: Request) -> None:
        """Answer which models are served."""
        request.answer(200, self._models.body())


answer_errors(OperationRoutes.app)
