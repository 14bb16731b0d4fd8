# -*- test-case-name: tests.tokenization.test_huggingface -*-
"""A model's own tokenizer, by the package ``tokenizers``, with its chat template.

Text that looks like a special token becomes that token, wherever it comes from, as in vLLM.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from vllmsim.inference import Conversation, TextPrompt, TokenizedPrompt, Tokens
from vllmsim.interfaces import ITokenizer
from vllmsim.tokenization.chat.templates import ChatTemplates
from vllmsim.tokenization.chat.turns import RefusedError
from vllmsim.tokenization.folder import TokenizerError, TokenizerFolder, read_chat_template, read_folder
from vllmsim.tokenization.texts import TokenTexts, token_texts

_INLINE_BYTES: Final = 800
"""About 200 tokens, which take half a millisecond."""
_INLINE_IDS: Final = 1000
_MARGIN: Final = 64
"""How many tokens too many are made of a text that is not read to its end, whose last ones may be others."""
_CHARACTERS: Final = 8
"""How many characters for each token that is wanted are read of a text at first, and how many times more then."""
_TAGS: Final = 1024
_LONGEST_TAG: Final = 64
_CLEANED: Final = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip
"""Blanks that are left out of English text, where a tokenizer is configured so."""


def load_tokenizer(
    path: str,
    defer_to_thread: Callable[..., Deferred[Any]],
    *,
    chat_template: str | None = None,
    content_format: str = "auto",
    arguments: Mapping[str, Any] | None = None,
    epoch: Callable[[], float] = time.time,
) -> "HuggingFaceTokenizer":
    """Read a tokenizer.

    :param path: a model's folder, or a ``tokenizer.json``.
    :param defer_to_thread: runs a function off the reactor.
    :param chat_template: one that takes the place of the model's: a file, or the template itself.
    :param content_format: how chat templates take content: ``string``, ``openai`` for parts, or ``auto`` to look.
    :param arguments: what chat templates are told unless a request says otherwise.
    :param epoch: tells seconds since the epoch.
    :raises TokenizerError: when it cannot be read.
    """
    # Threads of ours are enough; those of the package would make it warn when a process is forked.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import tokenizers  # noqa: PLC0415 - most starts need none

    folder = read_folder(path)
    try:
        backend = tokenizers.Tokenizer.from_file(str(folder.file))
        backend.no_truncation()
        backend.no_padding()
        backend.add_tokens([tokenizers.AddedToken(token.content, **token.options) for token in folder.added])
        if folder.config.get("split_special_tokens") is True:
            backend.encode_special_tokens = True
    # The package raises nothing narrower.
    except Exception as error:
        raise TokenizerError(
            folder.file, f"it is none that the package tokenizers {tokenizers.__version__} can read: {error}"
        ) from error
    templates = ChatTemplates(
        folder.templates,
        folder.special_tokens,
        defer_to_thread,
        None if chat_template is None else read_chat_template(chat_template),
        content_format,
        arguments or {},
        epoch,
    )
    try:
        templates.check()
    except RefusedError as error:
        raise TokenizerError(folder.file.parent, f"its chat template is none: {error}") from error
    return HuggingFaceTokenizer(folder, backend, templates, defer_to_thread)


@implementer(ITokenizer)
@define(eq=False)
class HuggingFaceTokenizer:
    """Cuts text as the model's own tokenizer does.

    :param folder: what the model's files say.
    :param backend: a :class:`tokenizers.Tokenizer`.
    :param templates: what makes conversations text.
    :param defer_to_thread: runs a function off the reactor; long texts are cut there.
    :raises TokenizerError: when no token ends a text.
    """

    _folder: TokenizerFolder
    _backend: Any
    _templates: ChatTemplates
    _defer_to_thread: Callable[..., Deferred[Any]]
    eos_id: int = field(init=False)
    eos_text: str = field(init=False)
    vocabulary_size: int = field(init=False)
    _texts: TokenTexts = field(init=False)
    _alone: dict[int, str] = field(init=False, factory=dict)
    _tags: dict[str, Tokens] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self.vocabulary_size = max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self._texts = token_texts(self._backend, self.vocabulary_size)
        self.eos_id, self.eos_text = self._ending()

    async def read(self, prompt: TextPrompt | Conversation, limit: int) -> TokenizedPrompt:
        """Cut a prompt; conversations are rendered first."""
        if isinstance(prompt, TextPrompt):
            text, special = prompt.text, prompt.special
        else:
            text, special = await self._templates.render(prompt), prompt.template.special
        tokens = await self._cut(text, limit, special=special)
        return TokenizedPrompt(prompt, text, tokens.ids, tokens.texts)

    async def encode(self, text: str, limit: int) -> Tokens:
        """Cut a text, in a thread if it is long."""
        return await self._cut(text, limit, special=False)

    def texts_of(self, ids: Sequence[int]) -> Sequence[str]:
        """Tell what tokens add; see :class:`vllmsim.interfaces.ITokenizer`."""
        return self._texts.of(ids)

    def text_of(self, token: int) -> str | None:
        """Tell what a token says alone."""
        text = self._alone.get(token)
        if text is None and self._spelling(token) is not None:
            text = self._alone[token] = self._backend.decode([token], skip_special_tokens=False)
        return text

    def pieces_of(self, ids: Sequence[int]) -> Sequence[str]:
        """Spell tokens as the vocabulary does."""
        return [self._spelling(token) or "" for token in ids]

    async def decode(self, ids: Sequence[int]) -> str:
        """Join tokens, in a thread if there are many."""
        if len(ids) <= _INLINE_IDS:
            return self._decode(ids)
        text: str = await self._defer_to_thread(self._decode, ids)
        return text

    def tag(self, text: str) -> Tokens:
        """Look up a special token, or cut the text of one that the vocabulary has not."""
        if (tokens := self._tags.get(text)) is None:
            token = self._backend.token_to_id(text)
            if token is not None and self.text_of(token) == text:
                tokens = Tokens((token,), (text,))
            elif not (tokens := self._encode(text, _INLINE_BYTES, special=False)):
                # It is made of nothing that this tokenizer keeps.
                tokens = Tokens((self.eos_id,), ("",))
            if len(text) <= _LONGEST_TAG and len(self._tags) < _TAGS:
                self._tags[text] = tokens
        return tokens

    def describe(self) -> Mapping[str, object]:
        """Tell how the tokenizer is configured; see :class:`vllmsim.interfaces.ITokenizer`."""
        told = {"tokenizer_class": "PreTrainedTokenizerFast", **self._folder.config}
        told.pop("chat_template", None)
        template = self._templates.default
        return told if template is None else {**told, "chat_template": template}

    async def close(self) -> None:
        """Let go of what renders the templates of requests."""
        self._templates.close()

    async def _cut(self, text: str, limit: int, *, special: bool) -> Tokens:
        if len(text) * (1 if text.isascii() else 3) <= _INLINE_BYTES:
            return self._encode(text, limit, special=special)
        tokens: Tokens = await self._defer_to_thread(self._encode, text, limit, special)
        return tokens

    def _encode(self, text: str, limit: int, special: bool) -> Tokens:
        length, wanted = len(text), limit + _MARGIN
        taken = min(length, wanted * _CHARACTERS)
        ids = self._ids(text[:taken], special)
        while taken < length and len(ids) < wanted:
            taken = min(length, taken * _CHARACTERS)
            ids = self._ids(text[:taken], special)
        ids = ids[:limit]
        return Tokens(ids, self._texts.of(ids))

    def _ids(self, text: str, special: bool) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError:
            # Half a pair of surrogates is no character.
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        # Of the calls that there are, this one certainly lets other threads run, and it counts no characters.
        (encoding,) = self._backend.encode_batch_fast([text], add_special_tokens=special)
        ids: list[int] = encoding.ids
        return ids

    def _decode(self, ids: Sequence[int]) -> str:
        size = self.vocabulary_size
        known = [token for token in ids if 0 <= token < size]
        text: str = self._backend.decode_batch([known], skip_special_tokens=False)[0]
        config = self._folder.config
        if config.get("clean_up_tokenization_spaces") is True and type(self._backend.model).__name__ != "BPE":
            for blank, bare in _CLEANED:
                text = text.replace(blank, bare)
        return text

    def _spelling(self, token: int) -> str | None:
        spelled: str | None = self._backend.id_to_token(token) if 0 <= token < self.vocabulary_size else None
        return spelled

    def _ending(self) -> tuple[int, str]:
        for ending in self._folder.endings():
            token = self._backend.token_to_id(ending) if isinstance(ending, str) else ending
            text = None if token is None else self.text_of(token)
            if text is not None:
                return token, text
        raise TokenizerError(
            self._folder.file,
            'it names no token that ends a text; put "eos_token" into tokenizer_config.json beside it',
        )
