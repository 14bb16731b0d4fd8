# -*- test-case-name: tests.dataset.test_echo -*-
"""Answers that repeat the question."""

import random

from attrs import frozen
from zope.interface import implementer

from vllmsim.inference import Conversation, TextPrompt, TokenizedPrompt, TokenPrompt, Tokens
from vllmsim.interfaces import IResponseSource, ITokenizer


@implementer(IResponseSource)
@frozen(eq=False)
class EchoSource:
    """Repeats the last message of a conversation, or the prompt of a completion, to the byte.

    A token id that means nothing to the tokenizer is repeated as its number. Where the answer must be longer than
    the question, the question is said again.
    """

    _tokenizer: ITokenizer

    async def respond(
        self, prompt: TokenizedPrompt, least: int, limit: int, explicit: bool, generator: random.Random
    ) -> Tokens:
        """Repeat the question up to `limit` tokens."""
        source = prompt.prompt
        if isinstance(source, TokenPrompt):
            said = self._spell(source, limit)
        else:
            text = source.text if isinstance(source, TextPrompt) else _last_text(source)
            said = await self._tokenizer.encode(text, limit)
        return self._repeat(said, least)

    def _spell(self, prompt: TokenPrompt, limit: int) -> Tokens:
        ids = prompt.ids[:limit]
        texts = [self._tokenizer.text_of(token) for token in ids]
        last = len(texts) - 1
        return Tokens(
            ids, [f"{ids[i]}{',' if i < last else ''}" if text is None else text for i, text in enumerate(texts)]
        )

    def _repeat(self, said: Tokens, least: int) -> Tokens:
        if len(said) >= least:
            return said
        if not said.ids:
            return Tokens([self._tokenizer.eos_id] * least, [""] * least)
        times = -(-least // len(said))
        return Tokens((list(said.ids) * times)[:least], (list(said.texts) * times)[:least])


def _last_text(conversation: Conversation) -> str:
    return conversation.messages[-1].text
