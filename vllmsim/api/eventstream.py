# -*- test-case-name: tests.api.test_chat -*-
"""Server-sent events: ``data: <json>`` and a blank line; OpenAI streams end with ``[DONE]``."""

from typing import Any, Final

import orjson

from vllmsim.api.errorbody import error_body
from vllmsim.errors import InferenceError

DONE: Final = b"data: [DONE]\n\n"
CONTENT_TYPE: Final = b"text/event-stream; charset=utf-8"


def event(value: Any) -> bytes:
    """Write one event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def error_event(error: InferenceError) -> bytes:
    """Write an error that came after the status line, and the end of the stream."""
    return b"data: " + error_body(error) + b"\n\n" + DONE
