# -*- test-case-name: tests.web.test_scaleout -*-
"""The gate before the routes for disaggregated serving, and the first of them.

vLLM has these routes always, and answers 403 unless it was started with ``--enable-scale-out`` or ``--tokens-only``.
The gate comes before anything that is wrong with a request.
"""

from typing import ClassVar

from attrs import define, frozen
from klein import Klein

from vllmsim.api.control import AbortBody, read_abort
from vllmsim.api.description import READING, Response
from vllmsim.errors import MalformedRequest, PermissionDenied
from vllmsim.interfaces import IRankControl
from vllmsim.web.described import described
from vllmsim.web.request import Request


@frozen
class ScaleOutGate:
    """Lets requests pass to the routes for disaggregated serving, or not.

    :param is_open: whether they may pass.
    """

    _is_open: bool

    def require_open(self) -> None:
        """Make sure that a request may pass; a gated route calls this first.

        :raises vllmsim.errors.PermissionDenied: when it may not.
        """
        if not self._is_open:
            raise PermissionDenied(
                "Scale-out endpoints are disabled. Restart vllm serve with --enable-scale-out to enable them."
            )


@define(slots=False, eq=False)
class ScaleOutAbortRoutes:
    """Aborts requests for a router that has sent them here."""

    app: ClassVar[Klein] = Klein()

    _gate: ScaleOutGate
    _control: IRankControl

    @app.route("/inference/v1/abort_requests", methods=["POST"])
    @described(
        "Control",
        Response(),
        body=AbortBody,
        errors=(*READING, PermissionDenied),
        example={"request_ids": ["x"]},
    )
    def abort(self, request: Request) -> None:
        """Abort the requests that are named, and no others."""
        self._gate.require_open()
        ids = read_abort(request.content.read(), request.head)
        if ids is None:
            raise MalformedRequest("Missing 'request_ids' in request body")
        if ids:
            self._control.abort(ids)
        request.answer(200, b"", content_type=None)
