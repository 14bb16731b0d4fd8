# -*- test-case-name: tests.api.test_administration -*-
"""What operators send to a running server to change its configuration, in the manner of llm-d-inference-sim.

``POST /admin/config`` takes a JSON object of option names and new values; what is not named stays as it is. Whatever
content type is said, it is read as JSON. ``?rank=N`` names a data-parallel rank; without it all ranks are meant.
"""

from typing import Annotated, Any, Final

from pydantic import Field

from vllmsim.api.body import Body, Head, read_untyped
from vllmsim.errors import BodyTooLarge, InvalidRequest, MalformedRequest

MOST_BYTES: Final = 1 << 16
"""The largest body: what it takes some milliseconds to read, and far more than all options together."""


class RankQuery(Body):
    """Which rank is meant."""

    rank: Annotated[int, Field(ge=0)] | None = None


def read_change(body: bytes, head: Head) -> dict[str, Any]:
    """Read what is to change.

    :return: values by option name.
    :raises BodyTooLarge: when the body is larger than :data:`MOST_BYTES`.
    :raises InvalidRequest: when it is no JSON object.
    """
    if len(body) > MOST_BYTES:
        raise BodyTooLarge(f"The request body is larger than {MOST_BYTES} bytes.")
    try:
        return read_untyped(body, head)
    except MalformedRequest as error:
        raise InvalidRequest(f"failed to unmarshal payload: {error.message}") from None
