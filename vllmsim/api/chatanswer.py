# -*- test-case-name: tests.api.test_chatanswer -*-
"""Answers to chat completion requests, as vLLM 0.33 writes them.

A stream is: one role chunk per choice, before anything else; a chunk per token (or per `stream_interval` tokens); the
last of them with the finish reason; if asked for, a chunk with the usage and no choices; ``[DONE]``. Chunks have just
the keys that vLLM sets, nulls among them, in its order. Their constant bytes are rendered once per choice, so that a
token costs the escaping of its text.

Deltas of reasoning have ``reasoning`` and no content. A call begins with its name and no arguments; pieces of these
follow; the chunk that ends the choice has an empty delta. Tags are tokens that bring no chunk.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson
from attrs import frozen

from vllmsim.api.chunks import MARKER, ChunkStream, cut_frame
from vllmsim.api.dialect import Reading, all_refused, completion_details, prompt_details, usage
from vllmsim.api.eventstream import event
from vllmsim.api.logprobs import Shower
from vllmsim.api.stretches import stretches
from vllmsim.inference import Answer, Conversation, Part, Prefill, TokenizedPrompt

if TYPE_CHECKING:
    from vllmsim.api.chat import ChatBody  # noqa: F401 - names what a reading reads

_PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
"""The image that comes with an answer: one pixel, the same as llm-d-inference-sim's."""
_IMAGE: Final = {"type": "image_url", "image_url": {"url": _PIXEL}}


class ChatReading(Reading["ChatBody"]):
    """A chat completion request."""

    prefix = "chatcmpl"

    @property
    def echoed(self) -> str:
        """The text that comes before the answer: an assistant's last message, if it is to be repeated."""
        if not self.body.echo:
            return ""
        prompt = self.request.prompts[0]
        last = prompt.messages[-1] if isinstance(prompt, Conversation) else None
        return last.text if last is not None and last.role == "assistant" else ""

    @property
    def named(self) -> bool:
        """Whether the request names the tool to be called."""
        tools = self.request.form.tools
        return tools is not None and tools.named

    def finish_reason(self, answer: Answer) -> str:
        """Say why a choice ended; one that called a tool of its own accord says that."""
        calls = answer.finish_reason == "stop" and answer.stop_reason is None and answer.calls and not self.named
        return "tool_calls" if calls else answer.finish_reason

    def hides(self, part: Part) -> bool:
        """Tell whether the client does not want to see a part."""
        return part.kind == "reasoning" and self.body.include_reasoning is False

    def call_ids(self, answer: Answer) -> list[str]:
        """Make ids for the calls of an answer."""
        tooling, new_id = self.settings.tooling, self.settings.new_id
        if not (calls := answer.calls):
            return []
        earlier = sum(len(message.tool_calls or ()) for message in self.body.messages)
        return [tooling.call_id(part, i, new_id) for i, part in enumerate(calls, earlier)]

    def illustrates(self, answer: Answer) -> bool:
        """Tell whether an image follows the text, which it does not when the answer is aborted or refused."""
        return self.request.form.image and answer.finish_reason not in ("abort", "cache_threshold")

    def content(self, text: str) -> str | list[dict[str, Any]]:
        """Write text as content, which is a list where an image follows."""
        return [{"type": "text", "text": text}] if self.request.form.image else text


class ChatStream(ChunkStream):
    """Writes a chat completion as a stream of chunks."""

    def __init__(self, reading: ChatReading) -> None:
        super().__init__(reading, "chat.completion.chunk")
        self._reading = reading
        self._image = reading.request.form.image
        self._framed = self._framed and not self._image
        self._calls: dict[int, dict[int, tuple[int, str]]] = {}
        """By choice and first token: the place of each call among the calls, and its id."""
        self._part_frames: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    def opening(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> bytes:
        """Write a role chunk for each choice, and the echo if one is asked for."""
        super().opening(prompts, prefill)
        prompt, body, choices = prompts[0], self._reading.body, range(self._choices)
        delta = {"role": self._settings.response_role, "content": ""}
        written = [
            event(
                {
                    **self._head,
                    "choices": [{"index": choice, "delta": delta, "logprobs": None, "finish_reason": None}],
                    **self._usage_so_far(choice, None, 0),
                    "prompt_token_ids": list(prompt.ids) if body.return_token_ids else None,
                    "prompt_text": prompt.text if body.return_prompt_text else None,
                }
            )
            for choice in choices
        ]
        if echoed := self._reading.echoed:
            written += [self._text_chunk(choice, echoed) for choice in choices]
        return b"".join(written)

    def _chunks(self, choice: int, answer: Answer, start: int, stop: int) -> Iterator[bytes]:
        if answer.parts or self._image:
            return self._write(choice, answer, start, stop)
        return super()._chunks(choice, answer, start, stop)

    def _usage_so_far(self, choice: int, answer: Answer | None, completion_tokens: int) -> dict[str, Any]:
        member = super()._usage_so_far(choice, answer, completion_tokens)
        if member:
            thought = 0 if answer is None else answer.reasoning_tokens_before(completion_tokens)
            member["usage"]["completion_tokens_details"] = completion_details(thought) if self._reasons else None
        return member

    def _prompt_of(self, choice: int) -> TokenizedPrompt:
        return self._prompts[0]

    def _choice(self, choice: int, text: str, answer: Answer | None, start: int, stop: int) -> dict[str, Any]:
        return self._with_delta(choice, {"content": self._reading.content(text)}, answer, start, stop)

    def _with_delta(
        self, choice: int, delta: dict[str, Any], answer: Answer | None, start: int, stop: int
    ) -> dict[str, Any]:
        shows = self._shower if answer is not None and not answer.refused else None
        shown = shows.chat(answer, start, stop) if shows and answer is not None else None
        wanted = answer is not None and self._reading.body.return_token_ids
        ids = list(answer.ids[start:stop]) if answer is not None and wanted else None
        member = {"index": choice, "delta": delta, "logprobs": shown, "finish_reason": None}
        if answer is None or stop < len(answer):
            return member | {"token_ids": ids}
        end = {"finish_reason": self._reading.finish_reason(answer), "stop_reason": answer.stop_reason}
        return member | end | {"token_ids": ids, "weight_versions": None}

    def _write(self, choice: int, answer: Answer, start: int, stop: int) -> Iterator[bytes]:
        """Write tokens of an answer that has parts, or an image behind it."""
        if not start:
            ids = self._reading.call_ids(answer)
            self._calls[choice] = {part.start: (i, ids[i]) for i, part in enumerate(answer.calls)}
        end = len(answer) - 1
        for stretch in stretches(answer, start, stop):
            part, number = stretch.part, stretch.number
            silent = self._reading.hides(part)
            for token in range(stretch.start, min(stretch.stop, end)):
                if part.first <= token < part.last and not silent:
                    yield from self._write_body(choice, answer, number, part, token, stop)
                    continue
                names = token == part.opens and part.kind == "call"
                if names or self._reading.body.return_token_ids:
                    delta = self._opening_delta(choice, part) if names else {}
                    yield self._delta_chunk(choice, delta, answer, token, token + 1)
                self._sent[choice] = token + 1
        if stop == len(answer):
            yield from self._write_end(choice, answer)

    def _write_body(
        self, choice: int, answer: Answer, number: int, part: Part, token: int, stop: int
    ) -> Iterator[bytes]:
        if self._plain:
            before, after = self._part_frames.get((choice, number)) or self._render_part(choice, number, part)
            self._sent[choice] = token + 1
            yield before + orjson.dumps(answer.pieces[token]) + after
            return
        sent, count, pace = self._sent[choice], token + 1, self._pace
        if (token == part.first and not pace.together) or count == part.last or pace.due(sent, count, stop):
            text = "".join(answer.pieces[sent : token + 1])
            yield self._delta_chunk(choice, self._delta(choice, part, text), answer, sent, token + 1)
            self._sent[choice] = token + 1

    def _write_end(self, choice: int, answer: Answer) -> Iterator[bytes]:
        """Write what is left with the end, after the image if there is one."""
        sent, length = self._sent[choice], len(answer)
        delta = self._last_delta(choice, answer, sent)
        if self._reading.illustrates(answer):
            yield from self._write_image(choice, delta)
            delta = {}
        yield self._delta_chunk(choice, delta, answer, sent, length)
        self._sent[choice] = length

    def _last_delta(self, choice: int, answer: Answer, sent: int) -> dict[str, Any]:
        """Make the delta of the chunk that ends a choice: the last token's, or an empty one for a tag."""
        length = len(answer)
        if sent == length:
            return {"content": ""}
        for stretch in stretches(answer, length - 1, length):
            part = stretch.part
            if part.kind == "call" and part.opens == length - 1:
                return self._opening_delta(choice, part)
            ends = part.first < length and (part.last == length or part.kind == "text")
            if ends and not self._reading.hides(part):
                return self._delta(choice, part, "".join(answer.pieces[sent:length]))
        return {}

    def _write_image(self, choice: int, delta: dict[str, Any]) -> Iterator[bytes]:
        if delta and delta.get("content") != self._reading.content(""):
            member = self._with_delta(choice, delta, None, 0, 0)
            yield event({**self._head, "choices": [member], "kv_transfer_params": None})
        member = self._with_delta(choice, {"content": [_IMAGE]}, None, 0, 0)
        yield event({**self._head, "choices": [member], "modality": "image", "kv_transfer_params": None})

    def _opening_delta(self, choice: int, part: Part) -> dict[str, Any]:
        index, call_id = self._calls[choice][part.start]
        call = {"id": call_id, "type": "function", "index": index, "function": {"name": part.name}}
        return {"content": None, "tool_calls": [call]}

    def _delta(self, choice: int, part: Part, text: str) -> dict[str, Any]:
        if part.kind == "text":
            return {"content": self._reading.content(text)}
        if part.kind == "reasoning":
            return {"reasoning": text}
        call = {"index": self._calls[choice][part.start][0], "function": {"arguments": text}}
        return {"content": None, "tool_calls": [call]}

    def _render_part(self, choice: int, number: int, part: Part) -> tuple[bytes, bytes]:
        member = self._with_delta(choice, self._delta(choice, part, MARKER), None, 0, 0)
        frame = cut_frame(event({**self._head, "choices": [member], "kv_transfer_params": None}))
        self._part_frames[choice, number] = frame
        return frame

    def _delta_chunk(self, choice: int, delta: dict[str, Any], answer: Answer, start: int, stop: int) -> bytes:
        return self._event(choice, self._with_delta(choice, delta, answer, start, stop), answer, stop)


@frozen(eq=False)
class ChatWhole:
    """Writes a chat completion in one piece."""

    _reading: ChatReading

    def body(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answers: Sequence[Answer]) -> bytes:
        """Write the answer with every member of vLLM's model, nulls among them."""
        return orjson.dumps(self.value(prompts, prefill, answers))

    def value(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answers: Sequence[Answer]) -> dict[str, Any]:
        """Make the answer's object."""
        reading, body, settings = self._reading, self._reading.body, self._reading.settings
        shower, prompt = reading.shower, prompts[0]
        refused = all_refused(answers)
        count = None if refused else body.prompt_logprobs
        thought = completion_details(sum(each.reasoning_tokens for each in answers)) if settings.reasons else None
        return {
            **reading.head("chat.completion"),
            "choices": [self._choice(index, each, shower) for index, each in enumerate(answers)],
            "service_tier": None,
            "system_fingerprint": settings.fingerprint,
            "usage": usage(
                sum(len(each.ids) for each in prompts),
                sum(map(len, answers)),
                prompt_details(settings, reading.served(answers)),
                thought,
                nulls=True,
            ),
            "prompt_logprobs": None if count is None else Shower(count, as_ids=False).prompt(prompt),
            "prompt_token_ids": list(prompt.ids) if body.return_token_ids else None,
            "prompt_text": prompt.text if body.return_prompt_text else None,
            "kv_transfer_params": reading.handover(answers[0]) if answers else None,
            "ec_transfer_params": reading.encoded(prompts),
            "metrics": None,
        }

    def _choice(self, index: int, answer: Answer, shower: Shower | None) -> dict[str, Any]:
        reading = self._reading
        return {
            "index": index,
            "message": self._message(answer),
            "logprobs": None if shower is None or answer.refused else shower.chat(answer, 0, len(answer)),
            "finish_reason": reading.finish_reason(answer),
            "stop_reason": answer.stop_reason,
            "token_ids": list(answer.ids) if reading.body.return_token_ids else None,
            "routed_experts": None,
            "weight_versions": None,
        }

    def _message(self, answer: Answer) -> dict[str, Any]:
        reading = self._reading
        calls = [
            {"id": call_id, "type": "function", "function": {"name": part.name, "arguments": answer.said(part)}}
            for part, call_id in zip(answer.calls, reading.call_ids(answer), strict=True)
        ]
        shown = any(part.kind == "reasoning" and not reading.hides(part) for part in answer.parts)
        return {
            "role": reading.settings.response_role,
            "content": self._content(answer),
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            **({"tool_calls": calls} if calls else {}),
            "reasoning": answer.reasoning if shown else None,
        }

    def _content(self, answer: Answer) -> str | list[dict[str, Any]] | None:
        """Find the content: nothing beside calls or after nothing but reasoning, an empty text if calls were forced."""
        reading = self._reading
        text = reading.echoed + answer.text
        if reading.request.form.image:
            said = [{"type": "text", "text": text}] if text else []
            return [*said, _IMAGE] if reading.illustrates(answer) else said
        if text or not answer.parts or any(part.kind == "text" for part in answer.parts):
            return text
        tools = reading.request.form.tools
        return "" if answer.calls and tools is not None and tools.least else None
