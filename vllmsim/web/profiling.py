# -*- test-case-name: tests.web.test_profiling -*-
"""What starts and stops vLLM's profiler. There is no model to profile, but scripts that do so should run."""

from typing import ClassVar

from attrs import define, field
from klein import Klein

from vllmsim.api.control import ProfileBody, check_profile
from vllmsim.api.description import READING, Response
from vllmsim.errors import Conflict
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(eq=False)
class Profiler:
    """Remembers whether a profile is being taken."""

    _running: bool = field(init=False, default=False)

    def start(self) -> None:
        """Begin a profile.

        :raises Conflict: when there is one.
        """
        if self._running:
            raise Conflict("The profiler is running already.")
        self._running = True

    def stop(self) -> None:
        """End the profile, if there is one."""
        self._running = False


@define(slots=False, eq=False)
class ProfilingRoutes:
    """Starts and stops it."""

    app: ClassVar[Klein] = Klein()

    _profiler: Profiler

    @app.route("/start_profile", methods=["POST"])
    @described("Development", Response(), body=ProfileBody, optional=True, errors=(*READING, Conflict))
    def start(self, request: Request) -> None:
        """Begin a profile, unless there is one."""
        check_profile(request.content.read(), request.head)
        self._profiler.start()
        request.answer(200, b"", content_type=None)

    @app.route("/stop_profile", methods=["POST"])
    @described("Development", Response())
    def stop(self, request: Request) -> None:
        """End the profile, if there is one."""
        self._profiler.stop()
        request.answer(200, b"", content_type=None)
