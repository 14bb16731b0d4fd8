# -*- test-case-name: tests.api.test_chunks -*-
"""Chunks of OpenAI streams: what chat and completions have in common.

A chunk is a dictionary, written whole. Where chunks differ in their text alone, one is rendered with a marker in the
text's place and cut there: every further token costs the escaping of its text and two joins, and its bytes cannot
differ from the dictionary's.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from vllmsim.api.dialect import Reading, completion_details, prompt_details, usage
from vllmsim.api.eventstream import DONE, error_event, event
from vllmsim.errors import InferenceError
from vllmsim.inference import Answer, Prefill, TokenizedPrompt

MARKER: Final = "\ue000text\ue000"
"""Text in whose place a token's own comes."""


def cut_frame(chunk: bytes) -> tuple[bytes, bytes]:
    """Cut an event at the marker in it."""
    before, _, after = chunk.partition(orjson.dumps(MARKER))
    return before, after


class ChunkStream(ABC):
    """Writes one streamed answer.

    :param kind: what its chunks call themselves.
    """

    def __init__(self, reading: Reading[Any], kind: str) -> None:
        body, settings, shower = reading.body, reading.settings, reading.shower
        options = body.stream_options
        forced = settings.force_include_usage
        self._include_usage = forced or bool(options and options.include_usage)
        self._continuous = forced or bool(self._include_usage and options and options.continuous_usage_stats)
        self._head, self._settings, self._shower = reading.head(kind), settings, shower
        self._handover, self._reasons = reading.handover, reading.reasons
        self._pace = settings.pace(body.stream_interval)
        self._choices = reading.choices
        self._prompts: Sequence[TokenizedPrompt] = ()
        self._thought = 0
        self._prefills: list[Prefill] = []
        """How the prompts whose first choice has ended were computed."""
        self._n = reading.request.sampling.n
        # Sized by the opening, when the simulator has checked that there are not too many choices.
        self._sent: list[int] = []
        self._frames: list[tuple[bytes, bytes] | None] = []
        self._plain = self._pace.single and not (shower or body.return_token_ids or self._continuous)
        """Whether chunks differ in their text alone."""
        self._framed = self._plain
        """Whether those of text do, so that one frame does for all."""

    @abstractmethod
    def _choice(self, choice: int, text: str, answer: Answer | None, start: int, stop: int) -> dict[str, Any]:
        """Make a chunk's choice.

        :param answer: the answer; None for a chunk without tokens.
        :param start: the first of its tokens.
        :param stop: the token after its last; the answer's end if the choice ends here.
        """

    @abstractmethod
    def _prompt_of(self, choice: int) -> TokenizedPrompt:
        """Find the prompt that a choice answers."""

    def opening(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> bytes:
        """Learn about the prompts."""
        self._prompts = prompts
        self._sent, self._frames = [0] * self._choices, [None] * self._choices
        return b""

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> bytes:
        """Write the tokens `start` to `stop` of a choice."""
        if answer.parts or not self._framed:
            return b"".join(self._chunks(choice, answer, start, stop))
        before, after = self._frames[choice] or self._render_frame(choice)
        self._sent[choice] = stop
        ends = stop == len(answer.ids)
        if stop - start == 1 and not ends:
            return before + orjson.dumps(answer.pieces[start]) + after
        last = max(start, stop - 1) if ends else stop
        dumps = orjson.dumps
        frames = [before + dumps(piece) + after for piece in answer.pieces[start:last]]
        if ends:
            frames.append(self._chunk(choice, answer, last, stop))
        return b"".join(frames)

    def closing(self) -> bytes:
        """Write the usage if it is asked for, and the end."""
        if not self._include_usage:
            return DONE
        prompt_tokens = sum(len(prompt.ids) for prompt in self._prompts)
        details = prompt_details(self._settings, self._prefills)
        thought = completion_details(self._thought) if self._reasons else None
        chunk = {
            **self._head,
            "choices": [],
            "usage": usage(prompt_tokens, sum(self._sent), details, thought, nulls=False),
        }
        if self._settings.fingerprint is not None:
            chunk["system_fingerprint"] = self._settings.fingerprint
        return event(chunk) + DONE

    def failure(self, error: InferenceError) -> bytes:
        """Write an error, and the end."""
        return error_event(error)

    def _usage_so_far(self, choice: int, answer: Answer | None, completion_tokens: int) -> dict[str, Any]:
        """Make the usage member that a chunk has when usage is sent all along."""
        if not self._continuous:
            return {}
        return {"usage": usage(len(self._prompt_of(choice).ids), completion_tokens, nulls=False)}

    def _chunks(self, choice: int, answer: Answer, start: int, stop: int) -> Iterator[bytes]:
        """Gather tokens to chunks: the first token alone, then `interval` at a time, and the rest with the end."""
        for token in range(start, stop):
            sent, count = self._sent[choice], token + 1
            if not sent or count == len(answer) or self._pace.due(sent, count, stop):
                yield self._chunk(choice, answer, sent, count)
                self._sent[choice] = count
        if start == stop == len(answer):
            yield self._chunk(choice, answer, self._sent[choice], stop)
            self._sent[choice] = stop

    def _chunk(self, choice: int, answer: Answer, start: int, stop: int) -> bytes:
        text = "".join(answer.pieces[start:stop])
        return self._event(choice, self._choice(choice, text, answer, start, stop), answer, stop)

    def _event(self, choice: int, member: dict[str, Any], answer: Answer, stop: int) -> bytes:
        """Write a chunk.

        :param member: what its choice is.
        :param stop: the token after the last that is sent; the answer's end if the choice ends here.
        """
        chunk = {**self._head, "choices": [member], **self._usage_so_far(choice, answer, stop)}
        handover = None
        if stop == len(answer):
            self._thought += answer.reasoning_tokens
            if choice % self._n == 0 and not answer.refused:
                self._prefills.append(answer.prefill)
            handover = self._handover(answer, choice)
            if not self._include_usage:
                chunk["system_fingerprint"] = self._settings.fingerprint
        return event(chunk | {"kv_transfer_params": handover})

    def _text_chunk(self, choice: int, text: str) -> bytes:
        """Write a chunk that has text and no tokens."""
        chunk = {
            **self._head,
            "choices": [self._choice(choice, text, None, 0, 0)],
            **self._usage_so_far(choice, None, 0),
            "kv_transfer_params": None,
        }
        return event(chunk)

    def _render_frame(self, choice: int) -> tuple[bytes, bytes]:
        frame = self._frames[choice] = cut_frame(self._text_chunk(choice, MARKER))
        return frame
