# -*- test-case-name: tests.api.scaleout.test_derenderstream -*-
"""Streamed answers, derendered chunk by chunk.

A client sends each chunk of a streamed ``/inference/v1/generate`` as ``generate_chunk``, with the ``stream_state`` of
the answer before, and is answered ``{"chunk", "stream_state"}``: the chunk that a chat completion or completion would
have had in its place, and what is to be sent with the next one. There is one state for each choice. A chunk without
choices has the usage.

The state's members are vLLM's. Where reasoning and calls are told from the rest, the tokens so far are among them, as
no other memory is kept; elsewhere the last few, as a character may be cut over several.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from vllmsim.api.body import Body, Listed
from vllmsim.api.chat import ChatBody
from vllmsim.api.completions import CompletionBody
from vllmsim.api.dialect import usage
from vllmsim.api.scaleout.given import Conversed, Count, GivenChoice, TokenId
from vllmsim.api.scaleout.reading import Words
from vllmsim.api.scaleout.render import repeat
from vllmsim.inference import Answer

_CONTEXT: Final = 4
"""The most tokens that a character can be cut over, in UTF-8."""


class GivenUsage(Body):
    """The usage of a stream, as far as it matters."""

    prompt_tokens: Count = 0
    completion_tokens: Count | None = 0


class GivenChunk(Body):
    """A chunk of a generate stream."""

    request_id: str
    choices: Listed[GivenChoice]
    output_mode: Literal["tokens"] = "tokens"
    usage: GivenUsage | None = None


class StreamState(Body):
    """What a client carries from one chunk to the next."""

    prev_tokens: Annotated[list[str], Field(max_length=1024)] = []
    prefix_offset: Count = 0
    read_offset: Count = 0
    role_sent: bool = False
    logprob_context_token_ids: Annotated[list[TokenId], Field(max_length=_CONTEXT)] = []
    logprob_text_offset: Count = 0
    output_token_ids: Annotated[list[TokenId], Field(fail_fast=True)] = []
    output_chunk_lens: Annotated[list[Annotated[int, Field(gt=0)]], Field(fail_fast=True)] = []
    tools_streamed: bool = False
    last_tool_call_ids: Annotated[list[str], Field(fail_fast=True)] = []

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        total, expected = sum(self.output_chunk_lens), len(self.output_token_ids)
        if total != expected:
            raise ValueError(f"output_chunk_lens must sum to len(output_token_ids) (got {total} and {expected})")
        return self


class ChunkBody(Body):
    """What both routes take."""

    stream: Literal[True]
    model: str | None = None
    generate_chunk: GivenChunk
    stream_state: StreamState | None = None
    prompt_tokens: Count | None = None
    prompt_token_ids: Listed[TokenId] | None = None

    @property
    def state(self) -> StreamState:
        """What the client carries; nothing yet at the first chunk."""
        return self.stream_state or StreamState()

    def usage(self) -> dict[str, Any]:
        """Make the usage of the answer; the prompt's tokens are those of the request, if it says."""
        given = self.generate_chunk.usage or GivenUsage()
        prompt_tokens = given.prompt_tokens if self.prompt_tokens is None else self.prompt_tokens
        return usage(prompt_tokens, given.completion_tokens or 0, nulls=False)


class ChatChunkBody(ChunkBody):
    """A chunk that is to be one of a chat completion."""

    chat_request: ChatBody | None = None


class CompletionChunkBody(ChunkBody):
    """A chunk that is to be one of a completion."""

    completion_request: CompletionBody | None = None


def chat_chunk(asked: ChatChunkBody, conversed: Conversed, words: Words) -> bytes:
    """Write the chunk of a chat completion, and the state after it.

    :raises InvalidRequest: when the state has something that JSON cannot.
    """
    chunk, state, reading = asked.generate_chunk, asked.state, conversed.reading
    head = reading.head("chat.completion.chunk") | {"id": chunk.request_id}
    if not chunk.choices:
        return _answer({**head, "choices": [], "usage": asked.usage()}, state)
    [choice] = chunk.choices
    parsed = conversed.reasons or conversed.tools is not None
    before = state.output_token_ids if parsed else state.logprob_context_token_ids
    ids = [*before, *choice.ids]
    earlier = words.answer(before, reasons=conversed.reasons, tools=conversed.tools, more=True)
    answer = words.answer(ids, reasons=conversed.reasons, tools=conversed.tools, more=choice.finish_reason is None)
    call_ids = list(state.last_tool_call_ids)
    for number, part in enumerate(answer.calls[len(call_ids) :], len(call_ids)):
        call_ids.append(reading.settings.tooling.call_id(part, number, reading.settings.new_id))
    delta = {} if state.role_sent else {"role": reading.settings.response_role}
    delta |= _delta(earlier, answer, call_ids, hidden=reading.body.include_reasoning is False)
    called = state.tools_streamed or "tool_calls" in delta
    member: dict[str, Any] = {
        "index": choice.index,
        "delta": delta,
        "logprobs": words.chat_logprobs(choice.logprobs),
        "finish_reason": None,
    }
    if choice.finish_reason is not None:
        ended = choice.finish_reason == "stop" and choice.stop_reason is None
        member["finish_reason"] = "tool_calls" if called and ended and not reading.named else choice.finish_reason
        member |= {"stop_reason": choice.stop_reason, "token_ids": None, "weight_versions": None}
    else:
        member["token_ids"] = None
    known = {"output_token_ids": ids, "output_chunk_lens": [*state.output_chunk_lens, *_count(choice)]}
    after = {"role_sent": True, "tools_streamed": called, "last_tool_call_ids": call_ids}
    after |= known if parsed else {"logprob_context_token_ids": ids[-_CONTEXT:]}
    return _answer({**head, "choices": [member], "kv_transfer_params": None}, state.model_copy(update=after))


def _delta(earlier: Answer, answer: Answer, call_ids: Sequence[str], *, hidden: bool) -> dict[str, Any]:
    """Find what an answer says that its beginning did not.

    :param hidden: whether the client does not want to see reasoning.
    """
    delta: dict[str, Any] = {}
    said = answer.text[len(earlier.text) :]
    if said or (len(answer) > len(earlier) and (not answer.parts or answer.parts[-1].kind == "text")):
        delta["content"] = said
    if not hidden and (thought := answer.reasoning[len(earlier.reasoning) :]):
        delta["reasoning"] = thought
    known = earlier.calls
    entries: list[dict[str, Any]] = []
    for number, part in enumerate(answer.calls):
        function: dict[str, Any] = {} if number < len(known) else {"name": part.name}
        start = len(earlier.said(known[number])) if number < len(known) else 0
        if arguments := answer.said(part)[start:]:
            function["arguments"] = arguments
        if function:
            opens = {"id": call_ids[number], "type": "function"} if "name" in function else {}
            entries.append({**opens, "index": number, "function": function})
    if entries:
        delta.setdefault("content", None)
        delta["tool_calls"] = entries
    return delta


def completion_chunk(asked: CompletionChunkBody, model: str, created: int, words: Words) -> bytes:
    """Write the chunk of a completion, and the state after it.

    :param created: seconds since the epoch.
    :raises InvalidRequest: when the state has something that JSON cannot.
    """
    chunk, state = asked.generate_chunk, asked.state
    head = {"id": chunk.request_id, "object": "text_completion", "created": created, "model": model}
    if not chunk.choices:
        return _answer({**head, "choices": [], "usage": asked.usage()}, state)
    [choice] = chunk.choices
    before = state.logprob_context_token_ids
    ids = [*before, *choice.ids]
    text = "".join(words.texts(ids, more=choice.finish_reason is None)[len(before) :])
    member = {
        "index": choice.index,
        "text": text,
        "logprobs": words.text_logprobs(choice.logprobs, state.logprob_text_offset),
        "finish_reason": choice.finish_reason,
        "stop_reason": choice.stop_reason,
        "prompt_token_ids": None,
        "token_ids": None,
        "weight_versions": None,
    }
    after = {"logprob_text_offset": state.logprob_text_offset + len(text), "logprob_context_token_ids": ids[-_CONTEXT:]}
    return _answer({**head, "choices": [member], "kv_transfer_params": None}, state.model_copy(update=after))


def _count(choice: GivenChoice) -> list[int]:
    return [len(choice.ids)] if choice.ids else []


def _answer(chunk: dict[str, Any], state: StreamState) -> bytes:
    return repeat({"chunk": chunk, "stream_state": state.model_dump()})
