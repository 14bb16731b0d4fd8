# -*- test-case-name: tests.dataset.test_echo -*-
"""Answers that repeat the question."""

import random

from attrs import frozen
from zope.interface import implementer

from vllmsim.inference import Conversation, Extent, TextPrompt, TokenizedPrompt, TokenPrompt, Tokens
from vllmsim.interfaces import IResponseSource, ITokenizer


@implementer(IResponseSource)
@frozen(eq=False)
class EchoSource:
    """Repeats the last message of a conversation, or the prompt of a completion, to the byte.

    A token id that means nothing to the tokenizer is repeated as its number. Where the answer must be longer than
    the question, the question is said again.
    """

    _tokenizer: ITokenizer

    async def respond(self, prompt: TokenizedPrompt, model: str, extent: Extent, generator: random.Random) -> Tokens:
        """Repeat the question as far as it may be."""
        source = prompt.prompt
        if isinstance(source, TokenPrompt):
            said = self._spell(source, extent.most)
        else:
            text = source.text if isinstance(source, TextPrompt) else _last_text(source)
            said = await self._tokenizer.encode(text, extent.most)
        return self._repeat(said, extent.least)

    def _spell(self, prompt: TokenPrompt, limit: int) -> Tokens:
        ids, look_up = prompt.ids[:limit], self._tokenizer.text_of
        last = len(ids) - 1
        texts = [
            f"{token}{',' if place < last else ''}" if not text and look_up(token) is None else text
            for place, (token, text) in enumerate(zip(ids, self._tokenizer.texts_of(ids), strict=True))
        ]
        return Tokens(ids, texts)

    def _repeat(self, said: Tokens, least: int) -> Tokens:
        if len(said) >= least:
            return said
        if not said.ids:
            return Tokens([self._tokenizer.eos_id] * least, [""] * least)
        times = -(-least // len(said))
        return Tokens((list(said.ids) * times)[:least], (list(said.texts) * times)[:least])


def _last_text(conversation: Conversation) -> str:
    return conversation.messages[-1].text
