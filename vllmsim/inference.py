# -*- test-case-name: tests.test_inference -*-
"""The values that travel between the rooms: requests go down, answers come up.

All are immutable. A request holds what every dialect can say about generation and nothing of how it was said.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar

from attrs import evolve, field, frozen

from vllmsim.sampling import Sampling
from vllmsim.structure import PLAIN, Form

FinishReason: TypeAlias = Literal["stop", "length", "abort", "cache_threshold"]
PartKind: TypeAlias = Literal["reasoning", "text", "call"]
MediaKind: TypeAlias = Literal["image", "audio", "video"]

T = TypeVar("T")


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
    :param text: the content and the calls of tools flattened to text.
    :param tool_call_id: which call a tool's answer belongs to.
    :param media: what the content has beside text, in its order.
    :param turn: the same as chat templates read it, a message in OpenAI's form: ``content`` as text, or as the blocks
        that the client sent; ``tool_calls`` whose ``arguments`` are text; ``reasoning``; ``name``.
    """

    role: str
    text: str
    tool_call_id: str | None = None
    media: tuple[Media, ...] = ()
    turn: Mapping[str, Any] = field(eq=False, repr=False)

    @turn.default
    def _plain_turn(self) -> Mapping[str, Any]:
        call = {} if self.tool_call_id is None else {"tool_call_id": self.tool_call_id}
        return {"role": self.role, "content": self.text, **call}


@frozen
class TextPrompt:
    """Text to be continued.

    :param special: whether the tokenizer puts its special tokens around it, as the model's configuration says.
    """

    text: str
    special: bool = True


@frozen
class Span:
    """Tokens of a prompt that stand for an image, a sound or a film.

    :param identifier: the item's hash.
    :param offset: the first of them.
    :param length: how many they are, at least 1.
    :param kind: what it is: ``image``, ``audio``, ``video``, or what a client says of tokens of its own.
    """

    identifier: str
    offset: int
    length: int
    kind: str = "image"


@frozen
class TokenPrompt:
    """Token ids to be continued.

    :param media: what some of them stand for.
    """

    ids: tuple[int, ...]
    media: tuple[Span, ...] = ()


@frozen
class Template:
    """What a request says of the chat template.

    :param begins: whether the answer is a turn of its own, so that the text ends where that begins.
    :param goes_on: whether the answer goes on with the last message.
    :param source: a template in Jinja's language that the request brings, and that takes the place of the model's.
    :param tools: definitions of functions, in OpenAI's form.
    :param documents: what the answer is to draw on.
    :param arguments: whatever else the template is told, by name.
    :param special: whether the tokenizer puts its special tokens around the text; templates write their own.
    """

    begins: bool = True
    goes_on: bool = False
    source: str | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    documents: tuple[Mapping[str, Any], ...] | None = None
    arguments: Mapping[str, Any] = field(factory=dict)
    special: bool = False


PLAIN_TEMPLATE: Final = Template()
"""What a request that says nothing says."""


@frozen
class Conversation:
    """Messages to be answered; the tokenizer's chat template makes them one text. Never empty."""

    messages: tuple[Message, ...]
    template: Template = field(default=PLAIN_TEMPLATE, eq=False)

    @property
    def media(self) -> tuple[Media, ...]:
        """What all messages have beside text."""
        return tuple(each for message in self.messages for each in message.media)


Prompt: TypeAlias = TextPrompt | TokenPrompt | Conversation


@frozen
class Cut:
    """How a prompt is shortened.

    :param tokens: the most tokens that are left, at least 0.
    :param side: which end is cut off.
    """

    tokens: int
    side: Literal["left", "right"] = "right"

    def apply(self, items: Sequence[T]) -> Sequence[T]:
        """Shorten a prompt's tokens, or their texts."""
        if self.side == "right":
            return items[: self.tokens]
        return items[max(0, len(items) - self.tokens) :]

    def spans(self, media: Iterable[Span], length: int) -> tuple[Span, ...]:
        """Find what is left of spans in a prompt's tokens, and where that is then.

        :param length: how many tokens the prompt has.
        """
        first = 0 if self.side == "right" else max(0, length - self.tokens)
        stop = min(length, first + self.tokens)
        left = []
        for span in media:
            start, end = max(first, span.offset), min(stop, span.offset + span.length)
            if start < end:
                left.append(evolve(span, offset=start - first, length=end - start))
        return tuple(left)


@frozen
class TokenizedPrompt:
    """A prompt as the model would read it.

    :param prompt: what the client sent.
    :param text: the whole text, after the chat template.
    :param ids: the prompt's token ids.
    :param texts: each token's own text; empty for an id that means nothing to the tokenizer.
    :param media: which of them stand for images, sounds and films, by offset.
    """

    prompt: Prompt
    text: str
    ids: Sequence[int]
    texts: Sequence[str]
    media: tuple[Span, ...] = ()


@frozen
class Adapter:
    """A LoRA adapter.

    :param path: where its weights would be; the name if nobody said.
    :param parent: the name of the model it adapts.
    :param number: how many adapters had been loaded when it was, this one included.
    """

    name: str
    path: str
    parent: str
    number: int


@frozen(eq=False)
class HashedPrompt:
    """A prompt as the KV cache knows it: its full blocks by their hashes.

    :param ids: all its token ids.
    :param hashes: one for each full block, each depending on all before it.
    :param keys: for each full block what was hashed beside the tokens, as events tell it: names of adapters, salts,
        and pairs of a media item's hash and its offset in the block; None for nothing.
    :param adapter: the adapter that all blocks of the sequence belong to.
    :param shared: how many leading blocks a cache outside this server has.
    :param tail: what is hashed with the block that its last tokens begin and an answer's fill; each has a tag before
        what events tell.
    """

    ids: Sequence[int]
    hashes: Sequence[bytes] = ()
    keys: Sequence[tuple[Any, ...] | None] = ()
    adapter: Adapter | None = None
    shared: int = 0
    tail: tuple[tuple[Any, ...], ...] | None = None

    def between(self, answer: Sequence[int], start: int, stop: int) -> Sequence[int]:
        """Cut out some of the ids of the prompt and of its answer behind it."""
        length = len(self.ids)
        if stop <= length:
            return self.ids[start:stop]
        return [*self.ids[start:], *answer[max(0, start - length) : stop - length]]


@frozen(eq=False)
class StoredBlocks:
    """Blocks of one sequence that became full together.

    :param hashes: one for each, in their order in the sequence.
    :param parent: the hash of the block before the first; None for the sequence's first.
    :param ids: the tokens of all, one block after the other.
    :param keys: those of :class:`HashedPrompt`, one for each block.
    :param adapter: the adapter that they belong to.
    """

    hashes: Sequence[bytes]
    parent: bytes | None
    ids: Sequence[int]
    keys: Sequence[tuple[Any, ...] | None]
    adapter: Adapter | None = None


@frozen
class Prefill:
    """Where the tokens of one prompt come from, and where they went.

    :param tokens: how many there are.
    :param cached: how many of them this server's own prefix cache had.
    :param external: how many were fetched: from the server that ran the prefill, or from a cache outside.
    :param blocks: the ids of the KV blocks that have them; none where no blocks are simulated.
    :param rank: the data-parallel rank that has them.
    """

    tokens: int
    cached: int = 0
    external: int = 0
    blocks: tuple[int, ...] = field(default=(), repr=False)
    rank: int = 0

    @property
    def found(self) -> int:
        """How many tokens were not computed here: what usage calls ``cached_tokens``."""
        return self.cached + self.external

    @property
    def computed(self) -> int:
        """How many tokens were computed here."""
        return self.tokens - self.found

    def created(self, block_size: int) -> int:
        """Count the tokens of full blocks that were computed here, for all to find."""
        return max(0, self.tokens // block_size - -(-self.found // block_size)) * block_size


NOT_PREFILLED: Final = Prefill(0)
"""A prompt of which nothing is known yet."""


@frozen
class RankLoad:
    """How much one data-parallel rank has to do.

    :param in_flight: requests that have come and are not answered yet.
    :param waiting: sequences that wait for a slot, or for KV blocks.
    :param running: sequences that do not.
    :param cache_usage: the share of KV blocks that sequences have, from 0 to 1.
    """

    in_flight: int = 0
    waiting: int = 0
    running: int = 0
    cache_usage: float = 0.0


@frozen
class Extent:
    """How long an answer may be, in tokens.

    :param least: the fewest tokens it may have, at most `most`.
    :param most: the most tokens it may have, at least 1.
    :param explicit: whether the client asked for that limit, or it is just what the context holds.
    """

    least: int
    most: int
    explicit: bool


@frozen
class Disturbance:
    """What goes wrong with the time of an answer, on purpose. Times are seconds.

    :param first_token: how much later the first token is due.
    :param stall: how long nothing comes after the token before `stall_at`; infinity for ever.
    :param stall_at: the token that is due so much later.
    """

    first_token: float = 0.0
    stall: float = 0.0
    stall_at: int = 0


@frozen
class InferenceRequest:
    """One call for text.

    :param request_id: the part of the answer's id that follows its prefix.
    :param named_by_client: whether the client chose `request_id`.
    :param model: the name answers and metrics carry: the first served name, or an adapter's.
    :param adapter: the adapter of that name; None for the base model.
    :param prompts: what to continue; each is answered ``sampling.n`` times. Choice ``i`` answers prompt ``i // n``.
    :param remote_prefill: whether another server has computed the prompt and its KV blocks are to be fetched.
    :param remote_tokens: how many tokens that server has computed; None for the whole prompt.
    :param form: what its answers must be made of.
    :param cut: how each prompt is shortened before its length is checked; None to leave them as they are.
    :param prefix: what clients see before `request_id` in the answer's id, such as ``chatcmpl-``.
    :param cache_salt: who shares KV blocks with this request: those with the same salt.
    :param reads_cache: whether it may be served from the prefix cache; what it computes goes there all the same.
    :param hit_threshold: the share of the prompt, from 0 to 1, that must be cached for the request to be served; None
        for what the server wants.
    :param below_threshold: whether it is to be answered as if less were cached than that, whatever there is.
    :param repeats_prompt: whether each choice of its answer tells the prompt again.
    :param priority: which of those that wait is served first: the one with the lowest.
    :param rank: which data-parallel rank is to serve it; None for any.
    :param disturbance: what goes wrong with its time; None for nothing.
    :param behaviour: how it is served, as scheduling knows it; None for how those are that come now.
    :param asked: the model as the request names it, if it names one.
    :param tokenizer: has the tokens that its prompts are read in and its answers made of, as scheduling knows it; None
        for the rank's own.
    """

    request_id: str
    named_by_client: bool
    model: str
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    remote_prefill: bool = False
    form: Form = PLAIN
    cut: Cut | None = None
    prefix: str = ""
    remote_tokens: int | None = None
    cache_salt: str | None = None
    reads_cache: bool = True
    hit_threshold: float | None = None
    below_threshold: bool = False
    repeats_prompt: bool = False
    priority: int = 0
    rank: int | None = None
    disturbance: Disturbance | None = None
    behaviour: object = None
    asked: str | None = None
    adapter: Adapter | None = None
    tokenizer: object = None

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
    :param prefill: how the prompt that it answers was computed.
    """

    ids: Sequence[int]
    texts: Sequence[str]
    pieces: Sequence[str]
    finish_reason: FinishReason
    stop_reason: str | int | None = None
    parts: tuple[Part, ...] = ()
    prefill: Prefill = NOT_PREFILLED

    @property
    def refused(self) -> bool:
        """Whether there is none, since too little of the prompt is cached."""
        return self.finish_reason == "cache_threshold"

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

    def prefilled(self, prefill: Prefill) -> "Answer":
        """Say how the prompt was computed that it answers."""
        return Answer(self.ids, self.texts, self.pieces, self.finish_reason, self.stop_reason, self.parts, prefill)

    def aborted(self, length: int) -> "Answer":
        """Make what is left of the answer when it is ended after its first `length` tokens."""
        parts = tuple(part.cut(length) for part in self.parts if part.start < length)
        ids, texts, pieces = self.ids[:length], self.texts[:length], self.pieces[:length]
        return Answer(ids, texts, pieces, "abort", parts=parts, prefill=self.prefill)

    def __len__(self) -> int:
        return len(self.ids)


NOTHING_SAID: Final = Answer((), (), (), "abort")
"""The answer of a choice that is ended before its first token."""


NOT_CACHED: Final = Answer((), (), (), "cache_threshold")
"""The answer of a choice that is not served since too little of its prompt is cached."""


@frozen
class SequenceTimes:
    """When a sequence reached each stage, in seconds of the rank's clock."""

    arrived: float
    started: float
    first_token: float
    last_token: float
