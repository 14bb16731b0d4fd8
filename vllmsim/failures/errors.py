# -*- test-case-name: tests.failures.test_errors -*-
"""The errors that clients are told of when they are made to fail, as llm-d-inference-sim words them."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from vllmsim.errors import InjectedFailure, InvalidRequest
from vllmsim.faults import STATUSES

_SERVER_FAULT: Final = 500
_KINDS: Final[Mapping[int, str]] = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}
_LONGEST_SHOWN: Final = 100


def kind_of(status: int) -> str:
    """Name the error type of a status."""
    return _KINDS.get(status, "InternalServerError" if status >= _SERVER_FAULT else "APIConnectionError")


def _rate_limit(model: str) -> InjectedFailure:
    return InjectedFailure(
        429,
        "RateLimitError",
        f"Rate limit reached for {model} in organization org-xxx on requests per min (RPM): Limit 3, Used 3, "
        "Requested 1.",
    )


def _invalid_api_key(_: str) -> InjectedFailure:
    return InjectedFailure(401, "AuthenticationError", "Incorrect API key provided.")


def _context_length(_: str) -> InjectedFailure:
    return InjectedFailure(
        400,
        "BadRequestError",
        "This model's maximum context length is 4096 tokens. However, your messages resulted in 4500 tokens.",
        "messages",
    )


def _server_error(_: str) -> InjectedFailure:
    return InjectedFailure(503, "InternalServerError", "The server is overloaded or not ready yet.")


def _invalid_request(_: str) -> InjectedFailure:
    return InjectedFailure(400, "BadRequestError", "Invalid request: missing required parameter 'model'.", "model")


def _model_not_found(model: str) -> InjectedFailure:
    return InjectedFailure(404, "NotFoundError", f"The model '{model}-nonexistent' does not exist", "model")


TYPES: Final[Mapping[str, Callable[[str], InjectedFailure]]] = {
    "rate_limit": _rate_limit,
    "invalid_api_key": _invalid_api_key,
    "context_length": _context_length,
    "server_error": _server_error,
    "invalid_request": _invalid_request,
    "model_not_found": _model_not_found,
}
"""What makes the error of each type of failure, given the model's name in the configuration."""


def asked_for(value: str) -> InjectedFailure:
    """Make the error that a request asks for with the header X-Return-Error.

    :param value: the header's, not empty.
    :return: an error of that status.
    :raises InvalidRequest: when no response can have it.
    """
    shown = f'Invalid X-Return-Error header value "{value[:_LONGEST_SHOWN]}": must be'
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", value):
        raise InvalidRequest(f"{shown} an integer")
    # Of a number with thousands of digits, the length says enough.
    status = int(value) if len(value) <= _LONGEST_SHOWN else 0
    if status not in STATUSES:
        raise InvalidRequest(f"{shown} a status that a response can have, from {STATUSES[0]} to {STATUSES[-1]}")
    return InjectedFailure(
        status, kind_of(status), f"Simulated error triggered by X-Return-Error header (code {status})"
    )
