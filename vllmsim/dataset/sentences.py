# -*- test-case-name: tests.dataset.test_sentences -*-
"""Answers made of sentences chosen at random."""

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

from attrs import define, field, frozen
from zope.interface import implementer

from vllmsim.dataset.lengths import free_length, limited_length
from vllmsim.inference import Extent, TokenizedPrompt, Tokens
from vllmsim.interfaces import IResponseSource, ITokenizer

SENTENCES: Final = (
    "No weights were loaded for this answer. ",
    "The queue is short, the cache is cold, and the clock is patient. ",
    "Every token you read here was scheduled, not thought. ",
    "A router that trusts its metrics sleeps better than one that trusts its luck. ",
    "First comes the prefill, then the decode, then the silence after the last token. ",
    "Somewhere a dashboard turns green. ",
    "If the load grows, the gaps between these words may grow with it. ",
    "Please mind the step between the benchmark and the truth. ",
    "Seventeen replicas walked into a cluster; three of them were ready. ",
    "This sentence costs nothing, which is rather the point of it. ",
    "The autoscaler looked left, looked right, and added one more pod. ",
    "Blocks are reused from the front, forgotten from the back, and counted in between. ",
    "Ask again with another seed. ",
    "It rained on the rack all night, or so the fans made it sound. ",
    "Between two heartbeats of the scheduler there is room for exactly one good idea. ",
    "Timeouts are promises that someone stopped believing in. ",
    "Of course; here is what you asked for, at the speed you configured. ",
    "The gateway forwarded the question, and nobody downstream was surprised. ",
    "Measure twice, stream once. ",
    "One slot opened, and the oldest waiting request stepped through the door. ",
    "Latency has a tail, and the tail has opinions. ",
    "A test that cannot fail tells you the time and nothing else. ",
    "When in doubt, read the last chunk: it knows why it is the last. ",
    "All GPUs in this story are imaginary. ",
)


@frozen(eq=False)
class _Bank:
    """The sentences as tokens. Many tokenizers join the blank between two sentences to one of them.

    :param first: the sentences at the beginning of an answer.
    :param further: the sentences behind another.
    """

    first: tuple[Tokens, ...]
    further: tuple[Tokens, ...]
    joins: bool = field(init=False)
    """Whether sentences say the same in any order: the blank between two belongs to the same side of each."""

    @joins.default
    def _look(self) -> bool:
        first, further = (["".join(said.texts) for said in bank] for bank in (self.first, self.further))
        bare = [sentence.rstrip() for sentence in SENTENCES]
        return (first, further) in (([*SENTENCES],) * 2, (bare, [f" {sentence}" for sentence in bare]))


@implementer(IResponseSource)
@define(eq=False)
class SentenceSource:
    """Says sentences from a bank, one after the other, the last one cut where the length is reached.

    Lengths are those of :mod:`vllmsim.dataset.lengths`.
    """

    _tokenizer: ITokenizer
    _bank: _Bank | None = field(init=False, default=None)

    async def respond(self, prompt: TokenizedPrompt, model: str, extent: Extent, generator: random.Random) -> Tokens:
        """Say as many tokens as the draw of the length says."""
        bank = self._bank
        if bank is None:
            bank = self._bank = await self._tokenize()
        length = extent.most
        if extent.least < length:
            length = max(extent.least, (limited_length if extent.explicit else free_length)(length, generator))
        said = generator.choice(bank.first)
        ids, texts = [*said.ids], [*said.texts]
        while len(ids) < length:
            said = generator.choice(bank.further)
            ids += said.ids
            texts += said.texts
        del ids[length:]
        return Tokens(ids, texts[:length] if bank.joins else self._tokenizer.texts_of(ids))

    async def _tokenize(self) -> _Bank:
        after = (*SENTENCES[1:], SENTENCES[0])
        first = [(await self._runs((sentence, then)))[0] for sentence, then in zip(SENTENCES, after, strict=True)]
        around = await self._runs((SENTENCES[-1], *SENTENCES, SENTENCES[0]))
        return _Bank(tuple(first), tuple(around[1:-1]))

    async def _runs(self, sentences: Sequence[str]) -> list[Tokens]:
        """Tokenize sentences as one text.

        :return: for each the tokens that end in it, at least one.
        """
        text = "".join(sentences)
        tokens = await self._tokenizer.encode(text, len(text.encode()))
        ends = list(accumulate(map(len, tokens.texts)))
        if not ends or ends[-1] != len(text):
            # This tokenizer does not say what it is told: where a sentence ends cannot be told.
            return [await self._alone(sentence) for sentence in sentences]
        borders = [0, *(bisect_right(ends, end) for end in accumulate(map(len, sentences)))]
        for place, border in enumerate(borders):
            # A blank that is a token belongs to what follows it, as one does that is joined to a word.
            if border and tokens.texts[border - 1].isspace():
                borders[place] -= 1
        return [Tokens(tokens.ids[a:b], tokens.texts[a:b]) for a, b in pairwise(borders)]

    async def _alone(self, sentence: str) -> Tokens:
        tokens = await self._tokenizer.encode(sentence, len(sentence))
        return tokens if len(tokens) else Tokens((self._tokenizer.eos_id,), ("",))
