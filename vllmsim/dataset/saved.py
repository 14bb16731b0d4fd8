# -*- test-case-name: tests.dataset.test_saved -*-
"""Answers that were given before, from datasets."""

import random
from collections.abc import Mapping

from attrs import define
from zope.interface import implementer

from vllmsim.dataset.conversations import Conversations
from vllmsim.dataset.records import Saved
from vllmsim.inference import Extent, TokenizedPrompt, Tokens
from vllmsim.interfaces import IRankMetrics, IResponseSource, ITokenizer


@implementer(IResponseSource)
@define(eq=False)
class SavedAnswers:
    """Says what a dataset has as the answer to a prompt, or to another one where it has none.

    An answer is cut where it is too long, and sentences are added where it is too short.

    :param by_model: the dataset of each model that has one of its own.
    :param usual: that of all others; None to say sentences for them.
    :param sentences: says something when there is no answer to be had.
    :param foreign: whether the tokens of datasets are those of another tokenizer.
    """

    _by_model: Mapping[str, Conversations]
    _usual: Conversations | None
    _sentences: IResponseSource
    _tokenizer: ITokenizer
    _metrics: IRankMetrics
    _foreign: bool = False

    async def respond(self, prompt: TokenizedPrompt, model: str, extent: Extent, generator: random.Random) -> Tokens:
        """Say what the model's dataset has."""
        conversations = self._by_model.get(model, self._usual)
        if conversations is None:
            return await self._sentences.respond(prompt, model, extent, generator)
        finding = await conversations.find(prompt, extent, generator)
        self._metrics.dataset_asked(conversations.name, finding.result, finding.trouble)
        said = Tokens((), ()) if finding.saved is None else await self._tokens(finding.saved, extent.most)
        if not len(said):
            return await self._sentences.respond(prompt, model, extent, generator)
        missing = extent.least - len(said)
        if missing <= 0:
            return said
        more = await self._sentences.respond(prompt, model, Extent(missing, missing, explicit=True), generator)
        return Tokens((*said.ids, *more.ids), (*said.texts, *more.texts))

    async def _tokens(self, saved: Saved, most: int) -> Tokens:
        if saved.ids is None or (self._foreign and saved.texts is not None):
            return await self._tokenizer.encode("".join(saved.texts or ()), most)
        ids = saved.ids[:most]
        return Tokens(ids, self._tokenizer.texts_of(ids) if saved.texts is None else saved.texts[:most])
