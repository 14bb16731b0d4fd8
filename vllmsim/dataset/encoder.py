# -*- test-case-name: tests.dataset.test_encoder -*-
"""The answers of a server that encodes media and generates nothing."""

import random

from attrs import frozen
from zope.interface import implementer

from vllmsim.inference import TokenizedPrompt, Tokens
from vllmsim.interfaces import IResponseSource, ITokenizer


@implementer(IResponseSource)
@frozen(eq=False)
class EncoderSource:
    """Says an exclamation mark for every token that was asked for, as an encoder-only vLLM does."""

    _tokenizer: ITokenizer

    async def respond(
        self, prompt: TokenizedPrompt, least: int, limit: int, explicit: bool, generator: random.Random
    ) -> Tokens:
        """Say as many tokens as there may be."""
        return await self._tokenizer.encode("!" * limit, limit)
