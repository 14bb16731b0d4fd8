# -*- test-case-name: tests.web.test_inference -*-
"""How bodies are read."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred

from vllmsim.api.body import Head
from vllmsim.web.request import Request

R = TypeVar("R")

_INLINE_BYTES: Final = 16_384
"""How large a body is read without a thread: some 10 ms if it is all messages or tools."""


async def read_body(
    parse: Callable[[bytes, Head], R], request: Request, defer_to_thread: Callable[..., Deferred[Any]]
) -> R:
    """Read a request's body, in a thread if it is large.

    :param parse: a dialect's method; it must not mind in which thread it is called.
    :raises InferenceError: when the body is wrong.
    """
    body = request.content.read()
    if len(body) <= _INLINE_BYTES:
        return parse(body, request.head)
    read: R = await defer_to_thread(parse, body, request.head)
    return read
