"""The KV cache against another that is slow and obvious.

The other one is a list of blocks in the order in which they will be given away, searched from end to end for
everything. Both do the same things at random, and after each of them everything that can be seen must be the same:
who is in, what was found, what was told to listeners, and how many blocks are used.
"""

import random
from collections import Counter
from typing import Any, cast

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.kvcache.fakes import ReadableHasher, RecordingCacheMetrics, RecordingListener
from vllmsim.inference import Adapter
from vllmsim.interfaces import ISequenceBlocks
from vllmsim.kvcache.cache import KVCache
from vllmsim.kvcache.lives import BlockLives
from vllmsim.kvcache.pool import BlockPool

SIZE = 2


@define(eq=False)
class Block:
    """A block: what it holds, whose that is, and how many sequences have it."""

    digest: bytes | None = None
    owner: str = ""
    holders: int = 0
    stored: int = 0


@define(eq=False)
class Asked:
    """A sequence: what it asked for, and what it got."""

    prompt: list[int]
    answer: list[int]
    owner: str
    salt: str
    reads: bool
    remote: int
    blocks: list[Block] = field(factory=list)
    computed: int = 0
    cached: int = 0
    external: int = 0

    @property
    def tokens(self) -> list[int]:
        """All that will ever be in blocks."""
        return self.prompt + self.answer[:-1]

    @property
    def total(self) -> int:
        """How many blocks that takes."""
        return len(range(0, len(self.tokens), SIZE))

    def digest(self, number: int) -> bytes:
        """Tell what a block is called: its tokens and all before them, and who may read it."""
        root = "+".join(filter(None, [self.owner, self.salt]))
        blocks = [self.tokens[start : start + SIZE] for start in range(0, (number + 1) * SIZE, SIZE)]
        return "/".join([root, *(",".join(map(str, block)) for block in blocks)]).encode()

    def keys(self, number: int) -> tuple[str, ...] | None:
        """Tell what else is hashed."""
        return tuple(filter(None, [self.owner, "" if number else self.salt])) or None


@define(eq=False)
class Reference:
    """vLLM's rules, one after the other."""

    usable: int
    free: list[Block]
    loaded: set[str]
    longest: int = 0
    target: int = 0
    nobodys: list[Block] = field(factory=list)
    running: list[Asked] = field(factory=list)
    waiting: list[Asked] = field(factory=list)
    gone: set[str] = field(factory=set)
    events: list[tuple[Any, ...]] = field(factory=list)
    looked_up: list[tuple[int, int]] = field(factory=list)
    outside: list[tuple[int, int]] = field(factory=list)
    stores: int = 0

    @property
    def blocks(self) -> list[Block]:
        """Every block, once."""
        used = {id(block): block for each in self.running for block in each.blocks}
        return self.free + list(used.values()) + self.nobodys

    def find(self, digest: bytes) -> Block | None:
        """Find the block that has gone by a hash longest."""
        named = [block for block in self.blocks if block.digest == digest]
        return min(named, key=lambda block: block.stored, default=None)

    def prefix(self, asked: Asked) -> list[Block]:
        """Find the longest prefix in whole blocks, without the last token."""
        found: list[Block] = []
        while asked.reads and (len(found) + 1) * SIZE < len(asked.prompt):
            block = self.find(asked.digest(len(found)))
            if block is None:
                break
            found.append(block)
        return found

    def ask(self, asked: Asked) -> None:
        """Have a sequence come."""
        self.waiting.append(asked)
        if len(self.waiting) == 1:
            self.let_in()

    @property
    def room(self) -> int:
        """Count the blocks that are free and that nobody will need who runs."""
        return len(self.free) - sum(each.total - len(each.blocks) for each in self.running)

    def let_in(self) -> None:
        """Let in who has waited longest, as long as there is room for all that running ones and this one may need.

        Nobody comes before them.
        """
        self.squeeze()
        while self.waiting:
            asked = self.waiting[0]
            found = self.prefix(asked)
            needed = asked.total - len(found) + sum(not block.holders for block in found)
            if needed > self.room - (self.target - len(self.nobodys)):
                return
            self.start(self.waiting.pop(0), found)

    def start(self, asked: Asked, found: list[Block]) -> None:
        """Give a sequence the blocks of its prompt."""
        length = len(asked.prompt)
        for block in found:
            if not block.holders:
                self.free.remove(block)
            block.holders += 1
        asked.blocks = list(found)
        self.running.append(asked)
        asked.cached = len(found) * SIZE
        if asked.remote and asked.reads:
            asked.external = max(0, min(asked.remote, length - 1) - asked.cached)
            self.outside.append((length - asked.cached, asked.external))
        if asked.reads:
            self.looked_up.append((length, asked.cached))
        while len(asked.blocks) * SIZE < length:
            self.take(asked)
        asked.computed = length
        self.store(asked, len(found), length // SIZE)

    def take(self, asked: Asked) -> None:
        """Give a sequence one block: one that holds nothing, one of an adapter that is gone, or the oldest."""
        empty = [block for block in self.free if block.digest is None]
        unloaded = [block for block in self.free if block.owner in self.gone]
        block = (empty or unloaded or self.free)[0]
        self.free.remove(block)
        if block.digest is not None:
            self.events.append(("removed", block.digest))
        block.digest, block.owner, block.holders = None, "", 1
        asked.blocks.append(block)

    def occupy(self, share: float) -> float:
        """Have blocks used by nobody, so that the longest sequence still fits."""
        self.target = min(round(share * self.usable), self.usable - self.longest)
        self.let_in()
        return min(share, self.target / self.usable) if self.target < round(share * self.usable) else share

    def squeeze(self) -> None:
        """Give nobody a block that is free, or have a block back, until it has as many as it should."""
        nobody = Asked([], [], "", "", reads=False, remote=0, blocks=self.nobodys)
        while len(self.nobodys) < self.target and self.room:
            self.take(nobody)
        while len(self.nobodys) > self.target:
            block = self.nobodys.pop()
            block.holders = 0
            self.free.insert(0, block)

    def store(self, asked: Asked, start: int, stop: int) -> None:
        """Have full blocks found from now on."""
        numbers = range(start, stop)
        if not numbers:
            return
        for number in numbers:
            self.stores += 1
            block = asked.blocks[number]
            block.digest, block.owner, block.stored = asked.digest(number), asked.owner, self.stores
        if asked.owner in self.loaded:
            self.gone.discard(asked.owner)
        parent = asked.digest(start - 1) if start else None
        digests, keys = [asked.digest(number) for number in numbers], [asked.keys(number) for number in numbers]
        self.events.append(("stored", parent, digests, asked.tokens[start * SIZE : stop * SIZE], keys))

    def grow(self, asked: Asked, tokens: int) -> None:
        """Compute more tokens."""
        full = asked.computed // SIZE
        while len(asked.blocks) * SIZE < tokens:
            self.take(asked)
        asked.computed = tokens
        for number in range(full, tokens // SIZE):
            self.store(asked, number, number + 1)

    def finish(self, asked: Asked) -> None:
        """End a sequence: its last block becomes free first; what holds nothing goes to the front."""
        self.running.remove(asked)
        for block in reversed(asked.blocks):
            block.holders -= 1
            if not block.holders:
                self.free.insert(0 if block.digest is None else len(self.free), block)

    def reset(self, running: bool) -> bool:
        """Forget everything; running sequences know what they have computed."""
        if self.running and not running:
            return False
        for block in self.blocks:
            block.digest = None
            block.owner = ""
        self.events.append(("cleared",))
        for asked in self.running:
            full = asked.computed // SIZE
            known = [number for number in range(full) if asked.blocks[number].digest is not None]
            self.store(asked, len(known), full)
        return True


@define(eq=False)
class Pair:
    """A sequence on both sides.

    :param turn: fires when it is let in.
    """

    asked: Asked
    turn: Deferred[ISequenceBlocks]
    blocks: ISequenceBlocks | None = None

    def take(self, blocks: ISequenceBlocks) -> None:
        """Be let in."""
        self.blocks = blocks


PROMPTS = st.lists(st.sampled_from([[1], [2], [1, 2], [1, 1, 1], [2, 1, 2, 1]]), min_size=1, max_size=4).map(
    lambda parts: [token for part in parts for token in part]
)


class CacheMachine(RuleBasedStateMachine):
    """Does things at random to both."""

    @initialize(usable=st.integers(1, 12), part=st.sampled_from([1, 2, 2, 3]))
    def begin(self, usable: int, part: int) -> None:
        """Have no sequences, the longest of which would take some part of the blocks."""
        longest = -(-usable // part)
        self.clock, self.listener, self.metrics = Clock(), RecordingListener(), RecordingCacheMetrics()
        self.loaded = {"x", "y"}
        lives = BlockLives(self.clock, 0.5, random.Random(usable), self.metrics)
        self.pool = BlockPool(usable, self.metrics, (self.listener,), lives, lambda each: each.name in self.loaded)
        self.hasher = ReadableHasher(SIZE)
        self.cache = KVCache(self.clock, self.pool, SIZE, self.hasher, self.metrics, longest=longest * SIZE)
        self.reference = Reference(usable, [Block() for _ in range(usable)], self.loaded, longest)
        self.pairs: list[Pair] = []
        self.adapters = {name: Adapter(name, f"/{name}", "m", number) for number, name in enumerate(("x", "y"), 1)}

    def running(self) -> list[Pair]:
        """List who is in."""
        return [pair for pair in self.pairs if pair.blocks is not None]

    def waiting(self) -> list[Pair]:
        """List who is not."""
        return [pair for pair in self.pairs if pair.blocks is None]

    @rule(
        prompt=PROMPTS,
        length=st.integers(0, 12),
        owner=st.sampled_from(["", "x", "y"]),
        salt=st.sampled_from(["", "", "", "s"]),
        reads=st.sampled_from([True, True, True, False]),
        remote=st.sampled_from([0, 0, 0, 3, 9]),
    )
    def ask(self, prompt: list[int], length: int, owner: str, salt: str, reads: bool, remote: int) -> None:
        """Have a sequence come that is short enough."""
        room = self.reference.longest * SIZE
        prompt = prompt[:room]
        answer = [3, 1, 2, 1, 1, 2, 2, 1, 2, 3, 3, 3][: min(length, room - len(prompt) + 1)]
        asked = Asked(prompt, answer, owner, salt, reads, remote)
        hashed = self.hasher.prompt(prompt, self.adapters[owner] if owner else None, salt)
        pair = Pair(asked, self.cache.allocate(hashed, answer, reads, remote))
        self.pairs.append(pair)
        pair.turn.addCallback(pair.take)
        self.reference.ask(asked)

    @precondition(lambda self: self.running())
    @rule(data=st.data(), more=st.integers(1, 9))
    def grow(self, data: st.DataObject, more: int) -> None:
        """Have one go on."""
        pair = data.draw(st.sampled_from(self.running()))
        tokens = min(pair.asked.computed + more, len(pair.asked.tokens))
        if tokens > pair.asked.computed:
            cast("ISequenceBlocks", pair.blocks).grow(tokens)
            self.reference.grow(pair.asked, tokens)

    @precondition(lambda self: self.running())
    @rule(data=st.data(), several=st.integers(1, 3))
    def finish(self, data: st.DataObject, several: int) -> None:
        """End some, early or not, before others are let in."""
        for _ in range(min(several, len(self.running()))):
            pair = data.draw(st.sampled_from(self.running()))
            self.pairs.remove(pair)
            cast("ISequenceBlocks", pair.blocks).release()
            self.reference.finish(pair.asked)
        self.reference.let_in()
        self.clock.advance(1)

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """Have one that waits go away."""
        pair = data.draw(st.sampled_from(self.waiting()))
        self.pairs.remove(pair)
        pair.turn.cancel()
        pair.turn.addErrback(lambda reason: reason.trap(CancelledError))
        self.reference.waiting.remove(pair.asked)
        self.reference.let_in()
        self.clock.advance(1)

    @rule(running=st.booleans())
    def reset(self, running: bool) -> None:
        """Forget everything."""
        assert self.cache.reset(running) == self.reference.reset(running)

    @rule(share=st.sampled_from([0, 0.3, 0.5, 0.8, 1]))
    def occupy(self, share: float) -> None:
        """Have blocks used by nobody."""
        assert self.cache.occupy(share) == self.reference.occupy(share)
        self.clock.advance(1)

    @rule(name=st.sampled_from(["x", "y"]))
    def unload(self, name: str) -> None:
        """Serve an adapter no more, or again."""
        if name in self.loaded:
            self.loaded.remove(name)
            self.reference.gone.add(name)
            self.cache.forget(self.adapters[name])
        else:
            self.loaded.add(name)

    @invariant()
    def same(self) -> None:
        """All that can be seen is the same."""
        reference = self.reference
        assert self.listener.take() == reference.events
        reference.events.clear()
        assert (self.metrics.looked_up, self.metrics.looked_outside) == (reference.looked_up, reference.outside)
        assert [pair.asked for pair in self.waiting()] == reference.waiting
        assert self.cache.waiting == len(reference.waiting)
        for pair in self.running():
            prefill, asked = cast("ISequenceBlocks", pair.blocks).prefill, pair.asked
            assert (prefill.cached, prefill.external) == (asked.cached, asked.external)

    @invariant()
    def whole(self) -> None:
        """No block is lost, none is had by those who do not know each other, and of others just the share is used."""
        reference = self.reference
        used = reference.usable - len(reference.free)
        held = Counter(block.digest for block in reference.blocks if block.digest is not None)
        assert (self.pool.used, self.pool.cached) == (used, held.total())
        assert self.metrics.counts in {(used, held.total(), reference.usable), None}
        assert +self.listener.known == held
        assert self.pool.room >= 0
        assert self.pool.room == reference.room
        assert reference.running or used == reference.target
        assert len(reference.nobodys) == reference.target or not reference.room
        for pair in self.running():
            numbers = cast("ISequenceBlocks", pair.blocks).prefill.blocks
            assert len(set(numbers)) == len(numbers) == len(range(0, len(pair.asked.prompt), SIZE))
            assert all(1 <= number <= reference.usable for number in numbers)


class ReferenceTests(SynchronousTestCase):
    """Many random lives of a cache."""

    def test_same(self) -> None:
        """Hits, evictions, events, usage and who waits are those of the slow cache, whatever happens."""
        run_state_machine_as_test(
            CacheMachine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
        )
