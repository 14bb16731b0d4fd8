# -*- test-case-name: tests.api.test_batch -*-
"""``/v1/chat/completions/batch``: several conversations in one request, as vLLM 0.33 reads and writes them.

``messages`` is a list of conversations. The answer is one chat completion with a choice for each, whose usage is that
of all. What the request says beside ``messages`` holds for every conversation. There are no streams, no tools, and one
choice for each; members that tell of a prompt are null, as there are several.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import orjson
from attrs import evolve, frozen
from pydantic import Field

from vllmsim.api.body import Head, Listed, read_object, validate
from vllmsim.api.chat import ChatBody, chat_form, chat_sampling, chat_template, check_chat, check_media
from vllmsim.api.chatanswer import ChatReading, ChatWhole
from vllmsim.api.conversation import ChatMessage, conversation_of
from vllmsim.api.dialect import Call, Settings, completion_details, prompt_details, request_of, usage
from vllmsim.api.thresholds import threshold_of
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.inference import Answer, Prefill, TokenizedPrompt


class BatchBody(ChatBody):
    """A chat completion request with several conversations."""

    messages: Annotated[Listed[Listed[ChatMessage]], Field(min_length=1)]  # type: ignore[assignment]


def _check(data: Mapping[str, Any], most: int) -> None:
    if data.get("n") not in (None, 1, "1"):
        raise InvalidParameter("n must be 1 in a batch of conversations.", "n", data["n"])
    if data.get("stream"):
        raise InvalidParameter("A batch of conversations cannot be streamed.", "stream")
    if data.get("tools") is not None:
        raise InvalidParameter("Tools cannot be called in a batch of conversations.", "tools")
    if data.get("use_beam_search"):
        raise InvalidRequest("Beam search is not supported in a batch of conversations.")
    conversations = data.get("messages")
    if isinstance(conversations, list) and len(conversations) > most:
        raise InvalidParameter(f"At most {most} conversations are allowed, got {len(conversations)}.", "messages")
    check_chat(data)


@frozen(eq=False)
class BatchDialect:
    """Reads batches of conversations."""

    _settings: Settings

    def parse(self, body: bytes, head: Head) -> Call:
        """Read a request; see :class:`vllmsim.api.dialect.Dialect`."""
        data = read_object(body, head)
        _check(data, self._settings.most_prompts)
        batch = validate(BatchBody, data, body)
        settings = self._settings
        model = settings.models.resolve(batch.model)
        template = chat_template(settings, batch)
        conversations = tuple(conversation_of(messages, template) for messages in batch.messages)
        for conversation in conversations:
            check_media(settings, conversation, model)
        form = chat_form(settings, batch, conversations[0])
        request = request_of(
            settings,
            head,
            batch,
            model,
            conversations,
            chat_sampling(settings, batch),
            "chatcmpl",
            form,
            cut=batch.cut,
            threshold=threshold_of(head, batch.cache_hit_threshold),
        )
        return Call(request, None, partial(BatchWhole, ChatReading(settings, batch, request, settings.now())))


@frozen(eq=False)
class BatchWhole:
    """Writes the answer to a batch."""

    _reading: ChatReading

    def body(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill, answers: Sequence[Answer]) -> bytes:
        """Write the answer with every member of vLLM's model, nulls among them."""
        reading, settings = self._reading, self._reading.settings
        choices: list[dict[str, Any]] = []
        for prompt, answer in zip(prompts, answers, strict=True):
            alone = evolve(reading, request=evolve(reading.request, prompts=(prompt.prompt,)))
            value = ChatWhole(alone).value([prompt], prefill, [answer])
            choices.append(value["choices"][0] | {"index": len(choices)})
        thought = completion_details(sum(each.reasoning_tokens for each in answers)) if settings.reasons else None
        counts = usage(
            sum(len(prompt.ids) for prompt in prompts),
            sum(map(len, answers)),
            prompt_details(settings, reading.served(answers)),
            thought,
            nulls=True,
        )
        nothing = dict.fromkeys(("prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params"))
        return orjson.dumps(value | {"choices": choices, "usage": counts} | nothing)
