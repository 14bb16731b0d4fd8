# -*- test-case-name: tests.api.test_naming -*-
"""What a request says of itself, whatever is wrong with the rest: failures on purpose are chosen by that."""

from collections.abc import Callable
from typing import Final

from attrs import frozen

from vllmsim.api.body import Head, read_object

_YES: Final = frozenset({"true", "1", "t", "yes", "y", "on"})


@frozen
class Named:
    """What a request says of itself.

    :param model: the model that it is for; None where it names none.
    :param streamed: whether it wants a stream.
    """

    model: str | None
    streamed: bool


Names = Callable[[bytes, Head], Named]
"""Tells what the request with a body says of itself; raises MalformedRequest when it has not the form it must have."""


def named_in_json(body: bytes, head: Head) -> Named:
    """Tell what a JSON object says of itself.

    :raises MalformedRequest: when the body is none.
    """
    members = read_object(body, head)
    said, stream = members.get("model"), members.get("stream")
    return Named(said if isinstance(said, str) and said else None, str(stream).lower() in _YES)
