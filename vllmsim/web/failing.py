# -*- test-case-name: tests.web.test_failing -*-
"""How routes fail: every error becomes a JSON body, and none a page of HTML."""

from typing import Any

from klein import Klein
from twisted.python.failure import Failure

from vllmsim.errors import InferenceError


def answer_errors(app: Klein) -> None:
    """Have an app's errors answered in the shape that the route has given its request, OpenAI's if none.

    :param app: a class's app; its routes may raise :class:`vllmsim.errors.InferenceError` for what the client should
        be told.
    """

    @app.handle_errors(InferenceError)
    def refused(self: Any, request: Any, failure: Failure) -> None:  # noqa: ARG001 - Klein passes it by name
        assert isinstance(failure.value, InferenceError)
        request.fail(failure.value)

    @app.handle_errors(Exception)
    def broken(self: Any, request: Any, failure: Failure) -> None:  # noqa: ARG001 - Klein passes it by name
        request.fail_unexpectedly(failure)
