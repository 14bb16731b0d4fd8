# -*- test-case-name: tests.api.test_scenarios -*-
"""How scenarios are started and stopped over HTTP.

``POST /admin/scenario`` takes a scenario: JSON where the content type says so, and else YAML, of which JSON is a part.
``?replace=true`` stops the one that is played first, and ``?rank=N`` names the data-parallel rank that it is for. The
answer of all methods is what ``GET`` tells. ``DELETE`` stops it, and so does ``POST /admin/scenario/stop``.
"""

from typing import Annotated, Final

from pydantic import Field

from vllmsim.api.body import Body
from vllmsim.errors import MalformedRequest

_YAML: Final = frozenset(
    {
        "application/yaml",
        "application/x-yaml",
        "text/yaml",
        "text/x-yaml",
        "text/plain",
        "application/octet-stream",
        # What curl says when it is not told.
        "application/x-www-form-urlencoded",
        "",
    }
)


class StartQuery(Body):
    """How to start a scenario."""

    rank: Annotated[int, Field(ge=0)] | None = None
    replace: bool = False


def is_json(content_type: str | None) -> bool:
    """Tell whether a scenario comes as JSON, or else as YAML.

    :param content_type: the Content-Type header.
    :raises MalformedRequest: when it comes as something else.
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return True
    if kind not in _YAML and not kind.endswith("+yaml"):
        raise MalformedRequest("1 validation error:\n  Unsupported Media Type: a scenario is YAML or JSON")
    return False
