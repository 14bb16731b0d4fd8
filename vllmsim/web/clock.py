# -*- test-case-name: tests.web.test_clock -*-
"""The routes that tell simulated time, and move it where it stands still."""

from typing import ClassVar

import orjson
from attrs import define
from klein import Klein

from vllmsim.api.clock import read_advance, read_run_until_idle
from vllmsim.api.description import Response
from vllmsim.api.shapes.clock import AdvanceBody, ClockState, RunUntilIdleBody
from vllmsim.errors import BodyTooLarge, Conflict, MalformedRequest
from vllmsim.interfaces import ITimeControl
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(slots=False, eq=False)
class ClockRoutes:
    """Tells the time of the ranks of this process, and moves it."""

    app: ClassVar[Klein] = Klein()

    _time: ITimeControl

    @app.route("/admin/clock", methods=["GET"])
    @described("Administration", Response(ClockState))
    def show(self, request: Request) -> None:
        """Answer what time it is, and how many requests have come."""
        self._show(request)

    @app.route("/admin/clock/advance", methods=["POST"])
    @described(
        "Administration",
        Response(ClockState),
        body=AdvanceBody,
        errors=(MalformedRequest, BodyTooLarge, Conflict),
        example={"seconds": 0.5},
    )
    async def advance(self, request: Request) -> None:
        """Have a virtual clock go on by some seconds, and answer what time it is then."""
        asked = read_advance(request.content.read(), request.head)
        await self._time.advance(asked.seconds, asked.requests, asked.timeout)
        self._show(request)

    @app.route("/admin/clock/run-until-idle", methods=["POST"])
    @described(
        "Administration",
        Response(ClockState),
        body=RunUntilIdleBody,
        errors=(MalformedRequest, BodyTooLarge, Conflict),
        example={"limit": 60},
    )
    async def run_until_idle(self, request: Request) -> None:
        """Have a virtual clock go on until all requests have what they can have, and answer what time it is then."""
        asked = read_run_until_idle(request.content.read(), request.head)
        await self._time.run_until_idle(asked.limit, asked.requests, asked.timeout)
        self._show(request)

    def _show(self, request: Request) -> None:
        request.answer(200, orjson.dumps(self._time.describe()))
