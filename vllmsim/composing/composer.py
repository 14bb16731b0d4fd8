# -*- test-case-name: tests.composing.test_composer -*-
"""What an answer is made of: reasoning if the server reasons, then calls of tools, a structured output, or plain text.

Reasoning stands between two tags and a call between two tags behind its name, none of which clients see in the text.
With the word tokenizer each of them is one token; a call so has three tokens beside its arguments, as in
llm-d-inference-sim.
"""

import random
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson
from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from zope.interface import implementer

from vllmsim.clocks.standstill import Standstill
from vllmsim.composing.calls import choose_calls
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Composition, Extent, Part, PartKind, TokenizedPrompt, Tokens
from vllmsim.interfaces import IComposer, IResponseSource, ITokenizer
from vllmsim.structure import CALL, THINK, ChoiceOutput, Form, JsonOutput, RegexOutput, StructuredOutput, Tool
from vllmsim.structured.door import sample_pattern, schema_sampler
from vllmsim.structured.references import REFERENCES
from vllmsim.structured.values import Ranges, json_text

if TYPE_CHECKING:
    from vllmsim.structured.schemas import SchemaSampler

_INLINE_BYTES: Final = 4096
_ENDLESS: Final = tuple(f'"{keyword}"'.encode() for keyword in REFERENCES)
"""What lets a schema of some bytes have values of any depth, which take longer than their number tells."""
_REMEMBERED: Final = 256
"""How many samplers are remembered: of small schemas, as large ones take memory."""
_MOST_REASONING: Final = 0.9
"""The largest share of reasoning in an answer that must say something else too."""

Tags: TypeAlias = tuple[Tokens, Tokens]
Sources: TypeAlias = Callable[[ITokenizer], tuple[IResponseSource, IResponseSource]]


@define(eq=False)
class _Script:
    """Tokens and parts in the making."""

    _tokenizer: ITokenizer
    ids: list[int] = field(factory=list)
    texts: list[str] = field(factory=list)
    parts: list[Part] = field(factory=list)

    def add(self, kind: PartKind, said: Tokens, tags: Tags | None = None, name: str = "") -> None:
        """Add a part.

        :param tags: what stands before and behind it.
        :param name: the tool that is called.
        """
        start = len(self.ids)
        if tags:
            self._append(tags[0])
        opens = len(self.ids)
        if name:
            self._append(self._tokenizer.tag(name))
            opens = len(self.ids) - 1
        first = len(self.ids)
        self._append(said)
        last = len(self.ids)
        if tags:
            self._append(tags[1])
        self.parts.append(Part(kind, start, opens, first, last, len(self.ids), name))

    def _append(self, said: Tokens) -> None:
        self.ids += said.ids
        self.texts += said.texts

    def composed(self) -> Composition:
        """Finish."""
        return Composition(Tokens(self.ids, self.texts), tuple(self.parts))


@frozen
class Habits:
    """What answers are like where nobody says.

    :param ranges: values for what schemas leave open.
    :param extra_calls: the probability of one more call, from 0 to 1.
    :param reasoning_share: how much of an answer is reasoning, from 0 to 1; 0 for a server that does not reason.
    """

    ranges: Ranges
    extra_calls: float
    reasoning_share: float


@implementer(IComposer)
@define(eq=False)
class Composer:
    """Composes answers.

    :param source: says plain text.
    :param thoughts: says reasoning.
    :param defer_to_thread: runs a function off the reactor; large schemas, and those with references, are worked on
        there.
    :param sources: makes what says plain text and reasoning in the tokens of another tokenizer; None where nobody asks.
    :param standstill: hears of answers that are being composed.
    """

    _source: IResponseSource
    _thoughts: IResponseSource
    _tokenizer: ITokenizer
    _defer_to_thread: Callable[..., Deferred[str]]
    _habits: Habits
    _sources: Sources | None = None
    _standstill: Standstill = field(factory=Standstill)
    _other: "tuple[ITokenizer, Composer] | None" = field(init=False, default=None)
    """The tokenizer that was asked for last, and one that speaks in its tokens."""
    _samplers: OrderedDict[bytes, "SchemaSampler"] = field(init=False, factory=OrderedDict)

    def adapted(self, habits: Habits) -> "Composer":
        """Make one like this with other habits; it is this one if they are the same."""
        return self if habits == self._habits else evolve(self, habits=habits)

    def speaking(self, tokenizer: ITokenizer) -> "Composer":
        """Find one like this that says everything in other tokens: the same each time for the same tokenizer."""
        if self._other is None or self._other[0] is not tokenizer:
            assert self._sources is not None
            source, thoughts = self._sources(tokenizer)
            self._other = tokenizer, evolve(self, source=source, thoughts=thoughts, tokenizer=tokenizer)
        return self._other[1]

    async def compose(
        self, prompt: TokenizedPrompt, model: str, form: Form, extent: Extent, generator: random.Random
    ) -> Composition:
        """Compose one choice; see :class:`vllmsim.interfaces.IComposer`."""
        share = self._habits.reasoning_share if form.thinks and form.thinking_budget != 0 else 0.0
        with self._standstill:
            if not (form.tools or form.output or share):
                return Composition(await self._source.respond(prompt, model, extent, generator))
            return await self._compose(prompt, model, form, share, extent, generator)

    async def _compose(
        self,
        prompt: TokenizedPrompt,
        model: str,
        form: Form,
        share: float,
        extent: Extent,
        generator: random.Random,
    ) -> Composition:
        script, limit = _Script(self._tokenizer), extent.most
        think = self._tags(THINK)
        calls = choose_calls(form.tools, self._habits.extra_calls, generator) if form.tools else ()
        budget = limit if form.thinking_budget is None else form.thinking_budget
        if calls:
            arguments: list[Tokens] = []
            tags = self._tags(CALL)
            length = 0
            for tool in calls:
                arguments.append(await self._arguments(tool, limit, generator))
                length += len(arguments[-1]) + _length(tags) + len(self._tokenizer.tag(tool.name))
                if length >= limit:
                    break
            thought = min(_ratio(length, share), limit - length - _length(think) - 1, budget)
            await self._think(script, prompt, model, thought, generator)
            for tool, said in zip(calls, arguments, strict=False):
                script.add("call", said, tags, tool.name)
        elif form.output is not None:
            text = await self._text(form.output, generator)
            said = await self._tokenizer.encode(text, limit)
            thought = min(_ratio(len(said), share), limit - len(said) - _length(think) - 1, budget)
            await self._think(script, prompt, model, thought, generator)
            script.add("text", said)
        else:
            await self._say(script, prompt, model, share, budget, extent, generator)
        return script.composed()

    def _tags(self, texts: tuple[str, str]) -> Tags:
        return self._tokenizer.tag(texts[0]), self._tokenizer.tag(texts[1])

    async def _say(
        self,
        script: _Script,
        prompt: TokenizedPrompt,
        model: str,
        share: float,
        budget: int,
        extent: Extent,
        generator: random.Random,
    ) -> None:
        """Say text, after reasoning that has its share of it."""
        limit, tags = extent.most, self._tags(THINK)
        beside = _length(tags)
        most = min(int(limit * share), budget + beside)
        room = limit - most if most > beside else limit
        alone = share == 1 and most == limit
        room = max(limit - beside if alone else room, 1)
        said = await self._source.respond(
            prompt, model, Extent(min(extent.least, room), room, extent.explicit), generator
        )
        if alone:
            script.add("reasoning", said, tags)
            return
        thought = most - beside if len(said) == room else min(most - beside, _ratio(len(said), share))
        await self._think(script, prompt, model, thought, generator)
        script.add("text", said)

    async def _think(
        self, script: _Script, prompt: TokenizedPrompt, model: str, length: int, generator: random.Random
    ) -> None:
        if length > 0:
            said = await self._thoughts.respond(prompt, model, Extent(length, length, explicit=False), generator)
            script.add("reasoning", said, self._tags(THINK))

    async def _arguments(self, tool: Tool, limit: int, generator: random.Random) -> Tokens:
        schema = {} if tool.parameters is True else tool.parameters
        text = None
        if isinstance(schema, dict) and "type" not in schema:
            # Arguments are an object where the schema does not say, and anything else only where it allows none.
            with suppress(InvalidRequest):
                text = await self._json({"type": "object", **schema}, generator)
        return await self._tokenizer.encode(text or await self._json(schema, generator), limit)

    async def _text(self, output: StructuredOutput, generator: random.Random) -> str:
        if isinstance(output, ChoiceOutput):
            return generator.choice(output.choices)
        if isinstance(output, RegexOutput):
            if len(output.pattern) <= _INLINE_BYTES:
                return sample_pattern(output.pattern, generator)
            return await self._defer_to_thread(sample_pattern, output.pattern, generator)
        assert isinstance(output, JsonOutput)
        return await self._json(output.schema, generator)

    async def _json(self, schema: dict[str, Any] | bool, generator: random.Random) -> str:
        try:
            key = orjson.dumps(schema)
        except TypeError:
            raise InvalidRequest("A JSON schema is nested too deeply, or has an integer beyond 64 bits.") from None
        if len(key) > _INLINE_BYTES or any(word in key for word in _ENDLESS):
            return await self._defer_to_thread(self._sample, schema, generator)
        sampler = self._samplers.get(key)
        if sampler is None:
            sampler = self._samplers[key] = schema_sampler(schema, self._habits.ranges)
            if len(self._samplers) > _REMEMBERED:
                self._samplers.popitem(last=False)
        self._samplers.move_to_end(key)
        return json_text(sampler.sample(generator))

    def _sample(self, schema: dict[str, Any] | bool, generator: random.Random) -> str:
        return json_text(schema_sampler(schema, self._habits.ranges).sample(generator))


def _ratio(length: int, share: float) -> int:
    """Count the tokens of reasoning that go with so many of the rest."""
    share = min(share, _MOST_REASONING)
    return round(length * share / (1 - share))


def _length(tags: Tags) -> int:
    return len(tags[0]) + len(tags[1])
