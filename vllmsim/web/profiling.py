# -*- test-case-name: tests.web.test_profiling -*-
"""The routes that start and stop vLLM's profiler. There is no model to profile, but scripts that do so should run."""

from typing import ClassVar

from attrs import define, field
from klein import Klein

from vllmsim.api.control import check_profile
from vllmsim.errors import Conflict
from vllmsim.web.failing import answer_errors
from vllmsim.web.site import Request


@define(slots=False, eq=False)
class ProfilingRoutes:
    """Remembers whether a profile is being taken."""

    app: ClassVar[Klein] = Klein()

    _running: bool = field(init=False, default=False)

    @app.route("/start_profile", methods=["POST"])
    def start(self, request: Request) -> None:
        """Begin a profile, unless there is one."""
        check_profile(request.content.read())
        if self._running:
            raise Conflict("The profiler is running already.")
        self._running = True
        request.answer(200, b"", content_type=None)

    @app.route("/stop_profile", methods=["POST"])
    def stop(self, request: Request) -> None:
        """End the profile, if there is one."""
        self._running = False
        request.answer(200, b"", content_type=None)


answer_errors(ProfilingRoutes.app)
