# -*- test-case-name: tests.kvcache.hashing.test_prompts -*-
"""Prompts as the KV cache knows them: the hashes of their blocks, and what is hashed beside tokens.

As in vLLM just full blocks have hashes. Beside the tokens it is hashed which adapter computes them, which images,
sounds and films they stand for, and for a sequence's first block the salt of the request:

- ``("lora", name, path)``,
- ``("mm", hash, offset)`` for each of the media that have tokens in the block, in their order; the offset is that of
  the first token from the block's first, and below 0 where that is in a block before,
- ``("cache_salt", salt)``.

Events tell them without their tags: the adapter's name alone, pairs of hash and offset, the salt.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final

from attrs import define, field

from vllmsim.inference import Adapter, HashedPrompt, InferenceRequest, Span, TokenizedPrompt
from vllmsim.kvcache.hashing.algorithms import BlockHash, Extra, apart
from vllmsim.shifts import Shifts

_STEP: Final = 256
"""How many tokens are hashed before it is looked what time it is; that takes a tenth of a millisecond or two."""


@define(eq=False)
class PromptHasher:
    """Hashes prompts, and the blocks of answers.

    :param hash: the algorithm.
    :param block_size: tokens per block.
    :param model: the name of the base model that answers carry.
    :param shifts: the time that it works.
    """

    _hash: BlockHash
    _block_size: int
    _model: str
    _shifts: Shifts

    async def hash(self, prompt: TokenizedPrompt, request: InferenceRequest) -> HashedPrompt:
        """Hash the full blocks of a prompt, letting other events in between if it is long."""
        adapter = request.adapter
        extras = Extras(self._block_size, adapter, prompt.media, request.cache_salt)
        full = len(prompt.ids) // self._block_size
        hashes: list[bytes] = []
        keys: list[tuple[Any, ...] | None] = []
        if full:
            await self._shifts.run(self._steps(prompt.ids, full, extras, self._root(adapter), hashes, keys))
        return HashedPrompt(prompt.ids, hashes, keys, adapter, tail=extras.of(full))

    def extend(self, prompt: HashedPrompt, number: int, parent: bytes | None, ids: Sequence[int]) -> bytes:
        """Hash a block that has tokens of an answer.

        :param prompt: what is answered.
        :param number: which block of the sequence it is, from 0; it is none of the prompt's full ones.
        :param parent: the hash of the block before it; None for a sequence's first.
        :param ids: its tokens.
        """
        root = self._root(prompt.adapter) if parent is None else parent
        return self._hash.block(root, tuple(ids), self._extra(prompt, number))

    def keys_of(self, prompt: HashedPrompt, number: int) -> tuple[Any, ...] | None:
        """Tell what is hashed beside the tokens of such a block, as events tell it."""
        return told(self._extra(prompt, number))

    @staticmethod
    def _extra(prompt: HashedPrompt, number: int) -> Extra:
        return prompt.tail if number == len(prompt.hashes) else of_adapter(prompt.adapter)

    def _root(self, adapter: Adapter | None) -> bytes:
        return self._hash.root(self._model if adapter is None else adapter.name)

    def _steps(
        self,
        ids: Sequence[int],
        full: int,
        extras: "Extras",
        parent: bytes,
        hashes: list[bytes],
        keys: list[tuple[Any, ...] | None],
    ) -> Iterator[None]:
        """Hash blocks, some with each step.

        :param full: how many.
        :param hashes: gets the hash of each.
        :param keys: gets what events tell of each.
        """
        size, block = self._block_size, self._hash.block
        several = max(1, _STEP // size)
        for first in range(0, full, several):
            for number in range(first, min(full, first + several)):
                start = number * size
                extra = extras.of(number)
                parent = block(parent, tuple(ids[start : start + size]), extra)
                hashes.append(parent)
                keys.append(told(extra))
            yield


def _sort(media: Iterable[Span]) -> Sequence[Span]:
    return sorted(media, key=attrgetter("offset"))


@define(eq=False)
class Extras:
    """What is hashed beside the tokens of a sequence's blocks. They are asked for in their order.

    :param block_size: tokens per block.
    :param salt: the request's own.
    """

    _block_size: int
    _adapter: Adapter | None
    _media: Sequence[Span] = field(converter=_sort)
    _salt: str | None
    _passed: int = field(init=False, default=0)
    """How many of the media end before the block that was asked for last."""
    _always: Extra = field(init=False)

    @_always.default
    def _adapters_own(self) -> Extra:
        return of_adapter(self._adapter)

    def of(self, number: int) -> Extra:
        """Find what is hashed with a block.

        :param number: which of the sequence's, from 0; at least that of the call before.
        """
        if self._passed == len(self._media) and (number or self._salt is None):
            return self._always
        # The tags are literals, each the same object every time: the bytes of a pickle depend on it.
        found = list(self._always or ())
        found += [("mm", apart(span.identifier), offset) for span, offset in self._media_in(number)]
        if self._salt is not None and not number:
            found.append(("cache_salt", apart(self._salt)))
        return tuple(found) or None

    def _media_in(self, number: int) -> Iterator[tuple[Span, int]]:
        start, media = number * self._block_size, self._media
        stop = start + self._block_size
        while self._passed < len(media) and _end(media[self._passed]) <= start:
            self._passed += 1
        for place in range(self._passed, len(media)):
            span = media[place]
            if span.offset >= stop:
                return
            if _end(span) > start:
                yield span, span.offset - start


def _end(span: Span) -> int:
    return span.offset + span.length


def of_adapter(adapter: Adapter | None) -> Extra:
    """Make what is hashed with every block of an adapter."""
    return None if adapter is None else (("lora", apart(adapter.name), apart(adapter.path)),)


def told(extra: Extra) -> tuple[Any, ...] | None:
    """Make what events tell of what is hashed beside tokens."""
    if extra is None:
        return None
    return tuple([key[1] if key[0] != "mm" else key[1:] for key in extra])
