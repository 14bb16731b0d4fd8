# -*- test-case-name: tests.api.test_openapi -*-
"""What a route says of itself: what it takes and everything that it may answer.

These are facts alone; :mod:`vllmsim.api.openapi` writes the document of them.
"""

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from vllmsim.errors import (
    BodyTooLarge,
    InferenceError,
    InvalidRequest,
    MalformedRequest,
    Overloaded,
    QueueFull,
    Unavailable,
    UnknownModel,
)

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
TEXT: Final = "text/plain"
HTML: Final = "text/html"
BYTES: Final = "application/octet-stream"

READING: Final[tuple[type[InferenceError], ...]] = (MalformedRequest, BodyTooLarge)
"""What a route that reads a body may refuse."""
ASKING: Final = (*READING, InvalidRequest, UnknownModel)
"""What a route that reads a body which names a model may refuse."""
GENERATING: Final = (*ASKING, QueueFull, Overloaded, Unavailable)
"""What a route that has the model work may refuse."""


@frozen
class Response:
    """One thing that a route may answer.

    :param shape: the type of the body: of a JSON body, or of the data of each event; None for a body that has none, or
        for no body at all if the media type is JSON.
    :param status: the HTTP status.
    :param ending: the data of the last event, where that is no JSON.
    """

    shape: Any = None
    media: str = JSON
    status: int = 200
    ending: str | None = None


@frozen
class Description:
    """What a route says of itself.

    :param tag: the group of routes that it is shown with.
    :param responses: what it answers when nothing is wrong with the request.
    :param body: the type of the body that it reads, if it reads one.
    :param optional: whether there may be no body.
    :param query: a type whose members are the arguments of the query string, if it reads any.
    :param errors: what it may refuse.
    :param error_shapes: the types that the bodies of refusals have.
    :param example: a body to begin with; its `model` is replaced by a name that is served.
    """

    tag: str
    responses: tuple[Response, ...]
    body: Any = None
    optional: bool = False
    query: Any = None
    errors: tuple[type[InferenceError], ...] = ()
    error_shapes: tuple[Any, ...] = ()
    example: Mapping[str, Any] | None = None


@frozen
class Operation:
    """One method of one path.

    :param path: with ``{name}`` in the place of a segment that varies.
    :param name: what the code calls it.
    :param summary: one sentence.
    :param guarded: whether it is for those who have the administrator's key.
    """

    path: str
    method: str
    name: str
    summary: str
    description: Description
    guarded: bool = False
