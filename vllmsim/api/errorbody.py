# -*- test-case-name: tests.api.test_errors -*-
"""Renders errors: in the OpenAI shape, which most routes have, and in Anthropic's."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from vllmsim.errors import InferenceError, MalformedRequest, PermissionDenied, UnknownKey

_SERVER_FAULT: Final = 500
_ANTHROPIC_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""Error types by status. Of others, the client's faults are ``invalid_request_error`` and ours ``api_error``."""


def internal_error() -> InferenceError:
    """Make what a client is told of an error that is ours."""
    return InferenceError("Internal server error")


def error_body(error: InferenceError) -> bytes:
    """Write an error as vLLM does: message, type, param and code; that there is no API key has a shape of its own."""
    if isinstance(error, UnknownKey):
        return orjson.dumps({"error": error.message})
    code = error.status if error.code is None else error.code
    return orjson.dumps({"error": {"message": error.message, "type": error.kind, "param": error.param, "code": code}})


def anthropic_error(error: InferenceError) -> dict[str, Any]:
    """Make the object that tells an Anthropic client of an error."""
    other = "invalid_request_error" if error.status < _SERVER_FAULT else "api_error"
    return {"type": "error", "error": {"type": _ANTHROPIC_TYPES.get(error.status, other), "message": error.message}}


def anthropic_error_body(error: InferenceError) -> bytes:
    """Write an error as vLLM's Anthropic routes do; what is wrong with the body's form has the OpenAI shape there too.

    So have that a route is closed, and that there is no API key.
    """
    plain = isinstance(error, MalformedRequest | PermissionDenied | UnknownKey)
    return error_body(error) if plain else orjson.dumps(anthropic_error(error))


ERROR_BODIES: Final[Mapping[str, Callable[[InferenceError], bytes]]] = {
    "openai": error_body,
    "anthropic": anthropic_error_body,
}
"""By dialect, what writes errors."""
