# -*- test-case-name: tests.api.test_chat -*-
"""Server-sent events: ``data: <json>`` and a blank line; streams of chunks end with ``[DONE]``.

Events that have a type say it twice: in a line before the data, and in the JSON.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from vllmsim.api.errorbody import error_body
from vllmsim.errors import InferenceError

DONE: Final = b"data: [DONE]\n\n"
CONTENT_TYPE: Final = b"text/event-stream; charset=utf-8"


def event(value: Any) -> bytes:
    """Write one event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def typed_event(value: Mapping[str, Any]) -> bytes:
    """Write one event under the name that its ``type`` is."""
    return b"event: " + str(value["type"]).encode() + b"\n" + event(value)


def error_event(error: InferenceError) -> bytes:
    """Write an error that came after the status line, and the end of the stream."""
    return b"data: " + error_body(error) + b"\n\n" + DONE
