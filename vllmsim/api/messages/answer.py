# -*- test-case-name: tests.api.messages.test_answer -*-
"""Answers to Messages requests, as vLLM 0.33 writes them.

An answer is a message made of blocks: reasoning, text, then calls of tools. A stream is: ``message_start``, which has
the message without content; for each block ``content_block_start``, a ``content_block_delta`` per token, and
``content_block_stop``; then ``message_delta`` with the reason of the end and the usage; then ``message_stop``. There
are no pings and no ``[DONE]``. A block begins with the first token that says something, and is stopped when the next
begins or the answer ends; reasoning is signed before that. Signatures are random, and nobody checks them.

Constant bytes of a block's deltas are rendered once, so that a token costs the escaping of its text.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from attrs import frozen

from vllmsim.api.chatanswer import ChatReading
from vllmsim.api.chunks import MARKER, cut_frame
from vllmsim.api.dialect import prompt_details
from vllmsim.api.errorbody import anthropic_error
from vllmsim.api.eventstream import typed_event
from vllmsim.api.stretches import Stretch, stretches
from vllmsim.errors import InferenceError
from vllmsim.inference import NOT_PREFILLED, Answer, Part, PartKind, Prefill, TokenizedPrompt

_STOP_REASONS: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "cache_threshold": "max_tokens",
    "tool_calls": "tool_use",
}
"""Why a message ends, by the finish reason of a chat answer; one that is aborted has no reason.

Anthropic has no word for one that is refused for how little is cached: like llm-d-inference-sim, it may have no tokens.
"""
_DELTAS: Final[Mapping[PartKind, dict[str, str]]] = {
    "text": {"type": "text_delta", "text": MARKER},
    "reasoning": {"type": "thinking_delta", "thinking": MARKER},
    "call": {"type": "input_json_delta", "partial_json": MARKER},
}


class MessagesReading(ChatReading):
    """A Messages request, as the chat request that it is."""

    def ending(self, answer: Answer) -> tuple[str | None, str | None]:
        """Say why a message ends.

        :return: the reason, and the stop sequence if one is it.
        """
        if answer.finish_reason == "stop" and isinstance(answer.stop_reason, str):
            return "stop_sequence", answer.stop_reason
        return _STOP_REASONS.get(self.finish_reason(answer)), None

    def signature(self) -> str:
        """Make what signs a block of reasoning."""
        return self.settings.new_id() + self.settings.new_id()

    def usage(self, prefill: Prefill, answer: Answer) -> dict[str, int]:
        """Count tokens; those of the prompt that the cache has or gets are counted apart, if the server shows them."""
        details, output_tokens = prompt_details(self.settings, self.served([answer])), len(answer)
        if details is None:
            return {"input_tokens": prefill.tokens, "output_tokens": output_tokens}
        read, created = (details[name] or 0 for name in ("cached_tokens", "created_cache_tokens"))
        return {
            "input_tokens": max(0, prefill.tokens - read - created),
            "output_tokens": output_tokens,
            "cache_creation_input_tokens": created,
            "cache_read_input_tokens": read,
        }


class MessagesStream:
    """Writes a message as a stream of events."""

    def __init__(self, reading: MessagesReading) -> None:
        self._reading = reading
        self._pace = reading.settings.pace()
        self._prefill = NOT_PREFILLED
        self._blocks = 0
        self._call_ids: list[str] = []
        self._answer: Answer | None = None
        self._sent = 0
        # The part that the open block shows, its place in the answer, and the bytes around its deltas.
        self._part: Part | None = None
        self._number = -1
        self._frame = (b"", b"")

    def opening(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> bytes:
        """Write the message without content."""
        self._prefill = prefill
        request = self._reading.request
        message: dict[str, Any] = {
            "id": request.answer_id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": request.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": self._prefill.tokens, "output_tokens": 0},
        }
        return typed_event({"type": "message_start", "message": message})

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> bytes:
        """Write a run of tokens; the end comes with the closing."""
        self._answer = answer
        part = self._part
        if part is not None and part.first <= start and stop <= part.last and self._pace.single:
            before, after = self._frame
            dumps = orjson.dumps
            self._sent = stop
            return b"".join([before + dumps(piece) + after for piece in answer.pieces[start:stop] if piece])
        return b"".join(self._write(answer, start, stop))

    def closing(self) -> bytes:
        """Write what is left of the last block, and the end."""
        answer = self._answer
        assert answer is not None
        rest = "".join(answer.pieces[self._sent :]) if self._part else ""
        reason, sequence = self._reading.ending(answer)
        end: dict[str, Any] = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": self._reading.usage(self._prefill, answer),
        }
        if (handover := self._reading.handover(answer)) is not None:
            end["kv_transfer_params"] = handover
        written = [self._delta(rest), *self._stop(), typed_event(end), typed_event({"type": "message_stop"})]
        return b"".join(written)

    def failure(self, error: InferenceError) -> bytes:
        """Write an error; nothing comes after it."""
        return typed_event(anthropic_error(error))

    def _write(self, answer: Answer, start: int, stop: int) -> Iterator[bytes]:
        if not start:
            self._call_ids = self._reading.call_ids(answer)
        for stretch in stretches(answer, start, stop):
            part = stretch.part
            if part.kind == "call" and stretch.opens:
                call_id = self._call_ids[answer.calls.index(part)]
                yield from self._begin(stretch, {"type": "tool_use", "id": call_id, "name": part.name, "input": {}})
            for text in self._texts(answer, stretch):
                if text and stretch.number != self._number:
                    member = "thinking" if part.kind == "reasoning" else "text"
                    yield from self._begin(stretch, {"type": member, member: ""})
                yield self._delta(text)

    def _texts(self, answer: Answer, stretch: Stretch) -> Iterator[str]:
        """Gather what tokens say: the first of a part alone, then `interval` at a time, and the rest with its last."""
        part, body, pace = stretch.part, stretch.body, self._pace
        for token in body:
            if token == part.first:
                self._sent = token
            count, alone = token + 1, token == part.first and not pace.together
            if alone or count == part.last or pace.due(self._sent, count, body.stop):
                text = "".join(answer.pieces[self._sent : count])
                self._sent = count
                yield text

    def _begin(self, stretch: Stretch, block: dict[str, Any]) -> Iterator[bytes]:
        """Stop the block before, and begin another."""
        yield from self._stop()
        yield typed_event({"type": "content_block_start", "content_block": block, "index": self._blocks})
        self._part, self._number = stretch.part, stretch.number
        self._frame = cut_frame(self._block_delta(_DELTAS[stretch.part.kind]))

    def _stop(self) -> Iterator[bytes]:
        if self._part is None:
            return
        if self._part.kind == "reasoning":
            yield self._block_delta({"type": "signature_delta", "signature": self._reading.signature()})
        yield typed_event({"type": "content_block_stop", "index": self._blocks})
        self._part = None
        self._blocks += 1

    def _delta(self, text: str) -> bytes:
        """Write text of the open block, if there is any."""
        return self._frame[0] + orjson.dumps(text) + self._frame[1] if text else b""

    def _block_delta(self, delta: Mapping[str, str]) -> bytes:
        return typed_event({"type": "content_block_delta", "delta": delta, "index": self._blocks})


@frozen(eq=False)
class MessagesWhole:
    """Writes a message in one piece."""

    _reading: MessagesReading

    def body(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answers: Sequence[Answer]) -> bytes:
        """Write the message; members without a value are left out."""
        reading, request, answer = self._reading, self._reading.request, answers[0]
        reason, sequence = reading.ending(answer)
        message = {
            "id": request.answer_id,
            "type": "message",
            "role": "assistant",
            "content": self._content(answer),
            "model": request.model,
            "stop_reason": reason,
            "stop_sequence": sequence,
            "usage": reading.usage(prefill, answer),
            "kv_transfer_params": reading.handover(answer),
            "ec_transfer_params": reading.encoded(prompts),
        }
        return orjson.dumps({name: value for name, value in message.items() if value is not None})

    def _content(self, answer: Answer) -> list[dict[str, Any]]:
        """List the blocks: one with no text if there is nothing else, and no blank text beside calls."""
        blocks: list[dict[str, Any]] = []
        text, calls = answer.text, answer.calls
        if thought := answer.reasoning:
            blocks.append({"type": "thinking", "thinking": thought, "signature": self._reading.signature()})
        if text and not (calls and text.isspace()):
            blocks.append({"type": "text", "text": text})
        for part, call_id in zip(calls, self._reading.call_ids(answer), strict=True):
            said = _input(answer.said(part))
            blocks.append({"type": "tool_use", "id": call_id, "name": part.name, "input": said})
        return blocks or [{"type": "text", "text": ""}]


def _input(arguments: str) -> orjson.Fragment:
    """Write the arguments of a call as a value; of arguments that the limit has cut nothing is left."""
    try:
        value = json.loads(arguments)
    except ValueError:
        value = {}
    # This library, unlike the other, writes integers of any size.
    return orjson.Fragment(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
