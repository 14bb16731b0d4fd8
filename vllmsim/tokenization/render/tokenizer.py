# -*- test-case-name: tests.tokenization.render.test_tokenizer -*-
"""The tokenizer of a vLLM render service, as llm-d-inference-sim uses it.

Prompts are rendered there, with the service's own chat template, and what the model says is cut there. The service
tells how it spells tokens, which is remembered, so that each is asked about once. How spellings become text is found
out from a text that is known. Where that does not work, or the service tells no spellings, a text is split over its
tokens at words; joined it is the text all the same.

What may be needed at once, such as the tags of reasoning, is asked for before the first prompt is read, and names of
tools with the prompt that has them. Any other tag is one token of ours, numbered by its text as the word tokenizer does
it. That is why every number of 32 bits is an id here; services do not tell how many they have. The end of an answer is
the service's own if ``/tokenizer_info`` names it, and the word tokenizer's otherwise.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from vllmsim.config.schema import Configuration
from vllmsim.errors import InferenceError, InvalidRequest
from vllmsim.hashing import fnv1a_32
from vllmsim.inference import Conversation, Cut, TextPrompt, TokenizedPrompt, Tokens
from vllmsim.interfaces import ITokenizer
from vllmsim.structure import CALL, THINK
from vllmsim.tokenization.render.routes import Question, RenderRoutes, RenderTimeouts
from vllmsim.tokenization.render.service import render_service
from vllmsim.tokenization.render.spelling import Spellings
from vllmsim.tokenization.words import split

_TAGS: Final = (*THINK, *CALL, "!")
_KNOWN_TEXT: Final = "H\u00e9, w\u00f6rld! \u4f60\u597d  \U0001f600 1,2 _x\n\n\tEnd"
_EOS_TEXT: Final = "<|im_end|>"
_MAX_CACHED: Final = 4096
_MAX_CACHED_CHARACTERS: Final = 1 << 22
_LONGEST_CACHED: Final = 1 << 16
_MAX_TAGS: Final = 1024
_MAX_NAMES: Final = 32
_LONGEST_TAG: Final = 256
_LARGEST: Final = 1 << 24
"""More tokens than vocabularies have, so that tags of ours are none of theirs."""
_OURS: Final = 1 << 31
_INLINE: Final = 2048
"""How many tokens are looked up without a thread."""


@implementer(ITokenizer)
@define(eq=False)
class RemoteTokenizer:
    """Has a render service cut.

    :param defer_to_thread: runs a function off the reactor; many tokens are looked up there.
    """

    _routes: RenderRoutes
    _defer_to_thread: Callable[..., Deferred[Any]]
    eos_id: int = field(init=False, default=fnv1a_32(_EOS_TEXT))
    eos_text: str = field(init=False, default=_EOS_TEXT)
    vocabulary_size: int = field(init=False, default=1 << 32)
    _spellings: Spellings = field(init=False, factory=Spellings)
    _told: Mapping[str, object] = field(init=False, factory=dict)
    _tags: dict[str, Tokens] = field(init=False, factory=dict)
    _cache: OrderedDict[str, Tokens] = field(init=False, factory=OrderedDict)
    _cached_characters: int = field(init=False, default=0)
    _acquainted: bool = field(init=False, default=False)
    _meeting: Deferred[None] | None = field(init=False, default=None)
    _waiting: list[Deferred[None]] = field(init=False, factory=list)

    async def read(self, prompt: TextPrompt | Conversation, limit: int) -> TokenizedPrompt:
        """Have a prompt rendered.

        :raises vllmsim.errors.InferenceError: when the service refuses, or gives no answer.
        """
        await self._acquaint()
        if isinstance(prompt, TextPrompt):
            text = prompt.text
            question = self._routes.text(text, special=prompt.special)
            rendered = await self._routes.render(question)
            ids = rendered.ids
            texts = await self._texts(ids, question, None if prompt.special else text)
        else:
            question = self._routes.conversation(prompt)
            rendered = await self._routes.render(question)
            ids = rendered.ids
            for name in islice(_names(prompt.template.tools or ()), _MAX_NAMES):
                await self._learn_tag(name)
            texts = await self._texts(ids, question, None)
            text = "" if texts is None else "".join(texts)
        if texts is None:
            if isinstance(prompt, Conversation):
                told = await self._routes.detokenize(ids)
                # If nobody tells what the chat template has made of it, this is what it was made of.
                text = "\n".join(f"{each.role}: {each.text}" for each in prompt.messages) if told is None else told
            texts = await self._off_reactor(len(ids), self._spread, text, ids)
        media = Cut(limit).spans(rendered.media, len(ids))
        return TokenizedPrompt(prompt, text, ids[:limit], texts[:limit], media)

    async def encode(self, text: str, limit: int) -> Tokens:
        """Have a text cut, unless that has been done lately.

        :raises vllmsim.errors.InferenceError: when the service refuses, or gives no answer.
        """
        tokens = self._cache.get(text)
        if tokens is None:
            await self._acquaint()
            tokens = await self._cut(text)
            self._keep(text, tokens)
        else:
            self._cache.move_to_end(text)
        return tokens if len(tokens) <= limit else Tokens(tokens.ids[:limit], tokens.texts[:limit])

    def texts_of(self, ids: Sequence[int]) -> Sequence[str]:
        """Tell what tokens add that are remembered; see :class:`vllmsim.interfaces.ITokenizer`."""
        return self._spellings.texts_of(ids)

    def text_of(self, token: int) -> str | None:
        """Tell what a token says that is remembered."""
        return self._spellings.text_of(token)

    def pieces_of(self, ids: Sequence[int]) -> Sequence[str]:
        """Spell tokens that are remembered."""
        return self._spellings.pieces_of(ids)

    async def decode(self, ids: Sequence[int]) -> str:
        """Have tokens joined, unless all of them are remembered.

        :raises vllmsim.errors.InferenceError: when the service refuses, or gives no answer.
        """
        await self._acquaint()
        texts = await self._off_reactor(len(ids), self._known_texts, ids, None)
        text = await self._routes.detokenize(ids) if texts is None else "".join(texts)
        return "".join(self.texts_of(ids)) if text is None else text

    def tag(self, text: str) -> Tokens:
        """Look up what the service makes of a tag, or make one token of any text."""
        tokens = self._tags.get(text)
        if tokens is None:
            number = fnv1a_32(text)
            tokens = Tokens((number if number > _LARGEST else number | _OURS,), (text,))
            self._spellings.remember(tokens.ids, tokens.texts)
        return tokens

    def describe(self) -> Mapping[str, object]:
        """Repeat what the service tells of its tokenizer, if it does."""
        return {"tokenizer_class": type(self).__name__, "eos_token": self.eos_text, **self._told}

    async def close(self) -> None:
        """Ask nothing more, and close the connections to the service."""
        if self._meeting is not None:
            self._meeting.cancel()
        await self._routes.close()

    async def _acquaint(self) -> None:
        """Wait until what may be needed at once has been asked for."""
        if self._acquainted:
            return
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        if self._meeting is None:
            self._meeting = Deferred.fromCoroutine(self._meet())
            self._meeting.addBoth(self._met)
        await waiter

    def _met(self, result: Failure | None) -> None:
        waiting, self._waiting, self._meeting = self._waiting, [], None
        self._acquainted = result is None
        for waiter in waiting:
            # One that is cancelled waits no more.
            if not waiter.called:
                waiter.callback(result)

    async def _meet(self) -> None:
        try:
            await self._ask_first()
        except InvalidRequest as error:
            # No client is to blame for what is asked here.
            raise InferenceError(f"The render service refuses a simple question: {error.message}") from error

    async def _ask_first(self) -> None:
        tokenized = await self._routes.tokenize(self._routes.text(_KNOWN_TEXT, special=False))
        if tokenized is not None and tokenized[1] is not None:
            self._spellings.learn(_KNOWN_TEXT, tokenized[0], tokenized[1])
        for text in _TAGS:
            await self._learn_tag(text)
        self._told = await self._routes.describe() or {}
        ending = self._told.get("eos_token")
        if isinstance(ending, Mapping):
            ending = ending.get("content")
        if isinstance(ending, str) and len((tokens := await self._cut(ending)).ids) == 1:
            self.eos_id, self.eos_text = tokens.ids[0], ending

    async def _learn_tag(self, text: str) -> None:
        if text in self._tags or not 0 < len(text) <= _LONGEST_TAG or len(self._tags) >= _MAX_TAGS:
            return
        tokens = await self._cut(text)
        if len(tokens):
            self._tags[text] = tokens

    async def _cut(self, text: str) -> Tokens:
        """Have a text cut without special tokens."""
        if not text:
            return Tokens((), ())
        question = self._routes.text(text, special=False)
        tokenized = await self._routes.tokenize(question)
        if tokenized is None:
            ids, texts = (await self._routes.render(question)).ids, None
        else:
            ids = tokenized[0]
            texts = await self._off_reactor(len(ids), self._learned_texts, ids, text, tokenized)
        if texts is None:
            texts = await self._off_reactor(len(ids), self._spread, text, ids)
        return Tokens(tuple(ids), tuple(texts))

    async def _texts(self, ids: Sequence[int], question: Question, text: str | None) -> Sequence[str] | None:
        """Tell what tokens say, asking about those that are new.

        :param text: what they must say together, if that is known.
        :return: None when it cannot be told.
        """
        if not self._spellings.readable:
            return None
        texts: Sequence[str] | None = await self._off_reactor(len(ids), self._known_texts, ids, text)
        if texts is None and (tokenized := await self._routes.tokenize(question)) is not None:
            texts = await self._off_reactor(len(ids), self._learned_texts, ids, text, tokenized)
        return texts

    def _learned_texts(
        self, ids: Sequence[int], text: str | None, tokenized: tuple[Sequence[int], Sequence[str] | None]
    ) -> Sequence[str] | None:
        told, pieces = tokenized
        if pieces is not None and self._spellings.readable:
            self._spellings.remember(told, pieces)
        return self._known_texts(ids, text)

    def _known_texts(self, ids: Sequence[int], text: str | None) -> Sequence[str] | None:
        if not self._spellings.know(ids):
            return None
        texts = self._spellings.texts_of(ids)
        return texts if text is None or "".join(texts) == text else None

    def _spread(self, text: str, ids: Sequence[int]) -> Sequence[str]:
        """Split a text over tokens of which it is not known what they say."""
        texts = spread(text, len(ids))
        if not self._spellings.readable:
            self._spellings.remember(ids, texts)
        return texts

    async def _off_reactor(self, count: int, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments) if count <= _INLINE else await self._defer_to_thread(function, *arguments)

    def _keep(self, text: str, tokens: Tokens) -> None:
        """Remember a text's tokens, and forget those that were not wanted for the longest time."""
        if len(text) > _LONGEST_CACHED or text in self._cache:
            return
        self._cache[text] = tokens
        self._cached_characters += len(text)
        while len(self._cache) > _MAX_CACHED or self._cached_characters > _MAX_CACHED_CHARACTERS:
            oldest, _ = self._cache.popitem(last=False)
            self._cached_characters -= len(oldest)


def spread(text: str, count: int) -> list[str]:
    """Split a text at its words into as many pieces as there are tokens, the last of which has the rest."""
    if not count:
        return []
    words = list(islice(split(text), count))
    words[count - 1 :] = [text[sum(map(len, words[: count - 1])) :]] if len(words) == count else []
    return words + [""] * (count - len(words))


def _names(tools: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for tool in tools:
        function = tool.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if isinstance(name, str):
            yield name


def remote_tokenizer(
    configuration: Configuration, reactor: Any, defer_to_thread: Callable[..., Deferred[Any]]
) -> RemoteTokenizer:
    """Make the tokenizer of the render service that is configured. Nothing is asked yet.

    :param reactor: provides time and connections.
    :param defer_to_thread: runs a function off the reactor.
    """
    c = configuration
    service = render_service(reactor, c.render_url, defer_to_thread)
    timeouts = RenderTimeouts(c.render_timeout, c.mm_render_timeout)
    return RemoteTokenizer(RenderRoutes(service, c.model, timeouts), defer_to_thread)
