# -*- test-case-name: tests.scheduling.test_prompts -*-
"""Prompts become tokens, and those that no model of this size could read are refused."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime

from vllmsim.errors import InvalidRequest, PromptTooLong
from vllmsim.inference import Conversation, Cut, Media, Prompt, Span, TokenizedPrompt, TokenPrompt
from vllmsim.interfaces import ITokenizer
from vllmsim.media import media_hashes, place_media
from vllmsim.turns import Turn

_SLICE: Final = 1 << 15
"""How many ids are checked at a time."""


@frozen(eq=False)
class PromptReader:
    """Tokenizes prompts and checks their length.

    :param max_model_len: the most tokens of a prompt.
    """

    _clock: IReactorTime
    _tokenizer: ITokenizer
    _max_model_len: int

    async def read_all(self, prompts: Iterable[tuple[Prompt, Sequence[Cut]]]) -> list[TokenizedPrompt]:
        """Tokenize prompts, letting other events in between.

        :param prompts: each with how it is to be shortened.
        :raises InvalidRequest: when one is longer than the context, or has a token id that is none.
        """
        turn, read = Turn(self._clock), []
        for prompt, cuts in prompts:
            read.append(await self._read(prompt, cuts, turn))
            await turn.step()
        return read

    async def _read(self, prompt: Prompt, cuts: Sequence[Cut], turn: Turn) -> TokenizedPrompt:
        if isinstance(prompt, TokenPrompt):
            given: Sequence[int] = prompt.ids
            media = prompt.media
            for cut in cuts:
                given, media = cut.apply(given), cut.spans(media, len(given))
            self._check_length(len(given), exact=len(given) != self._max_model_len + 1)
            await self._check_ids(given, turn)
            known = self._tokenizer.texts_of(given)
            return TokenizedPrompt(prompt, "".join(known), given, known, media)
        read = await self._tokenizer.read(prompt, self._most_needed(cuts))
        if not cuts:
            # Nobody looks at the media of a prompt that is too long.
            self._check_length(len(read.ids), exact=False)
        if isinstance(prompt, Conversation) and prompt.media and not read.media:
            read = evolve(read, media=await self._place(prompt.media, len(read.ids), turn))
        if cuts:
            ids, texts, media = read.ids, read.texts, read.media
            for cut in cuts:
                ids, texts, media = cut.apply(ids), cut.apply(texts), cut.spans(media, len(ids))
            read = TokenizedPrompt(prompt, "".join(texts), ids, texts, media)
            self._check_length(len(ids), exact=False)
        return read

    @staticmethod
    async def _place(media: Sequence[Media], tokens: int, turn: Turn) -> tuple[Span, ...]:
        """Find the tokens of a conversation's media, letting other events in while their data are hashed.

        Where a prompt is cut before its end is known, they share what is known.
        """
        hashes = []
        for each in media_hashes(media):
            hashes.append(each)
            await turn.step()
        return place_media(media, hashes, tokens)

    def _most_needed(self, cuts: Sequence[Cut]) -> int:
        """Tell how much of a text must be tokenized: one token too many is enough to refuse it."""
        if not cuts:
            return self._max_model_len + 1
        return sys.maxsize if cuts[0].side == "left" else cuts[0].tokens

    async def _check_ids(self, ids: Sequence[int], turn: Turn) -> None:
        for start in range(0, len(ids), _SLICE):
            for token in self.unknown(ids[start : start + _SLICE]):
                raise InvalidRequest(f"Token id {token} is out of vocabulary")
            await turn.step()

    def unknown(self, ids: Sequence[int]) -> Iterator[int]:
        """Find the ids that are no tokens."""
        size = self._tokenizer.vocabulary_size
        # That all are some is soon known.
        if not ids or (min(ids) >= 0 and max(ids) < size):
            return iter(())
        return (token for token in ids if not 0 <= token < size)

    def _check_length(self, length: int, *, exact: bool) -> None:
        if length > self._max_model_len:
            raise PromptTooLong(self._max_model_len, length, exact=exact)
