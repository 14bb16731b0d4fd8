"""Answers that are limericks."""

import random
import re

from vllmsim.inference import Conversation, Extent, TokenizedPrompt, Tokens
from vllmsim.interfaces import IResponseSource
from vllmsim.interfaces.plugins import SourceSurroundings
from zope.interface import implementer

VERSES = (
    """\
A {subject} that lived in a queue
had nothing whatever to do;
it waited its turn
with no place to earn,
till somebody's answer was through.
""",
    """\
There once was a {subject} in flight
that was due on the stroke of midnight.
Said the pacer, "Just wait,"
so it never came late,
and it never came early, by right.
""",
    """\
A {subject} was asked of a cache
that remembered each block by its hash.
"I have seen you before,
there were fifteen or more,"
said the cache, and was there in a flash.
""",
)


@implementer(IResponseSource)
class LimerickSource:
    """Says one limerick, or another, about the last word that it was asked about."""

    def __init__(self, surroundings: SourceSurroundings) -> None:
        verses = surroundings.options.get("verses", VERSES)
        if not isinstance(verses, list | tuple) or not verses or not all(isinstance(each, str) for each in verses):
            raise ValueError("verses must be a list of texts, with one at least")
        self._verses = verses
        self._tokenizer = surroundings.tokenizer

    async def respond(self, prompt: TokenizedPrompt, model: str, extent: Extent, generator: random.Random) -> Tokens:
        """Choose one with the request's own randomness."""
        asked = prompt.prompt
        text = asked.messages[-1].text if isinstance(asked, Conversation) else prompt.text
        words = re.findall(r"[^\W\d_]+", text[-200:])
        verse = generator.choice(self._verses).replace("{subject}", words[-1].lower() if words else "token")
        return await self._tokenizer.encode(verse, extent.most)
