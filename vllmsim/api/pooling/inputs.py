# -*- test-case-name: tests.api.pooling.test_inputs -*-
"""What all pooling requests have in common: the fields, how inputs are read, and how an answer begins.

Inputs are a text, a list of texts, a list of token ids or a list of such lists in ``input``, or a conversation in
``messages``. An answer is an object, or raw bytes; it is handed on in pieces, since it may be long.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar, Union, cast

import orjson
from attrs import field, frozen
from pydantic import Field

from vllmsim.api.body import Body, Head, Listed, validate
from vllmsim.api.chat import check_media
from vllmsim.api.conversation import ChatMessage, conversation_of, read_template
from vllmsim.api.dialect import Settings, usage
from vllmsim.api.sampling import Int64, check_salt
from vllmsim.api.spoiling import EVENTS, Spoiling
from vllmsim.errors import InvalidParameter, InvalidRequest, UnknownModel
from vllmsim.inference import Conversation, Cut, Prompt, TextPrompt, TokenPrompt
from vllmsim.pooling import Pooled, PoolingInput, PoolingRequest

MOST_INPUTS: Final = 2048
"""The most inputs of a request, which is OpenAI's limit; vLLM has none."""
_REMOVED_TASKS: Final = {
    "score": "`score` task was removed; use `classify` instead.",
    "encode": "`encode` task was removed; use `token_embed` or `token_classify` instead.",
}


# Not with "|": joining a union to None may give an equal one of another module, whose members come in another order,
# and the order decides which of them an error names.
GivenInput = Union[Listed[int], Listed[Listed[int]], str, Listed[str]]  # noqa: UP007
MaybeInput = Union[Listed[int], Listed[Listed[int]], str, Listed[str], None]  # noqa: UP007


class PoolingBody(Body):
    """The fields of every pooling request. Unknown ones are ignored."""

    model: str | None = None
    user: str | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    padding: Literal["max_length", "do_not_pad"] | None = None
    truncation_side: Literal["left", "right"] | None = None
    request_id: str | None = None
    priority: Int64 = 0
    mm_processor_kwargs: dict[str, Any] | None = None
    cache_salt: str | None = None
    use_activation: bool | None = None


class InputBody(PoolingBody):
    """A request with inputs: of `input` and `messages` one is given."""

    input: MaybeInput = None
    messages: Listed[ChatMessage] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = False
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    media_io_kwargs: dict[str, Any] | None = None

    def prompts(self) -> list[Prompt]:
        """List the inputs, whichever form they have.

        :raises InvalidRequest: when there are none, or a conversation is empty.
        """
        if self.input is None:
            return [conversation_of(self.messages or [], read_template(self, trusted=True))]
        given: Sequence[str | int | list[int]] = [self.input] if isinstance(self.input, str) else self.input
        if not given:
            raise InvalidRequest("You must pass at least one prompt")
        if isinstance(given[0], int):
            return [TokenPrompt(tuple(cast("Sequence[int]", given)))]
        special = self.add_special_tokens
        return [TextPrompt(each, special) if isinstance(each, str) else TokenPrompt(_ids(each)) for each in given]


B = TypeVar("B", bound=InputBody)


class _NoInputs(PoolingBody):
    """What a body without inputs is checked against, so that the error names both forms."""

    input: GivenInput
    messages: Listed[ChatMessage]


def _ids(prompt: int | list[int]) -> tuple[int, ...]:
    return tuple(prompt) if isinstance(prompt, list) else (prompt,)


def check_counts(data: Mapping[str, Any], *names: str) -> None:
    """Check how many inputs there are, before their types are looked at: that takes long for hundreds of thousands.

    :param names: the fields that have inputs.
    :raises InvalidParameter: when there are too many. A list of token ids may be longer.
    """
    for name in names:
        given = data.get(name)
        if isinstance(given, list) and len(given) > MOST_INPUTS and not isinstance(given[0], int):
            raise InvalidParameter(f"At most {MOST_INPUTS} inputs are allowed, got {len(given)}.", name, len(given))


def check_removed(data: Mapping[str, Any]) -> None:
    """Refuse what older releases took, and salts that are none, before the types are looked at.

    :raises InvalidParameter: naming what to use instead.
    """
    if "normalize" in data:
        raise InvalidParameter("Parameter `normalize` was removed; use `use_activation` instead.", "normalize")
    task = data.get("task")
    if isinstance(task, str) and task in _REMOVED_TASKS:
        raise InvalidParameter(_REMOVED_TASKS[task], "task")
    check_salt(data.get("cache_salt"))


def read_inputs(model: type[B], data: dict[str, Any], body: bytes, *, trusted: bool) -> B:
    """Check the body of a request with inputs.

    :param model: what it is.
    :param data: what :func:`vllmsim.api.body.read_object` made of the body.
    :param trusted: whether it may bring a chat template of its own.
    :raises vllmsim.errors.InferenceError: when the body is wrong.
    """
    check_removed(data)
    check_counts(data, "input")
    if data.get("input") is not None:
        return validate(model, {name: value for name, value in data.items() if name != "messages"}, body)
    if data.get("messages") is None:
        validate(_NoInputs, data, body)
    read = validate(model, data, body)
    read_template(read, trusted=trusted)
    return read


@frozen(eq=False)
class PoolingSettings:
    """What all pooling dialects share.

    :param max_model_len: the most tokens of an input.
    :param dimensions: how many numbers a vector has when the request does not say.
    """

    settings: Settings
    max_model_len: int
    dimensions: int

    def cuts(self, body: PoolingBody) -> tuple[Cut, ...]:
        """Tell how a request wants its inputs shortened.

        :raises InvalidRequest: when they may stay longer than the context.
        """
        tokens = body.truncate_prompt_tokens
        if tokens is None:
            return ()
        if tokens > self.max_model_len:
            raise InvalidRequest(
                "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size."
            )
        return (Cut(self.max_model_len if tokens < 0 else tokens, body.truncation_side or "right"),)

    def inputs(self, prompts: Sequence[Prompt], cuts: tuple[Cut, ...]) -> tuple[PoolingInput, ...]:
        """Make a request's inputs.

        :raises InvalidRequest: when one has images, and the model cannot see.
        """
        for prompt in prompts:
            if isinstance(prompt, Conversation):
                check_media(self.settings, prompt, self.settings.models.resolve(None))
        return tuple(PoolingInput(prompt, cuts) for prompt in prompts)

    def reading(self, prefix: str, head: Head, body: PoolingBody) -> "PoolingReading":
        """Begin the answer to a request.

        :param prefix: what the answer's id begins with, without its hyphen; empty where it is what the client says.
        :raises UnknownModel: when the model is not served; unlike elsewhere the error does not say which are.
        """
        settings = self.settings
        try:
            settings.models.resolve(body.model)
        except UnknownModel:
            raise UnknownModel(f"The model `{body.model}` does not exist.", model=body.model) from None
        request_id = head.request_id or body.request_id or settings.new_id()
        return PoolingReading(
            f"{prefix}-{request_id}" if prefix else request_id,
            settings.models.resolve(None),
            settings.now(),
            self.max_model_len if body.padding == "max_length" else 0,
            request_id,
            body.model,
        )


@frozen(eq=False)
class Reply:
    """A response.

    :param pieces: its body; joined they are the whole.
    :param headers: further headers.
    """

    pieces: Sequence[bytes]
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(factory=dict)


@frozen(eq=False)
class PoolingCall:
    """A pooling request as its dialect reads it.

    :param write: makes the response of what became of the request; long ones take long.
    :param reading: what the answer tells about the request.
    :param spoiling: how the answer goes wrong, where it is to.
    """

    request: PoolingRequest
    write: Callable[[Sequence[Pooled]], Reply]
    reading: "PoolingReading"
    spoiling: Spoiling = field(default=EVENTS, kw_only=True)


class PoolingDialect(Protocol):
    """One API surface."""

    def parse(self, body: bytes, head: Head) -> PoolingCall:
        """Read a request.

        :raises vllmsim.errors.InferenceError: when the body is wrong, or the model is not served.
        """


@frozen(eq=False)
class PoolingReading:
    """What an answer tells about the request.

    :param id: the answer's id.
    :param model: the first served name.
    :param created: the time, in seconds since the epoch.
    :param padding: how many tokens every input has at least.
    :param request_id: the part of the answer's id that follows its prefix.
    :param asked: the model as the request names it, if it names one.
    """

    id: str
    model: str
    created: int
    padding: int
    request_id: str
    asked: str | None

    def tokens(self, pooled: Sequence[Pooled]) -> int:
        """Count the tokens that were read."""
        return sum(max(each.tokens, self.padding) for each in pooled)

    def listing(self, pooled: Sequence[Pooled], items: Iterable[bytes]) -> Reply:
        """Write a list.

        :param items: a JSON object for each input.
        """
        head = {"id": self.id, "object": "list", "created": self.created, "model": self.model}
        pieces = [orjson.dumps(head)[:-1] + b',"data":[']
        for item in items:
            pieces += (item, b",")
        if len(pieces) > 1:
            pieces.pop()
        pieces.append(b'],"usage":%s}' % orjson.dumps(usage(self.tokens(pooled), 0, None, nulls=True)))
        return Reply(pieces)
