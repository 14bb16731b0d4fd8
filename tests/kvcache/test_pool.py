"""Who has blocks, and what they hold."""

import random
from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.kvcache.fakes import RecordingCacheMetrics, RecordingListener
from vllmsim.inference import Adapter, StoredBlocks
from vllmsim.kvcache.lives import BlockLives
from vllmsim.kvcache.pool import BlockPool


class BlockPoolTests(SynchronousTestCase):
    """Sequences are lists of blocks here, each of which goes by a letter."""

    def have(self, usable: int) -> None:
        """Have a pool of some blocks."""
        self.listener, self.metrics = RecordingListener(), RecordingCacheMetrics()
        self.pool = BlockPool(usable, self.metrics, (self.listener,))

    def start(self, letters: str, adapter: Adapter | None = None) -> list[int]:
        """Take the blocks of a sequence: those that are there, and others, which are full at once."""
        digests = [letter.encode() for letter in letters]
        found = self.pool.find(digests, len(digests))
        self.pool.share(found)
        new = self.take(len(digests) - len(found))
        if new:
            known = len(found)
            parent = digests[known - 1] if known else None
            self.pool.store(new, StoredBlocks(digests[known:], parent, (), [None] * len(new), adapter))
        return found + new

    def take(self, count: int) -> list[int]:
        """Take blocks that hold nothing."""
        self.pool.promise(count)
        return self.pool.take(count)

    def finish(self, blocks: Sequence[int]) -> None:
        """Give the blocks of a sequence back."""
        self.pool.release(blocks, 0)

    def heard(self, kind: str) -> str:
        """Join the letters of blocks that were stored or removed."""
        if kind == "removed":
            return "".join(event[1].decode() for event in self.listener.events if event[0] == kind)
        return "".join(digest.decode() for event in self.listener.events if event[0] == kind for digest in event[2])

    def counts(self) -> tuple[int, int, int]:
        """Tell how many blocks are used, go by a hash, and are free."""
        self.pool.tell()
        self.assertEqual((self.pool.used, self.pool.cached, self.pool.usable), self.metrics.counts)
        return self.pool.used, self.pool.cached, self.pool.free

    def test_finished(self) -> None:
        """Blocks of a sequence that has ended count as free, and keep what they hold."""
        self.have(3)
        blocks = self.start("ab")
        self.assertEqual((2, 2, 1), self.counts())
        self.finish(blocks)
        self.assertEqual((0, 2, 3), self.counts())
        self.assertEqual(blocks, self.start("ab"))
        self.assertEqual((2, 2, 1), self.counts())

    def test_two_sequences(self) -> None:
        """Each sequence has its own."""
        self.have(5)
        first, second = self.start("ab"), self.start("cd")
        self.assertEqual((4, 4, 1), self.counts())
        self.finish(first)
        self.assertEqual((2, 4, 3), self.counts())
        self.finish(second)
        self.assertEqual((0, 4, 5), self.counts())

    def test_shared(self) -> None:
        """A block that two sequences have is used until both have ended."""
        self.have(5)
        first, second = self.start("ab"), self.start("ac")
        self.assertEqual(first[0], second[0])
        self.assertEqual((3, 3, 2), self.counts())
        self.assertEqual(0, self.pool.count_free(first))
        self.finish(first)
        self.assertEqual((2, 3, 3), self.counts())
        self.assertEqual(1, self.pool.count_free(first))

    def test_evicted(self) -> None:
        """What holds something is given away when nothing else is left, and everyone is told before the new content."""
        self.have(4)
        self.start("ab")
        self.finish(self.start("cd"))
        self.start("ef")
        self.assertEqual([], self.pool.find([b"c"], 1))
        self.assertEqual(1, len(self.pool.find([b"e"], 1)))
        self.assertEqual("abcdef", self.heard("stored"))
        self.assertEqual("dc", self.heard("removed"))
        self.assertEqual(
            ["stored", "stored", "removed", "removed", "stored"], [each[0] for each in self.listener.events]
        )

    def test_evicted_in_turn(self) -> None:
        """Blocks go in the order in which they were used last, and those that sequences have stay."""
        self.have(4)
        first, second = self.start("ab"), self.start("cd")
        self.start("a")
        self.start("c")
        self.assertEqual((4, 4, 0), self.counts())
        self.finish(first)
        self.finish(second)
        self.start("ef")
        self.assertEqual(("bd", "abcdef"), (self.heard("removed"), self.heard("stored")))

    def test_tail_first(self) -> None:
        """Of a sequence's blocks the last goes first, so that a shorter prefix is still found."""
        self.have(3)
        self.finish(self.start("abc"))
        self.start("x")
        self.start("y")
        self.assertEqual("cb", self.heard("removed"))
        self.assertEqual(1, len(self.pool.find([b"a", b"b", b"c"], 3)))

    def test_blank_first(self) -> None:
        """Blocks that hold nothing are taken before any other, the last that was given back before all."""
        self.have(6)
        self.finish(self.start("a"))
        half = self.take(3)
        self.assertEqual([2, 3, 4], half)
        self.finish(half)
        self.assertEqual([4, 3, 2], self.take(3))
        self.assertEqual([5, 6], self.take(2))
        self.assertEqual("", self.heard("removed"))
        self.assertEqual([1], self.take(1))
        self.assertEqual("a", self.heard("removed"))

    def test_null(self) -> None:
        """No sequence gets the null block, number 0."""
        self.have(3)
        self.assertEqual([1, 2, 3], self.take(3))

    def test_contiguous(self) -> None:
        """What comes behind a block that is not there is not found, and no more is looked up than asked for."""
        self.have(9)
        blocks = self.start("abc")
        self.assertEqual(blocks, self.pool.find([b"a", b"b", b"c", b"d"], 4))
        self.assertEqual(blocks[:2], self.pool.find([b"a", b"b", b"c"], 2))
        self.assertEqual(blocks[:1], self.pool.find([b"a", b"x", b"c"], 3))
        self.assertEqual([], self.pool.find([b"a"], 0))

    def test_copies(self) -> None:
        """Blocks with the same content are all kept and announced; the oldest that is left is found."""
        self.have(5)
        copies = []
        for _ in range(4):
            copies.append(self.take(1))
            self.pool.store(copies[-1], StoredBlocks((b"a",), None, (), (None,)))
        self.assertEqual(("aaaa", 4), (self.heard("stored"), self.pool.cached))
        self.finish(copies[1])
        self.start("xy")
        removed = "a"
        for gone, found in ((0, copies[2]), (2, copies[3]), (3, [])):
            self.finish(copies[gone])
            self.take(1)
            removed += "a"
            self.assertEqual((found, removed), (self.pool.find([b"a"], 1), self.heard("removed")))

    def test_promised(self) -> None:
        """What is promised to one is no room for others, though it is free."""
        self.have(4)
        self.pool.promise(3)
        self.assertEqual((1, 4, 0), (self.pool.room, self.pool.free, self.pool.used))
        blocks = self.pool.take(2)
        self.assertEqual((1, 2, 2), (self.pool.room, self.pool.free, self.pool.used))
        self.pool.release(blocks, 1)
        self.assertEqual((4, 4, 0), (self.pool.room, self.pool.free, self.pool.used))

    def test_clear(self) -> None:
        """When all is forgotten nothing is found, sequences keep their blocks, and these hold nothing when they end."""
        self.have(4)
        running = self.start("ab")
        self.finish(self.start("c"))
        self.pool.clear()
        self.assertEqual(("cleared",), self.listener.events[-1])
        self.assertEqual(([], (2, 0, 2)), (self.pool.find([b"a"], 1), self.counts()))
        self.finish(running)
        self.start("wxyz")
        self.assertEqual("", self.heard("removed"))

    def test_unloaded(self) -> None:
        """Blocks of an adapter that is gone are given away before older ones."""
        self.have(4)
        self.finish(self.start("ab"))
        adapter = Adapter("ad", "/ad", "m", 1)
        self.finish(self.start("cd", adapter))
        self.pool.forget(adapter)
        self.take(3)
        self.assertEqual("dcb", self.heard("removed"))

    def test_lives(self) -> None:
        """Lives begin and end when blocks are taken, are used when they are found, and are interrupted by a reset."""
        clock, metrics = Clock(), RecordingCacheMetrics()
        self.have(1)
        self.pool = BlockPool(1, metrics, (), BlockLives(clock, 1.0, random.Random(1), metrics))
        self.finish(self.start("a"))
        for letter in "aa":
            clock.advance(1)
            self.finish(self.start(letter))
        clock.advance(3)
        self.finish(self.start("b"))
        self.assertEqual([(5, 3, [1])], metrics.evicted)
        self.pool.clear()
        self.finish(self.start("c"))
        self.assertEqual(1, len(metrics.evicted))

    def test_large(self) -> None:
        """A pool of a thousand million blocks costs what is used of it."""
        self.have(10**9)
        self.finish(self.start("ab"))
        self.assertEqual((0, 2, 10**9), self.counts())
