"""Stand-ins for what stands around a KV cache, with hashes that can be read."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.task import deferLater
from zope.interface import implementer

from vllmsim.inference import Adapter, HashedPrompt, InferenceRequest, StoredBlocks, TokenizedPrompt
from vllmsim.interfaces import IBlockListener, ICacheMetrics
from vllmsim.shifts import Shifts


@define(eq=False)
class ReadableHasher:
    """Makes hashes that say all that they depend on.

    The hash of the block (3, 4) behind (1, 2) of the adapter ``ad`` is ``ad/1,2/3,4``, with a salt ``ad+salt/1,2/3,4``.

    :param size: tokens per block.
    """

    size: int
    adapters: dict[str, Adapter] = field(factory=dict)

    async def hash(self, prompt: TokenizedPrompt, request: InferenceRequest) -> HashedPrompt:
        """Hash a prompt's blocks."""
        return self.prompt(prompt.ids, self.adapters.get(request.model), request.cache_salt or "")

    def prompt(
        self, ids: Sequence[int], adapter: Adapter | None = None, salt: str = "", shared: int = 0
    ) -> HashedPrompt:
        """Hash blocks."""
        full = len(ids) // self.size
        root = [("lora", adapter.name)] if adapter else []
        tails = [tuple(root + ([("salt", salt)] if salt and not number else [])) or None for number in range(full + 1)]
        hashes: list[bytes] = []
        for number in range(full):
            block = ids[number * self.size : (number + 1) * self.size]
            prompt = HashedPrompt(ids, hashes[:number], (), adapter, 0, tails[number])
            hashes.append(self.extend(prompt, number, hashes[-1] if hashes else None, block))
        return HashedPrompt(ids, hashes, list(map(_told, tails[:full])), adapter, shared, tails[full])

    def extend(self, prompt: HashedPrompt, number: int, parent: bytes | None, ids: Sequence[int]) -> bytes:
        """Hash one block."""
        root = "+".join(self.keys_of(prompt, number) or ()).encode() if parent is None else parent
        return root + b"/" + ",".join(map(str, ids)).encode()

    def keys_of(self, prompt: HashedPrompt, number: int) -> tuple[Any, ...] | None:
        """Name the adapter and the salt."""
        adapter = (("lora", prompt.adapter.name),) if prompt.adapter else None
        return _told(prompt.tail if number == len(prompt.hashes) else adapter)


def _told(extra: tuple[tuple[Any, ...], ...] | None) -> tuple[Any, ...] | None:
    return tuple(value for _, value in extra) if extra else None


@implementer(IBlockListener)
@define(eq=False)
class RecordingListener:
    """Remembers what becomes of blocks, and what it takes from that to be there."""

    events: list[tuple[Any, ...]] = field(factory=list)
    stored_blocks: list[StoredBlocks] = field(factory=list)
    known: Counter[bytes] = field(factory=Counter)

    def stored(self, blocks: StoredBlocks) -> None:
        """Remember the hashes and the one before them."""
        self.stored_blocks.append(blocks)
        self.events.append(("stored", blocks.parent, list(blocks.hashes), list(blocks.ids), list(blocks.keys)))
        self.known.update(blocks.hashes)

    def removed(self, digest: bytes) -> None:
        """Remember the hash."""
        self.events.append(("removed", digest))
        self.known[digest] -= 1

    def cleared(self) -> None:
        """Remember it."""
        self.events.append(("cleared",))
        self.known.clear()

    def take(self) -> list[tuple[Any, ...]]:
        """Tell what happened since this was asked last."""
        events, self.events = self.events, []
        return events


@implementer(ICacheMetrics)
@define(eq=False)
class RecordingCacheMetrics:
    """Counts."""

    looked_up: list[tuple[int, int]] = field(factory=list)
    looked_outside: list[tuple[int, int]] = field(factory=list)
    counts: tuple[int, int, int] | None = None
    evicted: list[tuple[float, float, list[float]]] = field(factory=list)

    def prefix_looked_up(self, tokens: int, hits: int) -> None:
        """Remember the numbers."""
        self.looked_up.append((tokens, hits))

    def external_looked_up(self, tokens: int, hits: int) -> None:
        """Remember the numbers."""
        self.looked_outside.append((tokens, hits))

    def blocks_counted(self, used: int, cached: int, usable: int) -> None:
        """Remember the last numbers."""
        self.counts = used, cached, usable

    def block_evicted(self, lifetime: float, idle: float, reuse_gaps: Sequence[float]) -> None:
        """Remember the times."""
        self.evicted.append((lifetime, idle, list(reuse_gaps)))

    def events_published(self, events: int) -> None:
        """Nothing is published here."""
        raise AssertionError

    def events_dropped(self, events: int) -> None:
        """Nothing is dropped here."""
        raise AssertionError


async def slowly(shifts: Shifts, steps: Iterator[object]) -> None:
    """Work for a while, as :meth:`Shifts.run` does when there is much to do."""
    await deferLater(shifts._clock, 0.3)
    for _ in steps:
        pass
