# -*- test-case-name: tests.web.test_streaming -*-
"""The two HTTP sinks: a stream of events, and an answer to be written in one piece."""

from collections.abc import Sequence

from attrs import define, field
from zope.interface import implementer

from vllmsim.api import eventstream
from vllmsim.api.dialect import StreamEncoder
from vllmsim.errors import InferenceError
from vllmsim.inference import Answer, TokenizedPrompt
from vllmsim.interfaces import ITokenSink
from vllmsim.web.request import Request


@implementer(ITokenSink)
@define(eq=False)
class EventStream:
    """Writes tokens as events, each as it comes."""

    _request: Request
    _encoder: StreamEncoder
    begun: bool = field(init=False, default=False)
    """Whether the status line is out, so that an error can only be an event."""

    def started(self, prompts: Sequence[TokenizedPrompt], cached_tokens: int) -> None:
        """Send the status line and what comes before the first token."""
        opening = self._encoder.opening(prompts, cached_tokens)
        self.begun = True
        self._request.setHeader(b"Content-Type", eventstream.CONTENT_TYPE)
        self._request.write(opening)

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
class WholeAnswer:
    """Keeps the answers until the last is complete."""

    prompts: Sequence[TokenizedPrompt] = field(init=False, default=())
    cached_tokens: int = field(init=False, default=0)
    _answers: dict[int, Answer] = field(init=False, factory=dict)

    def started(self, prompts: Sequence[TokenizedPrompt], cached_tokens: int) -> None:
        """Learn about the prompts."""
        self.prompts, self.cached_tokens = prompts, cached_tokens

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Remember a choice's answer."""
        self._answers[choice] = answer

    @property
    def choices(self) -> list[Answer]:
        """The answers, in the order of their choices."""
        return [self._answers[choice] for choice in sorted(self._answers)]

    @property
    def length(self) -> int:
        """How many tokens the prompts and the answers have."""
        return sum(len(prompt.ids) for prompt in self.prompts) + sum(map(len, self._answers.values()))
