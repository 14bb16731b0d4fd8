# -*- test-case-name: tests.web.test_admin -*-
"""The routes that show the configuration of a running server, and change it."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import define
from klein import Klein

from vllmsim.api.administration import RankQuery, read_change
from vllmsim.api.body import read_query
from vllmsim.api.description import Response
from vllmsim.api.shapes.administration import ConfigurationHistory
from vllmsim.errors import BodyTooLarge, Conflict, InvalidRequest, MalformedRequest, Unavailable
from vllmsim.interfaces import IConfigurations
from vllmsim.web.described import described
from vllmsim.web.request import Request


@define(slots=False, eq=False)
class ConfigurationRoutes:
    """Shows and changes options by their names, durations as text.

    :param number: the rank that is shown where none is named.
    """

    app: ClassVar[Klein] = Klein()

    _configurations: IConfigurations
    _number: int

    @app.route("/admin/config", methods=["GET"])
    @described(
        "Administration",
        Response(dict[str, Any]),
        query=RankQuery,
        errors=(MalformedRequest, InvalidRequest, Unavailable),
    )
    async def show(self, request: Request) -> None:
        """Answer with every option's effective value."""
        await self._show(request, read_query(RankQuery, request.arguments).rank)

    @app.route("/admin/config", methods=["POST"])
    @described(
        "Administration",
        Response(dict[str, Any]),
        query=RankQuery,
        body=dict[str, Any],
        errors=(MalformedRequest, InvalidRequest, BodyTooLarge, Unavailable),
        example={"time-to-first-token": "200ms"},
    )
    async def change(self, request: Request) -> None:
        """Change options of all ranks or of one, all of them or none, and answer with every option's value then."""
        rank = read_query(RankQuery, request.arguments).rank
        values = read_change(request.content.read(), request.head)
        await self._configurations.change(values, rank, author(request))
        await self._show(request, rank)

    @app.route("/admin/config/undo", methods=["POST"])
    @described("Administration", Response(dict[str, Any]), errors=(Conflict, Unavailable))
    async def undo(self, request: Request) -> None:
        """Have back what was before the latest change, and answer with every option's value then."""
        await self._configurations.undo(author(request))
        await self._show(request, None)

    @app.route("/admin/config/history", methods=["GET"])
    @described("Administration", Response(ConfigurationHistory), errors=(Unavailable,))
    async def history(self, request: Request) -> None:
        """Answer who changed what and when, the latest first."""
        _answer(request, {"changes": await self._configurations.history()})

    async def _show(self, request: Request, rank: int | None) -> None:
        _answer(request, await self._configurations.describe(self._number if rank is None else rank))


def author(request: Request) -> str:
    """Name who sent a request, for those who ask later who it was."""
    address = request.getClientAddress()
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    return f"[{host}]:{port}" if host and ":" in host else f"{host}:{port}" if host else "a local client"


def _answer(request: Request, value: Mapping[str, Any]) -> None:
    # The strict encoder knows no integers beyond 64 bits, which a seed may be.
    request.answer(200, json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str).encode())
