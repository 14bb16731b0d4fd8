# -*- test-case-name: tests.api.scaleout.test_derender -*-
"""What clients of the derender routes give back: answers of ``/inference/v1/generate``, and the requests of these."""

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, Literal

from attrs import frozen
from pydantic import Field

from vllmsim.api.body import Body, Listed
from vllmsim.api.chat import ChatBody, chat_form
from vllmsim.api.chatanswer import ChatReading
from vllmsim.api.conversation import conversation_of
from vllmsim.api.dialect import Settings
from vllmsim.api.shapes.chat import PromptLogprob
from vllmsim.api.toolcalls import read_choice
from vllmsim.errors import InvalidRequest
from vllmsim.inference import InferenceRequest, TextPrompt
from vllmsim.sampling import MAX_SEQUENCES, Sampling

TokenId = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class GivenLogprob(Body):
    """A token and how likely it was."""

    token_id: TokenId
    logprob: float
    rank: int | None = None


class GivenEntry(GivenLogprob):
    """A generated token with its alternatives."""

    top_logprobs: Annotated[list[GivenLogprob], Field(fail_fast=True)] = []


class GivenLogprobs(Body):
    """Log probabilities of a choice."""

    content: Listed[GivenEntry] | None = None


class GivenChoice(Body):
    """A choice of a generate response, or of a chunk of one."""

    index: Count
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    token_ids: Listed[TokenId] | None = None
    logprobs: GivenLogprobs | None = None

    @property
    def ids(self) -> list[int]:
        """The token ids, of which there may be none."""
        return self.token_ids or []


class GivenAnswer(Body):
    """A generate response, as far as it matters."""

    request_id: str
    choices: Listed[GivenChoice]
    output_mode: Literal["tokens"] = "tokens"
    prompt_logprobs: Listed[dict[str, PromptLogprob] | None] | None = None
    prompt_token_ids: Listed[TokenId] | None = None
    kv_transfer_params: dict[str, Any] | None = None


@frozen(eq=False)
class Bounds:
    """How much one request may bring.

    :param tokens: of a choice or a prompt.
    :param logprobs: alternatives per token; -1 for any number.
    :param sequences: answers of a request, and choices of an answer.
    """

    tokens: int
    logprobs: int
    sequences: int = MAX_SEQUENCES

    def check(self, answers: Sequence[GivenAnswer]) -> None:
        """Check generate responses.

        :raises InvalidRequest: for the first thing of which there is too much.
        """
        self._check(len(answers), self.sequences, "generate_responses")
        for answer in answers:
            self._check(len(answer.choices), self.sequences, f"choices of {answer.request_id!r}")
            self._check(len(answer.prompt_logprobs or ()), self.tokens, f"prompt_logprobs of {answer.request_id!r}")
            self._check_choices(answer.choices)

    def check_stream(self, choices: Sequence[GivenChoice], before: Sequence[int] = ()) -> None:
        """Check a chunk of a stream.

        :param before: the tokens of its choice that came before.
        :raises InvalidRequest: when there is too much of something.
        """
        self._check(len(choices), 1, "choices of the chunk")
        length = len(before) + sum(len(choice.ids) for choice in choices)
        self._check(length, self.tokens, "output tokens")
        self._check_choices(choices)

    def _check_choices(self, choices: Iterable[GivenChoice]) -> None:
        for choice in choices:
            where = f"of choice {choice.index}"
            entries = (choice.logprobs.content if choice.logprobs else None) or []
            self._check(len(choice.ids), self.tokens, f"token_ids {where}")
            self._check(len(entries), self.tokens, f"logprobs.content {where}")
            if self.logprobs >= 0:
                most = max((len(entry.top_logprobs) for entry in entries), default=0)
                self._check(most, self.logprobs, f"top_logprobs {where}")

    @staticmethod
    def _check(count: int, limit: int, what: str) -> None:
        if count > limit:
            raise InvalidRequest(f"There are {count} {what}; at most {limit} are allowed.")


@frozen(eq=False)
class Conversed:
    """The chat request that token ids answer.

    :param reading: the request as it would have been read.
    :param reasons: whether reasoning is told from the rest.
    :param tools: the names of the tools whose calls are; None for none.
    """

    reading: ChatReading
    reasons: bool = False
    tools: Collection[str] | None = None


def converse(settings: Settings, model: str, chat: ChatBody | None) -> Conversed:
    """Read the chat request that token ids answer; None where all that matters is text.

    :raises InvalidRequest: when the request contradicts itself.
    """
    body = ChatBody(messages=[]) if chat is None else chat
    asked = body.model_copy(update={"prompt_logprobs": None, "kv_transfer_params": None})
    request = InferenceRequest("", named_by_client=False, model=model, prompts=(TextPrompt(""),), sampling=Sampling())
    if chat is None:
        return Conversed(ChatReading(settings, asked, request, settings.now()))
    conversation = conversation_of(chat.messages)
    form = chat_form(settings, chat, conversation)
    request = InferenceRequest("", False, model, (conversation,), Sampling(), form=form)
    tools = None
    if chat.tools and settings.tooling.parser and read_choice(chat.tool_choice).mode != "none":
        tools = [tool.tool().name for tool in chat.tools]
    return Conversed(ChatReading(settings, asked, request, settings.now()), settings.reasons, tools)
