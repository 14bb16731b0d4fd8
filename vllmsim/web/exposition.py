# -*- test-case-name: tests.web.test_exposition -*-
"""``GET /metrics``: always the Prometheus text format 0.0.4.

prometheus_client can also answer in OpenMetrics when a scraper asks for it, but since 0.23 it then turns the colon of
``vllm:`` into an underscore in the sample lines, and every query for ``vllm:`` finds nothing.
"""

from collections.abc import Callable, Collection
from typing import ClassVar, Final

from attrs import define
from klein import Klein

from vllmsim.api.description import TEXT, Response
from vllmsim.web.described import described
from vllmsim.web.request import Request

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


@define(slots=False, eq=False)
class ExpositionRoutes:
    """Answers with one rank's metrics. ``?name[]=`` names the ones that are wanted.

    :param write: writes every sample, or those that have one of some names.
    """

    app: ClassVar[Klein] = Klein()

    _write: Callable[[Collection[str]], bytes]

    @app.route("/metrics", methods=["GET"])
    @app.route("/metrics/", methods=["GET"], endpoint="mounted")
    @described("Server", Response(media=TEXT))
    def metrics(self, request: Request) -> None:
        """Answer with every sample."""
        names = {name.decode("utf-8", "replace") for name in request.args.get(b"name[]", [])}
        request.answer(200, self._write(names), CONTENT_TYPE)
