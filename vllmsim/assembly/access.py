# -*- test-case-name: tests.assembly.test_access -*-
"""What stands between clients and the routes of a rank, as the configuration asks."""

from collections.abc import Callable
from typing import Final

from vllmsim.config.schema import Configuration
from vllmsim.interfaces import IMiddleware
from vllmsim.web.middleware.chain import Chain
from vllmsim.web.middleware.cors import Cors
from vllmsim.web.middleware.requestids import RequestIds


def _request_ids(c: Configuration) -> IMiddleware | None:
    return RequestIds() if c.enable_request_id_headers else None


def _cors(c: Configuration) -> IMiddleware:
    return Cors(c.allowed_origins, c.allowed_methods, c.allowed_headers, c.allow_credentials)


_USUAL: Final[tuple[tuple[str, Callable[[Configuration], IMiddleware | None]], ...]] = (
    ("request-id", _request_ids),
    ("cors", _cors),
)
"""By its name, what makes each middleware if there is something for it to do; the outermost first, as in vLLM."""


def make_chain(c: Configuration) -> Chain:
    """Put the chain together."""
    members = [make(c) for _, make in _USUAL]
    return Chain([member for member in members if member is not None])
