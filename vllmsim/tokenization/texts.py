# -*- test-case-name: tests.tokenization.test_texts -*-
"""What each token adds to the text that tokens are together.

Tokenizers differ in how tokens become text. Those at the level of bytes spell each byte as a character: a token is some
bytes, and a character may be cut over several tokens. Others spell blanks, so that what a token says depends on whether
it is the first, and have tokens such as ``<0xE2>`` for bytes of characters that they lack: these say something together
or, when they make no text, each the character for what cannot be read. Both kinds are told apart by the tokenizer's own
description of its decoder. For what is neither, the whole text is said by the last token.

What a token says in the middle of a text is remembered, so that it costs one look-up.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, groupby
from typing import Any, Final, Protocol

from attrs import define, field

_UNREADABLE: Final = "\ufffd"
_ANCHOR: Final = "a"
"""A token before another one, so that the other is not the first."""
_AT_ONCE: Final = 1 << 14
_BYTE: Final = re.compile("<0x([0-9A-Fa-f]{2})>")


class Backend(Protocol):
    """What is needed of a tokenizer."""

    decoder: Any

    def id_to_token(self, token: int) -> str | None:
        """Spell a token."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = ...) -> str:
        """Join tokens to text."""


class TokenTexts(Protocol):
    """Tells what tokens say."""

    def of(self, ids: Sequence[int]) -> list[str]:
        """Tell what each token adds; joined it is what they say together."""


def token_texts(tokenizer: Backend, size: int) -> TokenTexts:
    """Find out how a tokenizer's tokens become text.

    :param size: every id is below it.
    """
    decoder = tokenizer.decoder
    kinds = () if decoder is None else _steps(json.loads(decoder.__getstate__()))
    names = "".join({"Replace": "R", "ByteFallback": "B", "Fuse": "F", "Strip": "S"}.get(k["type"], "?") for k in kinds)
    if names == "?" and kinds[0]["type"] == "ByteLevel":
        return _ByteTexts(tokenizer, size)
    if decoder is None or decoder.decode([_ANCHOR]) != _ANCHOR:
        return _WholeTexts(tokenizer, size)
    if names == "?" and kinds[0]["type"] in {"Metaspace", "WordPiece"}:
        return _PlacedTexts(tokenizer, size, own_first=True)
    if re.fullmatch("R*B?(FS?)?", names) and (names[-1] != "S" or not kinds[-1]["stop"]):
        if names[-1] != "S":
            return _PlacedTexts(tokenizer, size, "B" in names)
        return _PlacedTexts(tokenizer, size, "B" in names, kinds[-1]["content"], kinds[-1]["start"])
    return _WholeTexts(tokenizer, size)


def _steps(description: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    if description["type"] != "Sequence":
        return (description,)
    return tuple(step for inner in description["decoders"] for step in _steps(inner))


def _byte_spellings() -> Iterator[tuple[str, int]]:
    """List how bytes are spelled: those that can be seen as themselves, the others by the characters from U+0100 on."""
    seen = {*range(ord("!"), ord("~") + 1), *range(ord("\u00a1"), ord("\u00ac") + 1), *range(ord("\u00ae"), 256)}
    unseen = count(256)
    for byte in range(256):
        yield chr(byte if byte in seen else next(unseen)), byte


_BYTES: Final = dict(_byte_spellings())


class _Remembered(dict[int, str | None]):
    """What tokens say, found out when it is asked for first. Ids that mean nothing are not remembered.

    :param find: tells it; None for what depends on the tokens around, raising KeyError for what means nothing.
    """

    def __init__(self, find: Callable[[int], str | None]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, token: int) -> str | None:
        try:
            text = self[token] = self._find(token)
        except KeyError:
            return ""
        return text


def _spell(tokenizer: Backend, token: int, size: int) -> str:
    """Spell a token.

    :raises KeyError: when it means nothing.
    """
    spelled = tokenizer.id_to_token(token) if 0 <= token < size else None
    if spelled is None:
        raise KeyError(token)
    return spelled


def _look_up(known: _Remembered, ids: Sequence[int]) -> list[str | None]:
    """Tell what tokens say, letting other threads run now and then."""
    texts: list[str | None] = []
    for start in range(0, len(ids), _AT_ONCE):
        texts += map(known.__getitem__, ids[start : start + _AT_ONCE])
    return texts


@define(eq=False)
class _ByteTexts:
    """Tokens that are bytes."""

    _tokenizer: Backend
    _size: int
    _pieces: dict[int, bytes] = field(init=False, factory=dict)
    _known: _Remembered = field(init=False)

    @_known.default
    def _remember(self) -> _Remembered:
        return _Remembered(self._whole)

    def of(self, ids: Sequence[int]) -> list[str]:
        texts = _look_up(self._known, ids)
        if None in texts:
            self._mend(ids, texts)
        return texts  # type: ignore[return-value] # mended

    def _bytes(self, token: int) -> bytes:
        spelled = _spell(self._tokenizer, token, self._size)
        try:
            return bytes([_BYTES[character] for character in spelled])
        except KeyError:
            # It was added as it is.
            return spelled.encode()

    def _whole(self, token: int) -> str | None:
        data = self._bytes(token)
        try:
            return data.decode()
        except UnicodeDecodeError:
            self._pieces[token] = data
            return None

    def _mend(self, ids: Sequence[int], texts: list[str | None]) -> None:
        """Join the bytes of characters that are cut."""
        read, pieces, last = codecs.utf_8_decode, self._pieces, len(ids) - 1
        place, pending = texts.index(None), b""
        while True:
            if texts[place] != "":
                token = ids[place]
                data = pending + (pieces.get(token) or self._bytes(token))
                texts[place], length = read(data, "replace", place == last)
                pending = data[length:]
            if place == last:
                break
            if pending:
                place += 1
                continue
            try:
                place = texts.index(None, place + 1)
            except ValueError:
                break
        if pending:
            # The last tokens mean nothing.
            texts[last] = read(pending, "replace", True)[0]


@define(eq=False)
class _PlacedTexts:
    """Tokens of which the first one says something else.

    :param falls_back: whether there are tokens for bytes.
    :param strip: a character that is left out at the beginning of a text, and how often.
    :param own_first: whether what the first token says can be asked of the decoder.
    """

    _tokenizer: Backend
    _size: int
    _falls_back: bool = False
    _strip: str = " "
    _strips: int = 0
    _own_first: bool = field(default=False, kw_only=True)
    _known: _Remembered = field(init=False)

    @_known.default
    def _remember(self) -> _Remembered:
        return _Remembered(self._later)

    def of(self, ids: Sequence[int]) -> list[str]:
        found = _look_up(self._known, ids)
        if None in found:
            self._mend(ids, found)
        texts: list[str] = found  # type: ignore[assignment] # mended
        if self._own_first:
            # What means nothing does not count.
            for place, token in enumerate(ids):
                if texts[place] or self._means(token):
                    texts[place] = self._tokenizer.decode([token], skip_special_tokens=False)
                    break
        left = self._strips
        for place, text in enumerate(texts):
            if not left:
                break
            bare = _strip(text, self._strip, left)
            texts[place] = bare
            left = 0 if bare else left - len(text)
        return texts

    def _means(self, token: int) -> bool:
        return 0 <= token < self._size and self._tokenizer.id_to_token(token) is not None

    def _later(self, token: int) -> str | None:
        spelled = _spell(self._tokenizer, token, self._size)
        if self._falls_back and _BYTE.fullmatch(spelled):
            return None
        return str(self._tokenizer.decoder.decode([_ANCHOR, spelled]))[len(_ANCHOR) :]

    def _mend(self, ids: Sequence[int], texts: list[str | None]) -> None:
        """Join the bytes of each run of tokens for bytes."""
        meant = [place for place, token in enumerate(ids) if texts[place] != "" or self._means(token)]
        for are_bytes, run in groupby(meant, key=lambda place: texts[place] is None):
            if not are_bytes:
                continue
            places = list(run)
            data = bytes(int(_spell(self._tokenizer, ids[place], self._size)[3:5], 16) for place in places)
            try:
                data.decode()
            except UnicodeDecodeError:
                said = [_UNREADABLE] * len(data)
            else:
                reader = codecs.getincrementaldecoder("utf-8")()
                said = [reader.decode(data[place : place + 1]) for place in range(len(data))]
            for place, text in zip(places, said, strict=True):
                texts[place] = text


def _strip(text: str, character: str, most: int) -> str:
    """Leave a character out at the beginning, so often at most."""
    return text[min(most, len(text) - len(text.lstrip(character))) :]


@define(eq=False)
class _WholeTexts:
    """Tokens of which nothing is known."""

    _tokenizer: Backend
    _size: int

    def of(self, ids: Sequence[int]) -> list[str]:
        known = [token for token in ids if 0 <= token < self._size]
        if not ids:
            return []
        return [*[""] * (len(ids) - 1), self._tokenizer.decode(known, skip_special_tokens=False)]
