# -*- test-case-name: tests.web.test_failing -*-
"""How routes fail: every error becomes a JSON body, and none a page of HTML."""

from typing import Any

from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.api.errorbody import INTERNAL
from vllmsim.errors import InferenceError

_log = Logger()


def answer_errors(app: Klein) -> None:
    """Have an app's errors answered in the OpenAI shape.

    :param app: a class's app; its routes may raise :class:`vllmsim.errors.InferenceError` before they write.
    """

    @app.handle_errors(InferenceError)
    def refused(self: Any, request: Any, failure: Failure) -> None:  # noqa: ARG001 - Klein passes it by name
        assert isinstance(failure.value, InferenceError)
        request.fail(failure.value)

    @app.handle_errors(Exception)
    def broken(self: Any, request: Any, failure: Failure) -> None:  # noqa: ARG001 - Klein passes it by name
        _log.failure("While answering {method} {uri}", failure, method=request.method, uri=request.uri)
        request.fail(INTERNAL)
