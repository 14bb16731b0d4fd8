# -*- test-case-name: tests.api.test_openapi -*-
"""The shapes of errors."""

from typing_extensions import TypedDict


class ErrorDetails(TypedDict):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None
    code: int


class ErrorBody(TypedDict):
    """An error of an OpenAI route."""

    error: ErrorDetails


class RouterError(TypedDict):
    """An error of a request that no route has seen: an unknown path, or another method."""

    detail: str
