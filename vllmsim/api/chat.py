# -*- test-case-name: tests.api.test_chat -*-
"""Chat completion requests, as vLLM 0.33 reads them; :mod:`vllmsim.api.chatanswer` writes the answers."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final, Literal

from attrs import frozen
from pydantic import Field

from vllmsim.api.body import Head, Listed, read_object, validate
from vllmsim.api.chatanswer import ChatReading, ChatStream, ChatWhole
from vllmsim.api.conversation import ChatMessage, conversation_of, read_template
from vllmsim.api.dialect import Call, Settings, request_of
from vllmsim.api.sampling import SamplingBody, check_logprobs, check_options
from vllmsim.api.structuredoutputs import structured_output
from vllmsim.api.thresholds import threshold_of
from vllmsim.api.toolcalls import NO_TOOLS, ChatTool, check_tools, parse_calls, read_choice, use_tools
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.inference import Conversation, Template
from vllmsim.sampling import Sampling
from vllmsim.structure import Form

_MOST_MEDIA: Final = 999
"""How many items of a kind a prompt may have, which is vLLM's default."""


class ChatBody(SamplingBody):
    """A chat completion request."""

    messages: Listed[ChatMessage]
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: Listed[ChatTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    parallel_tool_calls: bool | None = True
    include_reasoning: bool | None = True
    thinking_token_budget: int | None = None
    add_generation_prompt: bool | None = True
    continue_final_message: bool | None = False
    documents: Listed[dict[str, Any]] | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    routed_experts_prompt_start: Annotated[int, Field(ge=0)] | None = 0
    return_prompt_text: bool | None = None
    return_mm_kwargs: bool | None = None

    @property
    def limit(self) -> int | None:
        """The most tokens of a choice, if the request says."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


def thinks(effort: str | None, template_arguments: Mapping[str, Any] | None) -> bool:
    """Tell whether a request lets the model reason; it does unless it says otherwise in one of the usual ways."""
    arguments = template_arguments or {}
    return effort != "none" and arguments.get("enable_thinking", arguments.get("thinking", True)) is not False


def chat_form(settings: Settings, body: ChatBody, conversation: Conversation, *, image: bool = False) -> Form:
    """Find what the answer to a chat request must be made of.

    :param image: whether an image follows.
    :raises InvalidRequest: when the server cannot, or the request contradicts itself.
    """
    if not (body.tools or body.response_format or body.structured_outputs or settings.reasons or image):
        return Form()
    tools = parsing = None
    if body.tools:
        choice = NO_TOOLS if settings.encoder_only else read_choice(body.tool_choice)
        tools = use_tools(
            [tool.tool() for tool in body.tools],
            choice,
            settings.tooling,
            parallel=body.parallel_tool_calls is not False,
            answered=conversation.messages[-1].role == "tool",
        )
        interval = (body.stream_interval or settings.stream_interval) if body.stream else None
        parsing = parse_calls(choice, settings.tooling, "chat_completions", interval)
    return Form(
        tools=tools,
        output=structured_output(body.response_format, body.structured_outputs),
        thinks=settings.reasons and thinks(body.reasoning_effort, body.chat_template_kwargs),
        thinking_budget=None if body.thinking_token_budget is None else max(0, body.thinking_token_budget),
        image=image,
        parsing=parsing,
    )


def chat_template(settings: Settings, body: ChatBody) -> Template:
    """Collect what a chat request says of the chat template.

    :raises InvalidRequest: when it says what it may not, or contradicts itself.
    """
    tools = [tool.model_dump() for tool in body.tools] if body.tools else None
    return read_template(body, trusted=settings.trusts_templates, effort=body.reasoning_effort, tools=tools)


def chat_sampling(settings: Settings, body: ChatBody) -> Sampling:
    """Collect the sampling parameters of a chat request."""
    limit = 1 if body.limit is None and settings.encoder_only else body.limit
    return body.sampling(limit, (body.top_logprobs or 0) if body.logprobs else None)


def check_media(settings: Settings, conversation: Conversation, model: str) -> None:
    """Check that the model can read what the messages have beside text.

    :raises InvalidRequest: when it reads text alone, or not so many.
    """
    if not settings.multimodal and conversation.media:
        raise InvalidRequest(f"{model} is not a multimodal model")
    for kind, count in Counter(item.kind for item in conversation.media).items():
        if count > _MOST_MEDIA:
            raise InvalidRequest(f"At most {_MOST_MEDIA} {kind}(s) may be provided in one prompt.")


def check_chat(data: Mapping[str, Any]) -> None:
    """Check what vLLM checks on the raw body, before the types.

    :raises InvalidRequest: for fields that contradict each other.
    """
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

    def read(self, body: bytes, head: Head) -> ChatReading:
        """Read a request.

        :raises vllmsim.errors.InferenceError: when the body is wrong, or the model is not served.
        """
        data = read_object(body, head)
        check_chat(data)
        chat = validate(ChatBody, data, body)
        settings = self._settings
        model = settings.models.resolve(chat.model)
        conversation = conversation_of(chat.messages, chat_template(settings, chat))
        check_media(settings, conversation, model)
        form = chat_form(settings, chat, conversation, image=settings.wants_image(head.send_image))
        request = request_of(
            settings,
            head,
            chat,
            model,
            (conversation,),
            chat_sampling(settings, chat),
            "chatcmpl",
            form,
            cut=chat.cut,
            threshold=threshold_of(head, chat.cache_hit_threshold),
        )
        return ChatReading(settings, chat, request, settings.now())

    def parse(self, body: bytes, head: Head) -> Call:
        """Read a request; see :class:`vllmsim.api.dialect.Dialect`."""
        reading = self.read(body, head)
        stream = partial(ChatStream, reading) if reading.body.stream else None
        return Call(reading.request, stream, partial(ChatWhole, reading))
