# -*- test-case-name: tests.web.test_exposition -*-
"""``GET /metrics``: always the Prometheus text format 0.0.4.

prometheus_client can also answer in OpenMetrics when a scraper asks for it, but since 0.23 it then turns the colon of
``vllm:`` into an underscore in the sample lines, and every query for ``vllm:`` finds nothing.
"""

from typing import ClassVar, Final

from attrs import define
from klein import Klein
from prometheus_client import CollectorRegistry, generate_latest

from vllmsim.api.description import TEXT, Response
from vllmsim.web.described import described
from vllmsim.web.failing import answer_errors
from vllmsim.web.request import Request

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


@define(slots=False, eq=False)
class ExpositionRoutes:
    """Writes one rank's metrics. ``?name[]=`` names the ones that are wanted."""

    app: ClassVar[Klein] = Klein()

    _registry: CollectorRegistry

    @app.route("/metrics", methods=["GET"])
    @app.route("/metrics/", methods=["GET"], endpoint="mounted")
    @described("Server", Response(media=TEXT))
    def metrics(self, request: Request) -> None:
        """Answer with every sample."""
        names = [name.decode("utf-8", "replace") for name in request.args.get(b"name[]", [])]
        registry = self._registry.restricted_registry(names) if names else self._registry
        request.answer(200, generate_latest(registry), CONTENT_TYPE)


answer_errors(ExpositionRoutes.app)
