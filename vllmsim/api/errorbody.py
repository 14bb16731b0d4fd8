# -*- test-case-name: tests.api.test_errors -*-
"""Renders errors for clients of the OpenAI dialects."""

import orjson

from vllmsim.errors import InferenceError


def internal_error() -> InferenceError:
    """Make what a client is told of an error that is ours."""
    return InferenceError("Internal server error")


def error_body(error: InferenceError) -> bytes:
    """Write an error as vLLM does: message, type, param and code."""
    return orjson.dumps(
        {"error": {"message": error.message, "type": error.kind, "param": error.param, "code": error.status}}
    )
