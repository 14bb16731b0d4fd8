# -*- test-case-name: tests.api.responses.test_dialect -*-
"""Responses requests, as vLLM 0.33 reads them; :mod:`vllmsim.api.responses.answer` writes the answers.

``POST /v1/responses`` takes ``input``, a text or a list of items, and answers with a response object or a stream of
events. ``instructions`` are a system message before the input. With ``previous_response_id`` a stored response goes on:
its input and output come before the new input, its instructions do not. With ``background`` the answer comes at once,
and ``GET /v1/responses/{response_id}`` tells how it goes on; ``POST /v1/responses/{response_id}/cancel`` ends it.

A server that stores nothing answers ``store`` as if it were false, and refuses ``background``, as vLLM does by default.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from attrs import evolve, frozen
from pydantic import BeforeValidator, Field

from vllmsim.api.body import Body, Head, Listed, read_object, read_query, validate
from vllmsim.api.chat import check_media
from vllmsim.api.conversation import conversation_from, read_template
from vllmsim.api.dialect import Call, Settings, request_of
from vllmsim.api.responses.answer import Keep, ResponseReading, ResponseWhole
from vllmsim.api.responses.form import AnyTool, FunctionTool, Reasoning, TextConfig, response_form, shown
from vllmsim.api.responses.input import read_input
from vllmsim.api.responses.store import ResponseStore
from vllmsim.api.responses.stream import ResponseStream
from vllmsim.api.sampling import GenerationBody, Int64, check_logprobs, check_salt
from vllmsim.api.structuredoutputs import check_outputs
from vllmsim.errors import InvalidParameter, InvalidRequest, InvalidResponseUse
from vllmsim.inference import Message, Template


def _only_wrong(value: Any) -> Any:
    """Leave of a map of texts the first entry that is none, so that no others are reported: there may be many."""
    if isinstance(value, Mapping):
        for key, text in value.items():
            if not isinstance(text, str):
                return {key: text}
    return value


Metadata = Annotated[dict[str, str], BeforeValidator(_only_wrong)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Includable = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]


class ResponsesBody(GenerationBody):
    """A Responses request."""

    input: str | list[Any]
    instructions: str | None = None
    max_output_tokens: Int64 | None = None
    max_tool_calls: Annotated[Int64, Field(ge=0)] | None = None
    metadata: Metadata | None = None
    background: bool | None = False
    store: bool | None = True
    previous_response_id: str | None = None
    previous_input_messages: Listed[dict[str, Any]] | None = None
    prompt: None = None
    reasoning: Reasoning | None = None
    include_reasoning: bool | None = True
    include: Listed[Includable] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = "auto"
    text: TextConfig | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = "auto"
    tools: Listed[AnyTool] | None = None
    parallel_tool_calls: bool | None = True
    top_logprobs: Int64 | None = 0
    truncation: Literal["auto", "disabled"] | None = "disabled"
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    enable_response_messages: bool | None = False
    session_id: str | None = None
    vllm_xargs: dict[str, Any] | None = None
    ec_transfer_params: dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    media_io_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None

    @property
    def logprobs(self) -> int | None:
        """How many alternatives are shown per token; None for no log probabilities."""
        return self.top_logprobs or 0 if "message.output_text.logprobs" in (self.include or ()) else None


class Retrieval(Body):
    """What of a stored response is wanted."""

    starting_after: Int64 | None = None
    stream: bool = False


@frozen(eq=False)
class ResponseCall(Call):
    """A Responses request as it is read, and how to answer.

    :param reading: the request.
    :param background: makes the writer of a response that nobody waits for, given what takes it at its end; None if
        somebody does.
    """

    reading: ResponseReading
    background: Callable[[Keep], ResponseStream] | None


def _check(data: Mapping[str, Any]) -> None:
    """Check what vLLM checks on the raw body, before the types."""
    if data.get("prompt") is not None:
        raise InvalidParameter("prompt template is not supported", "prompt")
    check_salt(data.get("cache_salt"))
    check_logprobs("top_logprobs", data.get("top_logprobs"))
    check_outputs({"structured_outputs": data.get("structured_outputs")})


def _template(settings: Settings, asked: ResponsesBody) -> Template:
    tools = [tool.chat_tool().model_dump() for tool in asked.tools or () if isinstance(tool, FunctionTool)]
    effort = asked.reasoning.effort if asked.reasoning else None
    return read_template(asked, trusted=settings.trusts_templates, effort=effort, tools=tools)


@frozen(eq=False)
class ResponsesDialect:
    """Reads Responses requests.

    :param max_model_len: the most tokens of a prompt and its answer together.
    :param store: where responses are kept.
    """

    _settings: Settings
    _max_model_len: int
    _store: ResponseStore

    def parse(self, body: bytes, head: Head) -> ResponseCall:
        """Read a request; see :class:`vllmsim.api.dialect.Dialect`."""
        reading = self.read(body, head)
        wanted = reading.body.store is not False and self._store.enabled
        keep = self._store.keep if wanted else None
        asked = reading.body
        return ResponseCall(
            reading.request,
            partial(ResponseStream, reading, keep) if asked.stream else None,
            partial(ResponseWhole, reading, keep),
            reading,
            partial(ResponseStream, reading) if asked.background else None,
        )

    def read(self, body: bytes, head: Head) -> ResponseReading:
        """Read a request.

        :raises vllmsim.errors.InferenceError: when the body is wrong, the model is not served, or a response that it
            goes on from is not there.
        """
        data = read_object(body, head)
        _check(data)
        asked = validate(ResponsesBody, data, body)
        settings = self._settings
        model = settings.models.resolve(asked.model)
        self._check_background(asked)
        said = self._said(asked)
        self._check_limit(asked.max_output_tokens)
        system = () if asked.instructions is None else (Message("system", asked.instructions),)
        conversation = conversation_from((*system, *said), _template(settings, asked))
        check_media(settings, conversation, model)
        form = response_form(settings, asked, answered=any(message.role == "tool" for message in said))
        limit = 1 if asked.max_output_tokens is None and settings.encoder_only else asked.max_output_tokens
        sampling = asked.sampling(limit, asked.logprobs)
        request = request_of(settings, head, asked, model, (conversation,), sampling, ResponseReading.prefix, form)
        named = evolve(request, prefix=f"{ResponseReading.prefix}_")
        return ResponseReading(settings, asked, named, settings.now(), said, shown(asked), self._max_model_len)

    def _check_limit(self, limit: int | None) -> None:
        if limit is not None and limit > self._max_model_len:
            raise InvalidParameter(
                f"max_output_tokens={limit} cannot be greater than max_model_len={self._max_model_len}. "
                "Please request fewer output tokens.",
                "max_output_tokens",
                limit,
            )

    def _check_background(self, asked: ResponsesBody) -> None:
        if not asked.background:
            return
        if asked.store is False:
            raise InvalidResponseUse("`background` needs `store` to be true.", "background")
        if not self._store.enabled:
            raise InvalidResponseUse(
                "This vLLM engine does not support `store=True` and therefore does not support the background mode. "
                "To enable these features, set the environment variable `VLLM_ENABLE_RESPONSES_API_STORE=1` when "
                "launching the vLLM server.",
                "background",
            )

    def _said(self, asked: ResponsesBody) -> tuple[Message, ...]:
        """Find what was said before the answer, without instructions."""
        earlier: tuple[Message, ...] = ()
        if asked.previous_response_id is not None:
            if asked.previous_input_messages:
                raise InvalidRequest(
                    "Only one of `previous_input_messages` and `previous_response_id` can be set.",
                    "previous_response_id",
                )
            earlier = self._store.conversation(asked.previous_response_id)
        before = read_input(asked.previous_input_messages or (), self._store.item)
        return (*earlier, *before, *read_input(asked.input, self._store.item))

    def parse_retrieval(self, arguments: Mapping[str, Sequence[str]]) -> tuple[bool, int]:
        """Read the query of a request for a response.

        :return: whether its events are wanted, and the number of the first of them.
        :raises MalformedRequest: when an argument is not of its type.
        """
        query = read_query(Retrieval, arguments)
        after = -1 if query.starting_after is None else query.starting_after
        return query.stream, max(after + 1, 0)
