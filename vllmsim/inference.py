# -*- test-case-name: tests.test_inference -*-
"""The values that travel between the rooms: requests go down, answers come up.

All are immutable. A request holds what every dialect can say about generation and nothing of how it was said.
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from attrs import evolve, frozen

from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.structure import PLAIN, Form

FinishReason: TypeAlias = Literal["stop", "length", "abort"]
PartKind: TypeAlias = Literal["reasoning", "text", "call"]
MediaKind: TypeAlias = Literal["image", "audio", "video"]

MAX_SEQUENCES: Final = 16384
"""The most choices of one prompt (vLLM's ``VLLM_MAX_N_SEQUENCES``)."""


@frozen
class Tokens:
    """A piece of text as a tokenizer cuts it.

    :param ids: one id per token.
    :param texts: each token's own text; joined they are the text, to the byte.
    """

    ids: Sequence[int]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)


@frozen
class Media:
    """An image, a sound or a film in a message. It is never fetched.

    :param source: its address, or its data in base64.
    """

    kind: MediaKind
    source: str


@frozen
class Message:
    """One turn of a conversation.

    :param role: who speaks; any text.
    :param text: the content flattened to text.
    :param tool_call_id: which call a tool's answer belongs to.
    :param media: what the content has beside text, in its order.
    """

    role: str
    text: str
    tool_call_id: str | None = None
    media: tuple[Media, ...] = ()


@frozen
class TextPrompt:
    """Text to be continued."""

    text: str


@frozen
class TokenPrompt:
    """Token ids to be continued."""

    ids: tuple[int, ...]


@frozen
class Conversation:
    """Messages to be answered; the tokenizer's chat template makes them one text. Never empty."""

    messages: tuple[Message, ...]

    @property
    def media(self) -> tuple[Media, ...]:
        """What all messages have beside text."""
        return tuple(each for message in self.messages for each in message.media)


Prompt: TypeAlias = TextPrompt | TokenPrompt | Conversation


@frozen
class TokenizedPrompt:
    """A prompt as the model would read it.

    :param prompt: what the client sent.
    :param text: the whole text, after the chat template.
    :param ids: the prompt's token ids.
    :param texts: each token's own text; empty for an id that means nothing to the tokenizer.
    """

    prompt: Prompt
    text: str
    ids: Sequence[int]
    texts: Sequence[str]


@frozen
class Sampling:
    """How an answer is to be chosen and where it ends: vLLM's sampling parameters.

    Fields that a simulator has no use for are kept because their ranges are checked.

    :param max_tokens: the most tokens of one choice, the ending token included; None for all that the context holds.
    :param min_tokens: no choice ends by itself before it has so many tokens.
    :param stop: texts that end a choice when they appear.
    :param stop_token_ids: tokens that end a choice.
    :param ignore_eos: go on after the end-of-sequence token.
    :param logprobs: how many alternatives to report per token; None for no log probabilities, -1 for all.
    :param prompt_logprobs: the same for the prompt's tokens.
    :param logit_bias: the tokens that are to be made more or less likely.
    :param allowed_token_ids: the tokens that may be chosen; None for all.
    """

    n: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    seed: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    logit_bias: tuple[int, ...] = ()
    allowed_token_ids: tuple[int, ...] | None = None

    @property
    def detailed(self) -> bool:
        """Whether the answer shows every token for itself, so that a long one takes long to write."""
        return self.logprobs is not None or self.prompt_logprobs is not None

    def check(self) -> None:
        """Check every range, in vLLM's order.

        :raises InvalidRequest: for the first field out of range.
        """
        self._check_count()
        self._check_penalties()
        self._check_distribution()
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InvalidRequest(
                f"min_tokens must be less than or equal to max_tokens={self.max_tokens}, got {self.min_tokens}."
            )
        if self.min_tokens < 0:
            raise InvalidRequest(f"min_tokens must be greater than or equal to 0, got {self.min_tokens}.")
        if "" in self.stop:
            raise InvalidRequest("stop cannot contain an empty string.")
        if self.temperature == 0 and self.n > 1:
            raise InvalidRequest(f"n must be 1 when using greedy sampling, got {self.n}.")

    def _check_count(self) -> None:
        if self.n < 1:
            raise InvalidRequest(f"n must be at least 1, got {self.n}.")
        if self.n > MAX_SEQUENCES:
            raise InvalidRequest(
                f"n must be at most {MAX_SEQUENCES}, got {self.n}. "
                "To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
            )

    def _check_penalties(self) -> None:
        for name in ("presence_penalty", "frequency_penalty"):
            value: float = getattr(self, name)
            if not -2 <= value <= 2:  # noqa: PLR2004 - OpenAI's range
                raise InvalidRequest(f"{name} must be in [-2, 2], got {value}.")
        if not self.repetition_penalty > 0:
            raise InvalidRequest(f"repetition_penalty must be greater than zero, got {self.repetition_penalty}.")

    def _check_distribution(self) -> None:
        temperature, top_p = self.temperature, self.top_p
        if temperature < 0:
            raise InvalidParameter(f"temperature must be non-negative, got {temperature}.", "temperature", temperature)
        if not temperature <= 2:  # noqa: PLR2004 - OpenAI's range
            raise InvalidParameter(f"temperature must be in [0, 2], got {temperature}.", "temperature", temperature)
        if not 0 < top_p <= 1:
            raise InvalidParameter(f"top_p must be in (0, 1], got {top_p}.", "top_p", top_p)
        if self.top_k < -1:
            raise InvalidRequest(f"top_k must be 0 (disable), or at least 1, got {self.top_k}.")
        if not 0 <= self.min_p <= 1:
            raise InvalidRequest(f"min_p must be in [0, 1], got {self.min_p}.")


@frozen
class InferenceRequest:
    """One call for text.

    :param request_id: the part of the answer's id that follows its prefix.
    :param named_by_client: whether the client chose `request_id`.
    :param model: the name answers and metrics carry: the first served name, or an adapter's.
    :param prompts: what to continue; each is answered ``sampling.n`` times. Choice ``i`` answers prompt ``i // n``.
    :param remote_prefill: whether another server has computed the prompt and its KV blocks are to be fetched.
    :param form: what its answers must be made of.
    :param prefix: what clients see before `request_id` in the answer's id, such as ``chatcmpl-``.
    """

    request_id: str
    named_by_client: bool
    model: str
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    remote_prefill: bool = False
    form: Form = PLAIN
    prefix: str = ""

    @property
    def answer_id(self) -> str:
        """The answer's id, as clients see it."""
        return self.prefix + self.request_id


@frozen
class Part:
    """A stretch of an answer that says one kind of thing. All numbers are of tokens.

    :param start: its first token, which may be a tag that no client sees.
    :param opens: the token with which clients learn of it: a call's name, or the first of the rest.
    :param first: the first token of its own text: reasoning, text, or a call's arguments.
    :param last: the token after the last of these.
    :param stop: the token after its last, which may be a tag again.
    :param name: the tool that is called.
    """

    kind: PartKind
    start: int
    opens: int
    first: int
    last: int
    stop: int
    name: str = ""

    def cut(self, length: int) -> "Part":
        """Leave out the tokens from `length` on."""
        return evolve(
            self,
            opens=min(self.opens, length),
            first=min(self.first, length),
            last=min(self.last, length),
            stop=min(self.stop, length),
        )


@frozen(eq=False)
class Composition:
    """What a model would say, before the stop rules.

    :param parts: what its tokens are; none for text and nothing else. Parts follow each other without gaps.
    """

    tokens: Tokens
    parts: tuple[Part, ...] = ()


@frozen(eq=False)
class Answer:
    """Everything one choice will say. The pacer decides when, the dialect how.

    :param ids: every generated token, the ending one included.
    :param texts: the tokens' own texts, as log probabilities show them.
    :param pieces: what each token adds to what the client sees; empty where text is held back or is not shown.
    :param finish_reason: why the last token is the last.
    :param stop_reason: the stop text or stop token that ended it, if one did.
    :param parts: what the tokens are; none for text and nothing else.
    """

    ids: Sequence[int]
    texts: Sequence[str]
    pieces: Sequence[str]
    finish_reason: FinishReason
    stop_reason: str | int | None = None
    parts: tuple[Part, ...] = ()

    @property
    def text(self) -> str:
        """The whole text the client sees, without reasoning and calls."""
        if not self.parts:
            return "".join(self.pieces)
        return "".join(self.said(part) for part in self.parts if part.kind == "text")

    @property
    def reasoning(self) -> str:
        """What was said in reasoning."""
        return "".join(self.said(part) for part in self.parts if part.kind == "reasoning")

    @property
    def reasoning_tokens(self) -> int:
        """How many tokens were spent on reasoning, without its tags."""
        return self.reasoning_tokens_before(len(self.ids))

    def reasoning_tokens_before(self, length: int) -> int:
        """Count those among the first `length` tokens."""
        return sum(max(0, min(part.last, length) - part.first) for part in self.parts if part.kind == "reasoning")

    @property
    def calls(self) -> tuple[Part, ...]:
        """The calls of tools whose names were said."""
        return tuple(part for part in self.parts if part.kind == "call" and part.opens < part.stop)

    def said(self, part: Part) -> str:
        """Join what a part says."""
        return "".join(self.pieces[part.first : part.last])

    def aborted(self, length: int) -> "Answer":
        """Make what is left of the answer when it is ended after its first `length` tokens."""
        parts = tuple(part.cut(length) for part in self.parts if part.start < length)
        return Answer(self.ids[:length], self.texts[:length], self.pieces[:length], "abort", parts=parts)

    def __len__(self) -> int:
        return len(self.ids)


NOTHING_SAID: Final = Answer((), (), (), "abort")
"""The answer of a choice that is ended before its first token."""


@frozen
class SequenceTimes:
    """When a sequence reached each stage, in seconds of the rank's clock."""

    arrived: float
    started: float
    first_token: float
    last_token: float
