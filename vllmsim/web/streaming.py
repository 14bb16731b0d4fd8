# -*- test-case-name: tests.web.test_streaming -*-
"""The two HTTP sinks: a stream of events, and a body in one piece."""

from collections.abc import Sequence
from typing import Protocol

from attrs import define, field
from zope.interface import implementer

from vllmsim.api import eventstream
from vllmsim.api.dialect import StreamEncoder, WholeEncoder
from vllmsim.errors import InferenceError
from vllmsim.inference import Answer, TokenizedPrompt
from vllmsim.interfaces import ITokenSink
from vllmsim.web.site import Request


class Delivery(Protocol):
    """A sink as its route sees it."""

    begun: bool
    """Whether the status line is out, so that an error can only be an event."""

    def close(self) -> None:
        """Write the end, after the last token."""

    def fail(self, error: InferenceError) -> None:
        """Write an error in the place of the rest, once begun."""


@implementer(ITokenSink)
@define(eq=False)
class EventStream:
    """Writes tokens as events, each as it comes."""

    _request: Request
    _encoder: StreamEncoder
    begun: bool = field(init=False, default=False)

    def started(self, prompts: Sequence[TokenizedPrompt], cached_tokens: int) -> None:
        """Send the status line and what comes before the first token."""
        self.begun = True
        self._request.setHeader(b"Content-Type", eventstream.CONTENT_TYPE)
        self._request.write(self._encoder.opening(prompts, cached_tokens))

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Send a run of tokens."""
        self._request.write(self._encoder.tokens(choice, answer, start, stop))

    def close(self) -> None:
        """Send the end."""
        self._request.write(self._encoder.closing())

    def fail(self, error: InferenceError) -> None:
        """Send an error and the end."""
        self._request.write(self._encoder.failure(error))


@implementer(ITokenSink)
@define(eq=False)
class WholeBody:
    """Keeps the answers until the last is complete."""

    _request: Request
    _encoder: WholeEncoder
    begun: bool = field(init=False, default=False)
    _prompts: Sequence[TokenizedPrompt] = field(init=False, default=())
    _cached_tokens: int = field(init=False, default=0)
    _answers: dict[int, Answer] = field(init=False, factory=dict)

    def started(self, prompts: Sequence[TokenizedPrompt], cached_tokens: int) -> None:
        """Learn about the prompts."""
        self._prompts, self._cached_tokens = prompts, cached_tokens

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Remember a choice's answer."""
        self._answers[choice] = answer

    def close(self) -> None:
        """Send everything."""
        answers = [self._answers[choice] for choice in sorted(self._answers)]
        self._request.answer(200, self._encoder.body(self._prompts, self._cached_tokens, answers))

    def fail(self, error: InferenceError) -> None:
        """Send an error instead."""
        self._request.fail(error)
