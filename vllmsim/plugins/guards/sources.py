# -*- test-case-name: tests.plugins.guards.test_sources -*-
"""A response source that comes from a plugin."""

import random

from attrs import define
from zope.interface import implementer

from vllmsim.inference import Extent, TokenizedPrompt, Tokens
from vllmsim.interfaces import IResponseSource, ITokenizer
from vllmsim.plugins.guards.blame import Blame
from vllmsim.plugins.guards.tokens import checked


@implementer(IResponseSource)
@define(eq=False)
class GuardedSource:
    """Looks at what a source says. What is longer than it may be is cut, and what is shorter is said again."""

    _source: IResponseSource
    _tokenizer: ITokenizer
    _blame: Blame

    async def respond(self, prompt: TokenizedPrompt, model: str, extent: Extent, generator: random.Random) -> Tokens:
        """Have the source respond; see :class:`vllmsim.interfaces.IResponseSource`.

        :raises vllmsim.errors.InferenceError: when the source breaks, or refuses.
        """
        said = await self._blame.wait(self._respond, prompt, model, extent, generator)
        return said if len(said) >= extent.least else self._repeated(said, extent.least)

    async def _respond(self, prompt: TokenizedPrompt, model: str, extent: Extent, generator: random.Random) -> Tokens:
        said = await self._source.respond(prompt, model, extent, generator)
        return checked(said, self._tokenizer.vocabulary_size, extent.most)

    def _repeated(self, said: Tokens, least: int) -> Tokens:
        if not said.ids:
            return Tokens((self._tokenizer.eos_id,) * least, ("",) * least)
        times = -(-least // len(said))
        return Tokens((tuple(said.ids) * times)[:least], (tuple(said.texts) * times)[:least])
