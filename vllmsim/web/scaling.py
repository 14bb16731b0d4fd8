# -*- test-case-name: tests.web.test_scaling -*-
"""The routes that change the number of ranks while a vLLM runs. This server's is settled when it starts."""

from typing import ClassVar

import orjson
from attrs import define
from klein import Klein

from vllmsim.api.control import ScaleBody, read_scaling
from vllmsim.api.description import READING, Response
from vllmsim.api.shapes.control import Scaled, ScalingState
from vllmsim.errors import MalformedRequest
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(slots=False, eq=False)
class ScalingRoutes:
    """Scales to the number of ranks that there are, and to no other.

    :param ranks: how many there are.
    """

    app: ClassVar[Klein] = Klein()

    _ranks: int

    @app.route("/scale_elastic_ep", methods=["POST"])
    @described("Control", Response(Scaled), body=ScaleBody, errors=READING, example={"new_data_parallel_size": 1})
    def scale(self, request: Request) -> None:
        """Refuse, unless there is nothing to do."""
        wanted = read_scaling(request.content.read(), request.head)
        if wanted != self._ranks:
            raise MalformedRequest(
                f"The number of data-parallel ranks is {self._ranks} and cannot change while the server runs."
            )
        request.answer(200, orjson.dumps({"message": f"Scaled to {wanted} data parallel engines"}))

    @app.route("/is_scaling_elastic_ep", methods=["POST"])
    @described("Control", Response(ScalingState))
    def is_scaling(self, request: Request) -> None:
        """Answer that nothing is being scaled."""
        state = {
            "is_scaling_elastic_ep": False,
            "phase": "idle",
            "epoch": None,
            "error": None,
            "requested_data_parallel_size": None,
        }
        request.answer(200, orjson.dumps(state))
