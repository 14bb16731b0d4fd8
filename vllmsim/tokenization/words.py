# -*- test-case-name: tests.tokenization.test_words -*-
"""The word tokenizer: no model, no file, no download.

It cuts text as llm-d-inference-sim's simulated tokenizer does, at ASCII words and punctuation with the blanks that
follow them, and numbers a token by the 32-bit FNV-1a hash of its text. What that expression does not match (other
scripts, emoji, back-ticks, leading blanks) becomes tokens too, so that the tokens joined are always the text.

A hash cannot be undone, so the tokenizer remembers the tokens it has made, up to a bound, to give their texts back.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from vllmsim.hashing import fnv1a_32
from vllmsim.inference import Conversation, TextPrompt, TokenizedPrompt, Tokens
from vllmsim.interfaces import ITokenizer

_BLANKS: Final = r"[ \t\n\f\r]*"
# Scripts that are written without blanks between words: each character is a token of its own.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN: Final = re.compile(
    r"(?:[{}:,\-.?!;@#$%^&*()+_~/\\><\[\]=\"']|[0-9A-Za-z_]+)" + _BLANKS
    + rf"|[{_UNSPACED}]" + _BLANKS
    + rf"|[^\W\x00-\x7f{_UNSPACED}]+" + _BLANKS
    + r"|[ \t\n\f\r]+"
    + r"|[^0-9A-Za-z_]" + _BLANKS,
)  # fmt: skip

_INLINE_CHARACTERS: Final = 4096
_TEMPLATE: Final = (
    "{% for message in messages %}### {{ message['role'] }}"
    "{% if message['tool_call_id'] %}({{ message['tool_call_id'] }}){% endif %}"
    ": {{ message['content'] }}\n{% endfor %}"
)
"""What :func:`_flat` does, for those who ask."""


def _flat(conversation: Conversation) -> str:
    return "".join(
        f"### {m.role}{f'({m.tool_call_id})' if m.tool_call_id else ''}: {m.text}\n" for m in conversation.messages
    )


def split(text: str) -> Iterator[str]:
    """Cut a text into its tokens' texts; joined they are the text."""
    return (match[0] for match in _TOKEN.finditer(text))


@implementer(ITokenizer)
@define(eq=False)
class WordTokenizer:
    """Cuts at words.

    :param defer_to_thread: runs a function off the reactor; texts of more than 4096 characters are cut there.
    :param max_words: how many different tokens are remembered.
    :param max_characters: how many characters they may have in all.
    """

    eos_id = fnv1a_32("<|im_end|>")
    eos_text = "<|im_end|>"
    vocabulary_size = 2**32

    _defer_to_thread: Callable[..., Deferred[Tokens]]
    _max_words: int = 1 << 17
    _max_characters: int = 1 << 23
    _ids: OrderedDict[str, int] = field(init=False, factory=OrderedDict)
    _texts: dict[int, str] = field(init=False, factory=dict)
    _characters: int = field(init=False, default=0)
    _learning: threading.Lock = field(init=False, factory=threading.Lock)

    async def read(self, prompt: TextPrompt | Conversation, limit: int) -> TokenizedPrompt:
        """Cut a prompt; a conversation has each message as ``### role(call): text`` on a line of its own."""
        text = prompt.text if isinstance(prompt, TextPrompt) else _flat(prompt)
        tokens = await self.encode(text, limit)
        return TokenizedPrompt(prompt, text, tokens.ids, tokens.texts)

    async def encode(self, text: str, limit: int) -> Tokens:
        """Cut a text, in a thread if it is long."""
        if len(text) <= _INLINE_CHARACTERS:
            return self._number(tuple(_TOKEN.findall(text)[:limit]))
        return await self._defer_to_thread(self._encode, text, limit)

    def texts_of(self, ids: Sequence[int]) -> Sequence[str]:
        """Look up those tokens that are remembered."""
        texts = self._texts
        return tuple([texts.get(token, "") for token in ids])

    def text_of(self, token: int) -> str | None:
        """Look up a token that is remembered."""
        return self._texts.get(token)

    def pieces_of(self, ids: Sequence[int]) -> Sequence[str]:
        """Spell tokens as their texts."""
        return self.texts_of(ids)

    async def decode(self, ids: Sequence[int]) -> str:
        """Join the texts of the tokens that are remembered."""
        return "".join(self.texts_of(ids))

    def tag(self, text: str) -> Tokens:
        """Make one token of any text."""
        return Tokens((self._ids.get(text) or self._learn(text),), (text,))

    def describe(self) -> Mapping[str, object]:
        """Tell how the tokenizer was made; see :class:`vllmsim.interfaces.ITokenizer`."""
        return {
            "eos_token": self.eos_text,
            "max_words": self._max_words,
            "max_characters": self._max_characters,
            "vocab_size": self.vocabulary_size,
            "chat_template": _TEMPLATE,
            "tokenizer_class": type(self).__name__,
        }

    async def close(self) -> None:
        """Keep nothing open."""

    def _encode(self, text: str, limit: int) -> Tokens:
        # One text for all tokens that are the same: a million of them would take long to make and to forget.
        same: dict[str, str] = {}
        return self._number(tuple([same.setdefault(word, word) for word in islice(split(text), limit)]))

    def _number(self, words: tuple[str, ...]) -> Tokens:
        known, learn = self._ids, self._learn
        return Tokens(tuple([known.get(word) or learn(word) for word in words]), words)

    def _learn(self, word: str) -> int:
        token = fnv1a_32(word)
        with self._learning:
            if word not in self._ids:
                self._ids[word] = token
                self._texts[token] = word
                self._characters += len(word)
            while len(self._ids) > self._max_words or (self._characters > self._max_characters and len(self._ids) > 1):
                self._forget_oldest()
        return token

    def _forget_oldest(self) -> None:
        word, token = self._ids.popitem(last=False)
        self._characters -= len(word)
        if self._texts.get(token) == word:
            del self._texts[token]
