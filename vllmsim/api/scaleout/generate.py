# -*- test-case-name: tests.api.scaleout.test_generate -*-
"""``/inference/v1/generate``: token ids in, token ids out, as vLLM 0.33 reads them.

A request has ``token_ids``, the prompt, and ``sampling_params`` under the engine's own names; the render routes make
such requests of the others. ``output_mode`` says what an answer has beside token ids: nothing, their text, or the
message that a chat completion would have made of them. What the prompt's tools and reasoning were is in
``parse_context``, which the model's answer follows here too: a simulated model cannot see it in the tokens.

:mod:`vllmsim.api.scaleout.answer` writes the answers, :mod:`vllmsim.api.scaleout.stream` those in pieces.
"""

from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from attrs import frozen
from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator
from typing_extensions import TypedDict

from vllmsim.api.body import Body, Head, Listed, read_object, validate
from vllmsim.api.chat import ChatBody, thinks
from vllmsim.api.dialect import Call, Settings, request_of
from vllmsim.api.sampling import Int64, SamplingBody, StreamOptions, check_logprobs, check_salt
from vllmsim.api.scaleout.answer import PREFIX, GenerateReading, GenerateWhole
from vllmsim.api.scaleout.stream import GenerateStream, ParsedStream
from vllmsim.api.structuredoutputs import check_outputs, structured_output
from vllmsim.api.toolcalls import NO_TOOLS, ChatTool, read_choice, use_tools
from vllmsim.api.transfer import Transfer, TransferParams, transfer_of
from vllmsim.errors import InvalidRequest, PromptTooLong
from vllmsim.inference import Span, TokenPrompt
from vllmsim.structure import PLAIN, Form

T = TypeVar("T")
OutputMode = Literal["tokens", "text", "derender"]

_MOST_KINDS: Final = 16
_MOST_ITEMS: Final = 4096
_LONGEST_HASH: Final = 256


def _check_kinds(value: Any) -> Any:
    """Bound a map before it is read, so that there are not thousands of errors in it."""
    if isinstance(value, Mapping) and len(value) > _MOST_KINDS:
        raise ValueError(f"at most {_MOST_KINDS} kinds of media are allowed, got {len(value)}")
    return value


ByKind = Annotated[dict[str, Annotated[Listed[T], Field(max_length=_MOST_ITEMS)]], BeforeValidator(_check_kinds)]
"""A map with a list for each kind of media."""


class PlaceholderRange(Body):
    """Where the tokens of an image, a sound or a film are in the prompt."""

    offset: Annotated[int, Field(ge=0)]
    length: Annotated[int, Field(gt=0)]


class Features(Body):
    """The media of a prompt, by kind; nothing is read from their data."""

    mm_hashes: ByKind[str]
    mm_placeholders: ByKind[PlaceholderRange] | None = None
    kwargs_data: ByKind[str | None] | None = None
    mm_metadata: ByKind[str | None] | None = None

    def check(self, length: int) -> None:
        """Check what is hashed with each block that has tokens of the media: it is short, and of few of them.

        :param length: how many tokens the prompt has.
        """
        if any(len(identifier) > _LONGEST_HASH for each in self.mm_hashes.values() for identifier in each):
            raise ValueError(f"mm_hashes must have at most {_LONGEST_HASH} characters each")
        end = 0
        places = [place for each in (self.mm_placeholders or {}).values() for place in each]
        for place in sorted(places, key=attrgetter("offset")):
            if place.offset + place.length > length:
                raise ValueError("mm_placeholders must remain within the token_ids sequence")
            if place.offset < end:
                raise ValueError("mm_placeholders must not overlap")
            end = place.offset + place.length

    @property
    def media(self) -> tuple[Span, ...]:
        """The media that have both a hash and a place."""
        return tuple(
            Span(identifier, place.offset, place.length, kind)
            for kind, places in (self.mm_placeholders or {}).items()
            for identifier, place in zip(self.mm_hashes.get(kind, ()), places, strict=False)
        )


class ParseContext(Body):
    """What the request that a prompt was made of said about tools and reasoning."""

    tools: Listed[ChatTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = True
    include_reasoning: bool | None = True
    chat_template_kwargs: dict[str, Any] | None = None
    history_tool_call_cnt: Annotated[int, Field(ge=0)] | None = 0


class ExtraArguments(TypedDict, total=False):
    """What the engine's extensions are told."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    kv_transfer_params: TransferParams | None


class EngineSampling(SamplingBody):
    """Sampling parameters under the engine's names, which are those of requests but for a few."""

    max_tokens: int | None = None
    logprobs: int | None = None
    detokenize: bool | None = True
    extra_args: ExtraArguments | None = None
    thinking_token_budget: int | None = None
    skip_reading_prefix_cache: bool | None = None

    @property
    def reads_cache(self) -> bool | None:
        """Whether the prefix cache may be read, if the request says."""
        skips = self.skip_reading_prefix_cache
        return None if skips is None else not skips


class GenerateBody(Body):
    """A generate request."""

    request_id: str | None = None
    token_ids: Annotated[Listed[int], Field(min_length=1)]
    features: Features | None = None
    content_parts: Listed[dict[str, Any]] | None = None
    sampling_params: EngineSampling
    model: str | None = None
    reasoning_ended: bool | None = None
    return_token_ids: bool | None = None
    output_mode: OutputMode = "tokens"
    parse_context: ParseContext | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    cache_salt: str | None = None
    priority: Int64 = 0
    kv_transfer_params: TransferParams | None = None
    ec_transfer_params: dict[str, Any] | None = None

    @field_validator("token_ids")
    @classmethod
    def _check_ids(cls, ids: list[int]) -> list[int]:
        if min(ids, default=0) < 0:
            raise ValueError("token_ids must not contain negative values")
        return ids

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.output_mode != "tokens" and self.sampling_params.detokenize is False:
            raise ValueError(f"output_mode={self.output_mode!r} requires sampling_params.detokenize to be true")
        if self.content_parts and self.features:
            raise ValueError("content_parts and features are mutually exclusive")
        if self.features is not None:
            self.features.check(len(self.token_ids))
        return self

    @property
    def transfer(self) -> Transfer:
        """What is to become of the prompt's KV blocks; the request's own word counts before the engine's."""
        if self.kv_transfer_params is not None:
            return transfer_of(self.kv_transfer_params)
        return transfer_of((self.sampling_params.extra_args or {}).get("kv_transfer_params"))

    def chat(self) -> ChatBody:
        """Make the chat request whose answer says the same."""
        context = self.parse_context or ParseContext()
        return ChatBody(
            messages=[],
            include_reasoning=context.include_reasoning,
            stream_options=self.stream_options,
            return_token_ids=True,
        )


def _check(data: Mapping[str, Any]) -> None:
    check_salt(data.get("cache_salt"))
    sampling = data.get("sampling_params")
    if isinstance(sampling, Mapping):
        check_outputs(sampling)
        check_logprobs("logprobs", sampling.get("logprobs"))
        check_logprobs("prompt_logprobs", sampling.get("prompt_logprobs"))
        if sampling.get("detokenize") is False and sampling.get("stop"):
            raise InvalidRequest("stop strings are only supported when detokenize is True.")


def _form(settings: Settings, body: GenerateBody) -> Form:
    """Find what the answers must be made of.

    :raises InvalidRequest: when the server cannot make that.
    """
    sampling, context = body.sampling_params, body.parse_context
    output = structured_output(None, sampling.structured_outputs)
    if context is None:
        return PLAIN if output is None else Form(output=output)
    arguments = context.chat_template_kwargs or {}
    effort = arguments.get("reasoning_effort")
    tools = None
    if context.tools:
        tools = use_tools(
            [tool.tool() for tool in context.tools],
            NO_TOOLS if settings.encoder_only else read_choice(context.tool_choice),
            settings.tooling,
            parallel=context.parallel_tool_calls is not False,
            answered=bool(context.history_tool_call_cnt),
        )
    budget = sampling.thinking_token_budget
    return Form(
        tools=tools,
        output=output,
        thinks=settings.reasons and not body.reasoning_ended and thinks(effort, arguments),
        thinking_budget=None if budget is None else max(0, budget),
    )


@frozen(eq=False)
class GenerateDialect:
    """Reads generate requests.

    :param max_model_len: the most tokens of a prompt; longer ones are refused unread, as there may be millions.
    """

    _settings: Settings
    _max_model_len: int

    def parse(self, body: bytes, head: Head) -> Call:
        """Read a request; see :class:`vllmsim.api.dialect.Dialect`."""
        data = read_object(body, head)
        self._check_length(data)
        _check(data)
        asked = validate(GenerateBody, data, body)
        settings = self._settings
        model = settings.models.resolve(asked.model)
        given = asked.sampling_params
        limit = 1 if given.max_tokens is None and settings.encoder_only else given.max_tokens
        sampling = given.sampling(limit, given.logprobs)
        prompt = TokenPrompt(tuple(asked.token_ids), asked.features.media if asked.features else ())
        form = _form(settings, asked)
        request = request_of(
            settings, head, asked, model, (prompt,), sampling, PREFIX, form, reads_cache=given.reads_cache
        )
        reading = GenerateReading(settings, asked, request, settings.now())
        writer = ParsedStream if asked.output_mode == "derender" else GenerateStream
        return Call(request, partial(writer, reading) if asked.stream else None, partial(GenerateWhole, reading))

    def _check_length(self, data: Mapping[str, Any]) -> None:
        ids, model, limit = data.get("token_ids"), data.get("model"), self._max_model_len
        if isinstance(ids, list) and len(ids) > limit:
            self._settings.models.resolve(model if isinstance(model, str) else None)
            raise PromptTooLong(limit, len(ids), exact=len(ids) != limit + 1)
