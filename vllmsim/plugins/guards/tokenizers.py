# -*- test-case-name: tests.plugins.guards.test_tokenizers -*-
"""A tokenizer that comes from a plugin."""

from collections.abc import Mapping, Sequence

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from vllmsim.inference import Conversation, TextPrompt, TokenizedPrompt, Tokens
from vllmsim.interfaces import ITokenizer
from vllmsim.plugins.guards.blame import Blame, Nonsense
from vllmsim.plugins.guards.tokens import checked, checked_description, checked_text, checked_texts


@implementer(ITokenizer)
@define(eq=False)
class GuardedTokenizer:
    """Looks at what a tokenizer gives. What does not change is asked once, when it is made.

    :raises ValueError: when what is asked then cannot be.
    """

    _tokenizer: ITokenizer
    _blame: Blame
    _clock: IReactorTime
    eos_id: int = field(init=False)
    eos_text: str = field(init=False)
    vocabulary_size: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        t = self._tokenizer
        self.eos_id, self.eos_text, self.vocabulary_size = t.eos_id, t.eos_text, t.vocabulary_size
        if not isinstance(self.vocabulary_size, int) or self.vocabulary_size < 1:
            raise Nonsense(f"its vocabulary has {self.vocabulary_size!r} tokens")
        checked(Tokens((self.eos_id,), (self.eos_text,)), self.vocabulary_size, 1)

    async def read(self, prompt: TextPrompt | Conversation, limit: int) -> TokenizedPrompt:
        """Make tokens of what a client sent; see :class:`vllmsim.interfaces.ITokenizer`."""
        return await self._blame.wait(self._read, prompt, limit)

    async def _read(self, prompt: TextPrompt | Conversation, limit: int) -> TokenizedPrompt:
        read = await self._tokenizer.read(prompt, limit)
        if not isinstance(read, TokenizedPrompt):
            raise Nonsense("it reads a prompt and gives no TokenizedPrompt")
        tokens = checked(Tokens(read.ids, read.texts), self.vocabulary_size, limit)
        return TokenizedPrompt(prompt, checked_text(read.text), tokens.ids, tokens.texts, tuple(read.media))

    async def encode(self, text: str, limit: int) -> Tokens:
        """Cut a text into tokens."""
        return await self._blame.wait(self._encode, text, limit)

    async def _encode(self, text: str, limit: int) -> Tokens:
        return checked(await self._tokenizer.encode(text, limit), self.vocabulary_size, limit)

    def texts_of(self, ids: Sequence[int]) -> Sequence[str]:
        """Tell what each of some tokens adds to the text that they are together."""
        return self._blame.call(self._texts, "texts_of", ids)  # type: ignore[no-any-return]

    def pieces_of(self, ids: Sequence[int]) -> Sequence[str]:
        """Spell some tokens as the vocabulary does."""
        return self._blame.call(self._texts, "pieces_of", ids)  # type: ignore[no-any-return]

    def _texts(self, method: str, ids: Sequence[int]) -> Sequence[str]:
        texts = checked_texts(getattr(self._tokenizer, method)(ids), len(ids) + 1)
        if len(texts) != len(ids):
            raise Nonsense(f"it gives {len(texts)} or more texts for {len(ids)} tokens")
        return texts

    def text_of(self, token: int) -> str | None:
        """Look up one token."""
        return self._blame.call(self._text, token)  # type: ignore[no-any-return]

    def _text(self, token: int) -> str | None:
        text = self._tokenizer.text_of(token)
        return None if text is None else checked_text(text)

    async def decode(self, ids: Sequence[int]) -> str:
        """Join tokens to text."""
        return await self._blame.wait(self._decode, ids)

    async def _decode(self, ids: Sequence[int]) -> str:
        return checked_text(await self._tokenizer.decode(ids))

    def tag(self, text: str) -> Tokens:
        """Make tokens of a tag."""
        return self._blame.call(self._tag, text)  # type: ignore[no-any-return]

    def _tag(self, text: str) -> Tokens:
        tokens = checked(self._tokenizer.tag(text), self.vocabulary_size, len(text.encode()) + 1)
        if not tokens.ids:
            raise Nonsense(f"it makes no token of {text!r}")
        return tokens

    def describe(self) -> Mapping[str, object]:
        """Tell how the tokenizer was made."""
        return self._blame.call(self._describe)  # type: ignore[no-any-return]

    def _describe(self) -> Mapping[str, object]:
        described = checked_description(self._tokenizer.describe())
        return {"tokenizer_class": type(self._tokenizer).__name__, **described}

    async def close(self) -> None:
        """Give back what was opened."""
        await self._blame.close(self._tokenizer.close, self._clock)
