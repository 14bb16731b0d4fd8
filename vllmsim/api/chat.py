# -*- test-case-name: tests.api.test_chat -*-
"""Chat completions, as vLLM 0.33 reads and writes them.

A stream is: one role chunk per choice, before anything else; a chunk per token (or per `stream_interval` tokens); the
last of them with the finish reason; if asked for, a chunk with the usage and no choices; ``[DONE]``. Chunks have just
the keys that vLLM sets, nulls among them, in its order. Their constant bytes are rendered once per choice, so that a
token costs the escaping of its text.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import orjson
from attrs import frozen
from pydantic import BaseModel, ConfigDict, Field

from vllmsim.api.body import Head, read_object, validate
from vllmsim.api.chunks import ChunkStream
from vllmsim.api.dialect import Call, Reading, Settings, prompt_details, request_of, usage
from vllmsim.api.eventstream import event
from vllmsim.api.logprobs import Shower
from vllmsim.api.sampling import SamplingBody, check_logprobs, check_options
from vllmsim.api.toolcalls import check_tools
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.inference import Answer, Conversation, Message, TokenizedPrompt


class ChatMessage(BaseModel):
    """One turn. Any role goes; content is text, a list of blocks, or nothing."""

    model_config = ConfigDict(extra="ignore")

    role: str
    content: str | list[str | dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    def flat(self) -> Message:
        """Write the turn as text: blocks of text and image addresses in lines of their own, then tool calls."""
        text = self.content if isinstance(self.content, str) else "\n".join(_block_texts(self.content or []))
        return Message(self.role, text + "".join(map(_call_text, self.tool_calls or [])), self.tool_call_id)


def _block_texts(blocks: Sequence[str | Mapping[str, Any]]) -> list[str]:
    texts = []
    for block in blocks:
        if isinstance(block, str):
            texts.append(block)
        elif isinstance(text := block.get("text"), str):
            texts.append(text)
        elif isinstance(image := block.get("image_url"), Mapping):
            texts.append(f"image: {image.get('url')}")
    return texts


def _call_text(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, Mapping) or not function.get("name"):
        return ""
    return f"[{function['name']}({function.get('arguments') or ''})]"


class ChatBody(SamplingBody):
    """A chat completion request."""

    messages: list[ChatMessage]
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = "none"
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    parallel_tool_calls: bool | None = True
    include_reasoning: bool | None = True
    thinking_token_budget: int | None = None
    add_generation_prompt: bool | None = True
    continue_final_message: bool | None = False
    documents: list[dict[str, Any]] | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    routed_experts_prompt_start: Annotated[int, Field(ge=0)] | None = 0
    return_prompt_text: bool | None = None


def check_template(add_generation_prompt: bool | None, continue_final_message: bool | None) -> None:
    """Check what a request says of the answer's beginning.

    :raises InvalidRequest: when it is to begin anew and to go on.
    """
    if add_generation_prompt and continue_final_message:
        raise InvalidRequest("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")


def conversation_of(messages: Sequence[ChatMessage]) -> Conversation:
    """Make a conversation of messages.

    :raises InvalidRequest: when there are none.
    """
    if not messages:
        raise InvalidRequest("Cannot apply chat template to an empty conversation. Provide at least one message.")
    return Conversation(tuple(message.flat() for message in messages))


def _check(data: Mapping[str, Any]) -> None:
    check_options(data)
    top = data.get("top_logprobs")
    check_logprobs("top_logprobs", top)
    if isinstance(top, int) and top and not data.get("logprobs"):
        raise InvalidParameter("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
    check_tools(data)


@frozen(eq=False)
class ChatDialect:
    """Reads chat completion requests."""

    _settings: Settings

    def parse(self, body: bytes, head: Head) -> Call:
        """Read a request; see :class:`vllmsim.api.dialect.Dialect`."""
        data = read_object(body, head)
        _check(data)
        chat = validate(ChatBody, data, body)
        settings = self._settings
        model = settings.models.resolve(chat.model)
        if chat.chat_template is not None:
            raise InvalidRequest(
                "Chat template is passed with request, but --trust-request-chat-template is not set. "
                "Refused request with untrusted chat template."
            )
        check_template(chat.add_generation_prompt, chat.continue_final_message)
        limit = chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens
        sampling = chat.sampling(limit, (chat.top_logprobs or 0) if chat.logprobs else None)
        request = request_of(settings, head, chat, model, (conversation_of(chat.messages),), sampling, "chatcmpl")
        reading = ChatReading(settings, chat, request, settings.now())
        return Call(request, partial(ChatStream, reading) if chat.stream else None, partial(ChatWhole, reading))


class ChatReading(Reading[ChatBody]):
    """A chat completion request."""

    prefix = "chatcmpl"

    @property
    def echoed(self) -> str:
        """The text that comes before the answer: an assistant's last message, if it is to be repeated."""
        prompt = self.request.prompts[0]
        last = prompt.messages[-1] if isinstance(prompt, Conversation) else None
        return last.text if self.body.echo and last is not None and last.role == "assistant" else ""


class ChatStream(ChunkStream):
    """Writes a chat completion as a stream of chunks."""

    def __init__(self, reading: ChatReading) -> None:
        super().__init__(reading, "chat.completion.chunk")
        self._reading = reading

    def opening(self, prompts: Sequence[TokenizedPrompt], cached_tokens: int) -> bytes:
        """Write a role chunk for each choice, and the echo if one is asked for."""
        super().opening(prompts, cached_tokens)
        prompt, body, choices = prompts[0], self._reading.body, range(self._choices)
        delta = {"role": self._settings.response_role, "content": ""}
        written = [
            event(
                {
                    **self._head,
                    "choices": [{"index": choice, "delta": delta, "logprobs": None, "finish_reason": None}],
                    **self._usage_so_far(choice, 0),
                    "prompt_token_ids": list(prompt.ids) if body.return_token_ids else None,
                    "prompt_text": prompt.text if body.return_prompt_text else None,
                }
            )
            for choice in choices
        ]
        if echoed := self._reading.echoed:
            written += [self._text_chunk(choice, echoed) for choice in choices]
        return b"".join(written)

    def _usage_so_far(self, choice: int, completion_tokens: int) -> dict[str, Any]:
        member = super()._usage_so_far(choice, completion_tokens)
        if member:
            member["usage"]["completion_tokens_details"] = None
        return member

    def _prompt_of(self, choice: int) -> TokenizedPrompt:
        return self._prompts[0]

    def _choice(self, choice: int, text: str, answer: Answer | None, start: int, stop: int) -> dict[str, Any]:
        shown = self._shower.chat(answer, start, stop) if self._shower and answer is not None else None
        ids = list(answer.ids[start:stop]) if answer is not None and self._reading.body.return_token_ids else None
        member = {"index": choice, "delta": {"content": text}, "logprobs": shown, "finish_reason": None}
        if answer is None or stop < len(answer):
            return member | {"token_ids": ids}
        end = {"finish_reason": answer.finish_reason, "stop_reason": answer.stop_reason}
        return member | end | {"token_ids": ids, "weight_versions": None}


@frozen(eq=False)
class ChatWhole:
    """Writes a chat completion in one piece."""

    _reading: ChatReading

    def body(self, prompts: Sequence[TokenizedPrompt], cached_tokens: int, answers: Sequence[Answer]) -> bytes:
        """Write the answer with every member of vLLM's model, nulls among them."""
        reading, body, settings = self._reading, self._reading.body, self._reading.settings
        shower, prompt = reading.shower, prompts[0]
        count = body.prompt_logprobs
        details = prompt_details(settings, cached_tokens)
        return orjson.dumps(
            {
                **reading.head("chat.completion"),
                "choices": [self._choice(index, each, shower) for index, each in enumerate(answers)],
                "service_tier": None,
                "system_fingerprint": settings.fingerprint,
                "usage": usage(len(prompt.ids), sum(map(len, answers)), details, nulls=True),
                "prompt_logprobs": None if count is None else Shower(count, as_ids=False).prompt(prompt),
                "prompt_token_ids": list(prompt.ids) if body.return_token_ids else None,
                "prompt_text": prompt.text if body.return_prompt_text else None,
                "kv_transfer_params": None,
                "ec_transfer_params": None,
                "metrics": None,
            }
        )

    def _choice(self, index: int, answer: Answer, shower: Shower | None) -> dict[str, Any]:
        return {
            "index": index,
            "message": {
                "role": self._reading.settings.response_role,
                "content": self._reading.echoed + answer.text,
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "reasoning": None,
            },
            "logprobs": None if shower is None else shower.chat(answer, 0, len(answer)),
            "finish_reason": answer.finish_reason,
            "stop_reason": answer.stop_reason,
            "token_ids": list(answer.ids) if self._reading.body.return_token_ids else None,
            "routed_experts": None,
            "weight_versions": None,
        }
