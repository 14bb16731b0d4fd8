# -*- test-case-name: tests.dataset.test_encoder -*-
"""The answers of a server that encodes media and generates nothing."""

import random

from attrs import frozen
from zope.interface import implementer

from vllmsim.inference import Extent, TokenizedPrompt, Tokens
from vllmsim.interfaces import IResponseSource, ITokenizer


@implementer(IResponseSource)
@frozen(eq=False)
class EncoderSource:
    """Says an exclamation mark for every token that was asked for, as an encoder-only vLLM does."""

    _tokenizer: ITokenizer

    async def respond(self, prompt: TokenizedPrompt, model: str, extent: Extent, generator: random.Random) -> Tokens:
        """Say as many tokens as there may be."""
        mark = self._tokenizer.tag("!")
        return Tokens((mark.ids[0],) * extent.most, (mark.texts[0],) * extent.most)
