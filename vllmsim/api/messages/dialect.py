# -*- test-case-name: tests.api.messages.test_dialect -*-
"""Anthropic's Messages API, as vLLM 0.33 reads it; :mod:`vllmsim.api.messages.answer` writes the answers.

vLLM makes a chat request of each, and so does this module: what chat requests mean, these mean. Errors that vLLM finds
when it looks at a body's form have the OpenAI shape on these routes too; all others have Anthropic's.
"""

from functools import partial
from typing import Annotated, Any, Literal

import orjson
from attrs import evolve, frozen
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from vllmsim.api.body import Body, Head, Listed, read_object, validate
from vllmsim.api.chat import ChatBody, chat_form, chat_template, check_media
from vllmsim.api.conversation import read_template
from vllmsim.api.dialect import Call, Settings, request_of
from vllmsim.api.messages.answer import MessagesReading, MessagesStream, MessagesWhole
from vllmsim.api.messages.blocks import BlockMessage, Content, conversation_of_blocks
from vllmsim.api.sampling import Stops, check_salt
from vllmsim.api.structuredoutputs import JsonSchemaFormat, ResponseFormat
from vllmsim.api.thresholds import threshold_of
from vllmsim.api.toolcalls import ChatTool, FunctionDefinition
from vllmsim.api.transfer import TransferParams
from vllmsim.errors import InvalidParameter
from vllmsim.inference import Conversation

_LEAST_BUDGET = 1024


class CustomTool(Body):
    """A function that the client runs."""

    type: str | None = None
    name: str
    description: str | None = None
    input_schema: dict[str, Any]

    def chat_tool(self) -> ChatTool:
        """Make the same tool of a chat request."""
        schema = self.input_schema if "type" in self.input_schema else {**self.input_schema, "type": "object"}
        function = FunctionDefinition(name=self.name, description=self.description, parameters=schema)
        return ChatTool(function=function)


class ServerTool(Body):
    """A tool that Anthropic defines or runs, such as its web search. It is never called."""

    type: str
    name: str | None = None


def _tool_kind(tool: Any) -> str:
    known = not isinstance(tool, dict) or "input_schema" in tool or tool.get("type") in (None, "custom")
    return "custom" if known else "server"


MessagesTool = Annotated[
    Annotated[CustomTool, Tag("custom")] | Annotated[ServerTool, Tag("server")], Discriminator(_tool_kind)
]


class MessagesToolChoice(Body):
    """Whether tools are to be called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None

    @model_validator(mode="after")
    def _check_name(self) -> "MessagesToolChoice":
        if self.type == "tool" and not self.name:
            raise ValueError("tool_choice.name is required when type is 'tool'")
        return self

    def chat_choice(self) -> str | dict[str, Any]:
        """Make the same choice of a chat request."""
        if self.type == "tool":
            return {"type": "function", "function": {"name": self.name}}
        return "required" if self.type == "any" else self.type


class ThinkingBudget(Body):
    """Reasoning of a bounded length."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=_LEAST_BUDGET)]


class ThinkingMode(Body):
    """No reasoning, or as much as the model likes."""

    type: Literal["disabled", "adaptive"]


class JsonOutputFormat(Body):
    """A schema that the answer must follow."""

    type: Literal["json_schema"] = "json_schema"
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")


class OutputConfig(Body):
    """How the answer is to be made."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonOutputFormat | None = None

    @property
    def response_format(self) -> ResponseFormat | None:
        """The same format of a chat request."""
        if self.format is None or not self.format.json_schema:
            return None
        return ResponseFormat(type="json_schema", json_schema=JsonSchemaFormat(schema=self.format.json_schema))


class _TurnsBody(Body):
    model: str
    messages: Listed[BlockMessage]

    @field_validator("model")
    @classmethod
    def _check_model(cls, value: str) -> str:
        if not value:
            raise ValueError("Model is required")
        return value


class MessagesBody(_TurnsBody):
    """A Messages request."""

    max_tokens: int
    metadata: dict[str, Any] | None = None
    output_config: OutputConfig | None = None
    thinking: Annotated[ThinkingBudget | ThinkingMode, Field(discriminator="type")] | None = None
    stop_sequences: Stops | None = None
    stream: bool | None = False
    system: Content | None = None
    temperature: float | None = None
    tool_choice: MessagesToolChoice | None = None
    tools: Listed[MessagesTool] | None = None
    top_k: int | None = None
    top_p: float | None = None

    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    kv_transfer_params: TransferParams | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    ignore_eos: bool | None = False

    @field_validator("max_tokens")
    @classmethod
    def _check_max_tokens(cls, value: int) -> int:
        if value <= 0:
            raise ValueError("max_tokens must be positive")
        return value

    @model_validator(mode="after")
    def _check_budget(self) -> "MessagesBody":
        if isinstance(self.thinking, ThinkingBudget) and self.thinking.budget_tokens >= self.max_tokens:
            raise ValueError("thinking.budget_tokens must be less than max_tokens")
        return self

    @property
    def _effort(self) -> str | None:
        if self.thinking is not None and self.thinking.type == "disabled":
            return "none"
        return self.output_config.effort if self.output_config else None

    def chat(self) -> ChatBody:
        """Make the chat request that this is, but for its messages.

        :raises InvalidParameter: when a tool must be called, and there is none.
        """
        choice, tools = self.tool_choice, self.tools or []
        if choice and choice.type in ("any", "tool") and not tools:
            raise InvalidParameter("When using `tool_choice`, `tools` must be set.", "tool_choice")
        # Constructed, not validated: each field has been already, under the name that the client knows.
        return ChatBody.model_construct(
            model=self.model,
            messages=[],
            max_tokens=self.max_tokens,
            stream=self.stream,
            stop=self.stop_sequences,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            ignore_eos=self.ignore_eos,
            tools=[tool.chat_tool() for tool in tools if isinstance(tool, CustomTool)],
            tool_choice=choice.chat_choice() if choice else None,
            parallel_tool_calls=not (choice and choice.disable_parallel_tool_use),
            reasoning_effort=self._effort,
            thinking_token_budget=self.thinking.budget_tokens if isinstance(self.thinking, ThinkingBudget) else None,
            response_format=self.output_config.response_format if self.output_config else None,
            cache_salt=self.cache_salt,
            kv_transfer_params=self.kv_transfer_params,
            chat_template_kwargs=self.chat_template_kwargs,
        )


class CountBody(_TurnsBody):
    """A request to count the tokens of a Messages request."""

    system: Content | None = None
    tool_choice: MessagesToolChoice | None = None
    tools: Listed[MessagesTool] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


@frozen(eq=False)
class MessagesDialect:
    """Reads Messages requests."""

    _settings: Settings

    def read(self, body: bytes, head: Head) -> MessagesReading:
        """Read a request.

        :raises vllmsim.errors.InferenceError: when the body is wrong, or the model is not served.
        """
        message = validate(MessagesBody, read_object(body, head), body)
        check_salt(message.cache_salt)
        settings = self._settings
        model = settings.models.resolve(message.model)
        conversation = conversation_of_blocks(message.system, message.messages)
        check_media(settings, conversation, model)
        chat = message.chat()
        conversation = evolve(conversation, template=chat_template(settings, chat))
        form = chat_form(settings, chat, conversation, image=settings.wants_image(head.send_image))
        sampling, threshold = chat.sampling(chat.limit, None), threshold_of(head, None)
        request = request_of(
            settings, head, chat, model, (conversation,), sampling, "chatcmpl", form, threshold=threshold
        )
        return MessagesReading(settings, chat, request, settings.now())

    def parse(self, body: bytes, head: Head) -> Call:
        """Read a request; see :class:`vllmsim.api.dialect.Dialect`."""
        reading = self.read(body, head)
        stream = partial(MessagesStream, reading) if reading.body.stream else None
        return Call(reading.request, stream, partial(MessagesWhole, reading))


@frozen(eq=False)
class CountDialect:
    """Reads requests to count tokens, and writes how many there are."""

    _settings: Settings

    def parse(self, body: bytes, head: Head) -> Conversation:
        """Read what is to be counted.

        :raises vllmsim.errors.InferenceError: when the body is wrong, or the model is not served.
        """
        count = validate(CountBody, read_object(body, head), body)
        model = self._settings.models.resolve(count.model)
        tools = [tool.chat_tool().model_dump() for tool in count.tools or () if isinstance(tool, CustomTool)]
        template = read_template(count, trusted=self._settings.trusts_templates, tools=tools)
        conversation = conversation_of_blocks(count.system, count.messages)
        check_media(self._settings, conversation, model)
        return evolve(conversation, template=template)

    def counted(self, tokens: int) -> bytes:
        """Write how many tokens there are."""
        return orjson.dumps({"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}})
