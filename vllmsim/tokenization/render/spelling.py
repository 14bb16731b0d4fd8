# -*- test-case-name: tests.tokenization.render.test_spelling -*-
"""What a distant vocabulary is known to have: how tokens are spelled, and what that means as text.

A vocabulary may spell blanks and bytes by other characters. Which of the ways to read such spellings is the right one
is found out from a text whose tokens are known: it is the one that gives the text back.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import define, field

from vllmsim.tokenization.texts import TokenTexts, token_texts

_MAX_TOKENS: Final = 1 << 19
"""Twice as many as the largest vocabularies have."""
_MAX_CHARACTERS: Final = 1 << 25
_SIZE: Final = 1 << 32


@define(eq=False)
class _Known:
    """Those tokens that are known, as :func:`vllmsim.tokenization.texts.token_texts` wants to see a tokenizer."""

    decoder: Any
    pieces: dict[int, str]

    def id_to_token(self, token: int) -> str | None:
        """Spell a token."""
        return self.pieces.get(token)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:  # noqa: FBT002 - as theirs is
        """Join tokens to text."""
        return str(self.decoder.decode([self.pieces[token] for token in ids if token in self.pieces]))


@define(eq=False)
class Spellings:
    """Remembers how tokens are spelled. When there are too many, all are forgotten.

    :param max_tokens: how many are remembered at most.
    """

    _max_tokens: int = _MAX_TOKENS
    _pieces: dict[int, str] = field(init=False, factory=dict)
    _characters: int = field(init=False, default=0)
    _decoder: Any = field(init=False, default=None)
    _texts: TokenTexts | None = field(init=False, default=None)
    _learning: threading.Lock = field(init=False, factory=threading.Lock)

    def learn(self, text: str, ids: Sequence[int], pieces: Sequence[str]) -> bool:
        """Find out how spellings become text.

        :param text: a text.
        :param ids: its tokens.
        :param pieces: their spellings.
        :return: whether that worked.
        """
        for decoder in _decoders():
            known = _Known(decoder, dict(zip(ids, pieces, strict=True)))
            if "".join(token_texts(known, _SIZE).of(ids)) == text:
                self._decoder, self._texts = decoder, None
                self.remember(ids, pieces)
                return True
        return False

    @property
    def readable(self) -> bool:
        """Whether it is known how spellings become text."""
        return self._decoder is not None

    def remember(self, ids: Sequence[int], pieces: Sequence[str]) -> None:
        """Remember how tokens are spelled. Where that does not become text, it is what the tokens say."""
        with self._learning:
            for token, piece in zip(ids, pieces, strict=True):
                if self._pieces.get(token) != piece:
                    self._remember(token, piece)

    def _remember(self, token: int, piece: str) -> None:
        before = self._pieces.get(token)
        if before is not None:
            # What was found out of its spelling is so no more.
            self._texts = None
            self._characters -= len(before)
        elif len(self._pieces) >= self._max_tokens or self._characters > _MAX_CHARACTERS:
            self._pieces, self._texts, self._characters = {}, None, 0
        self._pieces[token] = piece
        self._characters += len(piece)

    def know(self, ids: Sequence[int]) -> bool:
        """Tell whether it is known for certain what each of some tokens says."""
        return self.readable and all(map(self._pieces.__contains__, ids))

    def texts_of(self, ids: Sequence[int]) -> Sequence[str]:
        """Tell what each of some tokens adds to the text that they are together."""
        if self._decoder is None:
            return self.pieces_of(ids)
        texts = self._texts
        if texts is None:
            texts = self._texts = token_texts(_Known(self._decoder, self._pieces), _SIZE)
        return texts.of(ids)

    def text_of(self, token: int) -> str | None:
        """Tell what a token says alone, if it is known."""
        return self.texts_of((token,))[0] if token in self._pieces else None

    def pieces_of(self, ids: Sequence[int]) -> Sequence[str]:
        """Spell tokens; those that are not known as nothing."""
        pieces = self._pieces
        return [pieces.get(token, "") for token in ids]


def _decoders() -> Iterator[Any]:
    """List the ways to read spellings: bytes as characters, nothing special, blanks and bytes marked."""
    # It takes a while, which a start without a render service can do without.
    from tokenizers import decoders  # noqa: PLC0415

    yield decoders.ByteLevel()
    yield decoders.Fuse()
    marked = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    yield decoders.Sequence([*marked, decoders.Strip(" ", 1, 0)])
    yield decoders.Sequence(marked)
