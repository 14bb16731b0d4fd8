# -*- test-case-name: tests.web.test_scenarios -*-
"""The routes that start scenarios, stop them, and tell of them."""

import json
from typing import ClassVar

from attrs import define
from klein import Klein

from vllmsim.api.body import read_query
from vllmsim.api.description import Response
from vllmsim.api.scenarios import StartQuery, is_json
from vllmsim.api.shapes.scenarios import ScenarioBody, ScenarioState
from vllmsim.errors import BodyTooLarge, Conflict, InvalidRequest, MalformedRequest, NothingPlayed
from vllmsim.interfaces import IScenarios
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(slots=False, eq=False)
class ScenarioRoutes:
    """Answers with the scenario that is played, or was last."""

    app: ClassVar[Klein] = Klein()

    _scenarios: IScenarios

    @app.route("/admin/scenario", methods=["GET"])
    @described("Administration", Response(ScenarioState))
    def show(self, request: Request) -> None:
        """Answer with the scenario that is played, or was last."""
        self._show(request)

    @app.route("/admin/scenario", methods=["POST"])
    @described(
        "Administration",
        Response(ScenarioState),
        query=StartQuery,
        body=ScenarioBody,
        errors=(MalformedRequest, InvalidRequest, BodyTooLarge, Conflict),
        example={
            "name": "a slow second",
            "duration": "1s",
            "steps": [{"at": "0s", "set": {"inter-token-latency": "20ms"}}],
        },
    )
    async def start(self, request: Request) -> None:
        """Begin a scenario, and answer with it."""
        query = read_query(StartQuery, request.arguments)
        json_is_sent = is_json(request.head.content_type)
        text = request.content.read()
        await self._scenarios.start(text, json=json_is_sent, rank=query.rank, replace=query.replace)
        self._show(request)

    @app.route("/admin/scenario", methods=["DELETE"])
    @app.route("/admin/scenario/stop", methods=["POST"], endpoint="stop")
    @described("Administration", Response(ScenarioState), errors=(NothingPlayed,))
    async def end(self, request: Request) -> None:
        """Stop the scenario that is played, have back what was before, and answer with what was played."""
        if not await self._scenarios.stop():
            raise NothingPlayed("No scenario is played.")
        self._show(request)

    def _show(self, request: Request) -> None:
        # The strict encoder knows no integers beyond 64 bits, which a seed may be.
        request.answer(200, json.dumps(self._scenarios.describe(), separators=(",", ":"), default=str).encode())
