# -*- test-case-name: tests.api.responses.test_answer -*-
"""The response object, as vLLM 0.33 writes it, and what its output is made of.

An answer has an item for each of its parts: ``reasoning``, ``message``, ``function_call``. Objects have every member of
vLLM's model, nulls among them, in its order; values that the request leaves open are shown as they took effect. Two
members come only when they have something to say: ``error`` in a response that failed, as OpenAI has it, since nobody
may have been there to be told in another way.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson
from attrs import frozen

from vllmsim.api.dialect import Reading
from vllmsim.api.responses.input import read_input
from vllmsim.api.responses.items import OutputItem
from vllmsim.api.responses.store import Status, StoredResponse
from vllmsim.errors import InferenceError
from vllmsim.inference import Answer, FinishReason, Message, Part, Prefill, TokenizedPrompt

if TYPE_CHECKING:
    from vllmsim.api.responses.dialect import ResponsesBody  # noqa: F401 - names what a reading reads

Keep: TypeAlias = Callable[[StoredResponse], None]

_ENDS: Final[Mapping[FinishReason, Status]] = {
    "stop": "completed",
    "length": "incomplete",
    "abort": "cancelled",
    "cache_threshold": "incomplete",
}
"""Clients know two reasons for what is incomplete, and one that is refused for how little is cached has neither: as in
Messages, it may have no tokens."""
_NO_ITEMS: Final[Mapping[str, Mapping[str, Any]]] = {}
_SERVER_FAULT: Final = 500
_OVERLOAD: Final = 429


def error_code(error: InferenceError) -> str:
    """Name an error as OpenAI's Responses do."""
    if error.status >= _SERVER_FAULT:
        return "server_error"
    return "rate_limit_exceeded" if error.status == _OVERLOAD else "invalid_prompt"


@frozen(eq=False)
class ResponseReading(Reading["ResponsesBody"]):
    """A Responses request.

    :param said: what was said before the answer, without instructions.
    :param shown: members of the request as answers repeat them.
    :param max_model_len: the most tokens of a prompt and its answer together.
    """

    prefix = "resp"

    said: tuple[Message, ...]
    shown: Mapping[str, orjson.Fragment]
    max_model_len: int

    @property
    def id(self) -> str:
        """The answer's id."""
        return self.request.answer_id

    def items(self, answer: Answer) -> list[OutputItem]:
        """Find the items of an answer: a part that says nothing, or nothing that the client wants to see, has none."""
        new_id, tooling = self.settings.new_id, self.settings.tooling
        length, calls = len(answer), 0
        items: list[OutputItem] = []
        for number, part in enumerate(answer.parts or (Part("text", 0, 0, 0, length, length),)):
            if not self._shows(part, answer):
                continue
            prefix = {"reasoning": "rs", "text": "msg", "call": "fc"}[part.kind]
            call_id = tooling.call_id(part, calls, new_id) if part.kind == "call" else ""
            calls += part.kind == "call"
            whole = part.stop < length or part.last < part.stop or answer.finish_reason == "stop"
            items.append(OutputItem(len(items), number, f"{prefix}_{new_id()}", part, call_id, whole))
        return items

    def _shows(self, part: Part, answer: Answer) -> bool:
        if part.kind == "call":
            return part.opens < part.stop
        if part.kind == "reasoning" and self.body.include_reasoning is False:
            return False
        logged = part.kind == "text" and self.request.sampling.logprobs is not None
        return bool(answer.said(part)) or (logged and part.start < part.stop)

    def object(self, status: Status, prompt_tokens: int | None = None, **ended: Any) -> dict[str, Any]:
        """Write the response.

        :param prompt_tokens: the prompt's length; None while it is not known, and so how long the answer may be.
        :param ended: the members that it has at its end: output, usage, error and others.
        """
        body, sampling = self.body, self.request.sampling
        error = ended.get("error")
        return {
            "id": self.id,
            "created_at": self.created,
            **({"error": error} if error else {}),
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "metadata": body.metadata,
            "model": self.request.model,
            "object": "response",
            "output": ended.get("output", []),
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "temperature": sampling.temperature,
            "tool_choice": self.shown["tool_choice"],
            "tools": self.shown["tools"],
            "top_p": sampling.top_p,
            "background": bool(body.background),
            "max_output_tokens": self._limit(prompt_tokens),
            "max_tool_calls": body.max_tool_calls,
            "previous_response_id": body.previous_response_id,
            "prompt": body.prompt,
            "prompt_cache_options": self.shown["prompt_cache_options"],
            "prompt_cache_key": body.prompt_cache_key,
            "prompt_cache_retention": body.prompt_cache_retention,
            "reasoning": body.reasoning and body.reasoning.model_dump(),
            "safety_identifier": body.safety_identifier,
            "service_tier": body.service_tier or "auto",
            "status": status,
            "text": self.shown["text"],
            "top_logprobs": sampling.logprobs,
            "truncation": body.truncation or "disabled",
            "usage": ended.get("usage"),
            "user": body.user,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "kv_transfer_params": ended.get("kv_transfer_params"),
            "ec_transfer_params": ended.get("ec_transfer_params"),
            "input_messages": ended.get("input_messages"),
            "output_messages": ended.get("output_messages"),
        }

    def _limit(self, prompt_tokens: int | None) -> int | None:
        """Find how long the answer may be: what the request says, or all that the context has left."""
        asked = self.request.sampling.max_tokens
        if prompt_tokens is None:
            return asked
        left = self.max_model_len - prompt_tokens
        return left if asked is None else min(asked, left)

    def ended(
        self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answer: Answer, output: Sequence[Any]
    ) -> bytes:
        """Write the response at its end.

        :param output: its items.
        """
        prompt = prompts[0]
        messages = {}
        if self.body.enable_response_messages and not self.body.background:
            messages["input_messages"] = [_raw(prompt.text, prompt.ids)]
            messages["output_messages"] = [_raw("".join(answer.pieces), answer.ids)]
        value = self.object(
            ended_status(answer),
            len(prompt.ids),
            output=output,
            usage=self._usage(prefill, answer),
            kv_transfer_params=self.handover(answer),
            ec_transfer_params=self.encoded(prompts),
            **messages,
        )
        return orjson.dumps(value)

    def _usage(self, prefill: Prefill, answer: Answer) -> dict[str, Any]:
        block = self.settings.remote.block_size
        return {
            "input_tokens": prefill.tokens,
            "input_tokens_details": {
                "cached_tokens": prefill.found,
                "cache_write_tokens": 0 if answer.refused else prefill.created(block),
                "input_tokens_per_turn": [],
                "cached_tokens_per_turn": [],
            },
            "output_tokens": len(answer),
            "output_tokens_details": {
                "reasoning_tokens": answer.reasoning_tokens,
                "tool_output_tokens": 0,
                "output_tokens_per_turn": [],
                "tool_output_tokens_per_turn": [],
            },
            "total_tokens": prefill.tokens + len(answer),
        }

    def stored(self, body: bytes, status: Status, items: Sequence[OutputItem], answer: Answer | None) -> StoredResponse:
        """Make of the response what is kept of it.

        :param answer: None for one that has not come to a good end.
        """
        output = [item.shown(answer.said(item.part), item.status) for item in items] if answer else []
        return StoredResponse(self.id, status, body, (*self.said, *read_input(output, _NO_ITEMS.__getitem__)), output)


def ended_status(answer: Answer) -> Status:
    """Say how an answer came to its end."""
    return _ENDS[answer.finish_reason]


def _raw(text: str, ids: Sequence[int]) -> dict[str, Any]:
    """Write text with its tokens, as debuggers want to see it."""
    return {"message": text, "tokens": list(ids), "type": "raw_message_tokens"}


@frozen(eq=False)
class ResponseWhole:
    """Writes a response in one piece.

    :param keep: takes it to be kept, if it is.
    """

    _reading: ResponseReading
    _keep: Keep | None

    def body(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answers: Sequence[Answer]) -> bytes:
        """Write the answer."""
        reading, [answer] = self._reading, answers
        items, shower = reading.items(answer), reading.shower
        output = []
        for item in items:
            status = None if item.part.kind == "reasoning" else item.status
            logprobs = None
            if shower and item.part.kind == "text":
                logprobs = shower.response(answer, item.logged.start, item.logged.stop, brief=False)
            output.append(item.shown(answer.said(item.part), status, logprobs))
        body = reading.ended(prompts, prefill, answer, output)
        if self._keep:
            self._keep(reading.stored(body, ended_status(answer), items, answer))
        return body
