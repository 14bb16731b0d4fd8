# -*- test-case-name: tests.dataset.test_sentences -*-
"""Answers made of sentences chosen at random."""

import random
from typing import Final

from attrs import define, field
from zope.interface import implementer

from vllmsim.dataset.lengths import free_length, limited_length
from vllmsim.inference import TokenizedPrompt, Tokens
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


@implementer(IResponseSource)
@define(eq=False)
class SentenceSource:
    """Says sentences from a bank, one after the other, the last one cut where the length is reached.

    Lengths are those of :mod:`vllmsim.dataset.lengths`.
    """

    _tokenizer: ITokenizer
    _bank: tuple[Tokens, ...] = field(init=False, default=())

    async def respond(
        self, prompt: TokenizedPrompt, least: int, limit: int, explicit: bool, generator: random.Random
    ) -> Tokens:
        """Say as many tokens as the draw of the length says."""
        if not self._bank:
            self._bank = tuple([await self._tokenizer.encode(text, len(text)) for text in SENTENCES])
        length = limit
        if least < limit:
            length = max(least, (limited_length if explicit else free_length)(limit, generator))
        ids: list[int] = []
        texts: list[str] = []
        while len(ids) < length:
            sentence = generator.choice(self._bank)
            ids += sentence.ids
            texts += sentence.texts
        return Tokens(ids[:length], texts[:length])
