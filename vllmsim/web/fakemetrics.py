# -*- test-case-name: tests.web.test_fakemetrics -*-
"""``POST /fake_metrics``, by which llm-d-inference-sim has fake metrics changed beside its ``/admin/config``.

It takes the members of ``fake-metrics`` that are to change, and answers 204 without a body. Every refusal begins with
the same words.
"""

from typing import Any, ClassVar, Final

from attrs import define
from klein import Klein

from vllmsim.api.administration import RankQuery, read_change
from vllmsim.api.body import read_query
from vllmsim.api.description import Response
from vllmsim.errors import BodyTooLarge, InvalidRequest, MalformedRequest, Unavailable
from vllmsim.interfaces import IConfigurations
from vllmsim.web.admin import author
from vllmsim.web.described import described
from vllmsim.web.request import Request

_OPTION: Final = "fake-metrics"


@define(slots=False, eq=False)
class FakeMetricsRoutes:
    """Changes fake metrics."""

    app: ClassVar[Klein] = Klein()

    _configurations: IConfigurations

    @app.route("/fake_metrics", methods=["POST"])
    @described(
        "Administration",
        Response(status=204),
        query=RankQuery,
        body=dict[str, Any],
        errors=(MalformedRequest, InvalidRequest, BodyTooLarge, Unavailable),
        example={"running-requests": 7},
    )
    async def change(self, request: Request) -> None:
        """Change some fake metrics of all ranks or of one."""
        rank = read_query(RankQuery, request.arguments).rank
        try:
            members = read_change(request.content.read(), request.head)
            await self._configurations.change({_OPTION: members}, rank, author(request))
        except InvalidRequest as error:
            raise InvalidRequest(f"Failed to update fake metrics: {error.message}", error.param) from None
        request.answer(204, b"", content_type=None)
