# -*- test-case-name: tests.web.test_failures -*-
"""The routes that tell which requests were made to fail."""

from typing import Any, ClassVar

import orjson
from attrs import asdict, define
from klein import Klein

from vllmsim.api.description import Response
from vllmsim.api.shapes.failures import Failures
from vllmsim.interfaces import IFailureBook
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(slots=False, eq=False)
class FailureRoutes:
    """Tells what has failed on a rank, and has its rules begin anew."""

    app: ClassVar[Klein] = Klein()

    _book: IFailureBook

    @app.route("/admin/failures", methods=["GET"])
    @described("Administration", Response(Failures))
    def failures(self, request: Request) -> None:
        """Answer how many requests each rule meant, and how many of them failed."""
        self._tell(request)

    @app.route("/admin/failures/reset", methods=["POST"])
    @described("Administration", Response(Failures))
    def reset(self, request: Request) -> None:
        """Set all counters to 0, so that rules begin anew."""
        self._book.reset()
        self._tell(request)

    def _tell(self, request: Request) -> None:
        report: dict[str, Any] = asdict(self._book.report())
        request.answer(200, orjson.dumps(report))
