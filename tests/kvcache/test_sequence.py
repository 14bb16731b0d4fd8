"""The blocks of one sequence, as it goes on."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.kvcache.fakes import ReadableHasher, RecordingCacheMetrics, RecordingListener
from vllmsim.inference import Adapter
from vllmsim.interfaces import ISequenceBlocks
from vllmsim.kvcache.cache import KVCache
from vllmsim.kvcache.pool import BlockPool

AD = Adapter("ad", "/ad", "m", 1)


class SequenceBlocksTests(SynchronousTestCase):
    """Blocks have four tokens here; prompts are of the numbers from 1, answers of those from 101."""

    def setUp(self) -> None:
        """Have twenty blocks."""
        self.have()

    def have(self, *, hashed: bool = True) -> None:
        """Have twenty blocks."""
        self.listener, self.metrics = RecordingListener(), RecordingCacheMetrics()
        self.pool = BlockPool(20, self.metrics, (self.listener,))
        self.hasher = ReadableHasher(4)
        self.cache = KVCache(Clock(), self.pool, 4, self.hasher if hashed else None, self.metrics)

    def start(self, tokens: int, answer: int, adapter: Adapter | None = None, salt: str = "") -> ISequenceBlocks:
        """Let a sequence in."""
        prompt = self.hasher.prompt(range(1, tokens + 1), adapter, salt)
        return self.successResultOf(self.cache.allocate(prompt, range(101, 101 + answer), reads=True, remote_tokens=0))

    def used(self) -> int:
        """Tell how many blocks the metrics say are used."""
        assert self.metrics.counts is not None
        return self.metrics.counts[0]

    def stored(self) -> list[bytes]:
        """List the hashes that were announced since the last time, none of them in the company of another."""
        events = self.listener.take()
        self.assertEqual([1] * len(events), [len(event[2]) for event in events])
        return [event[2][0] for event in events]

    def test_provides(self) -> None:
        """It is what a sequence is given."""
        verifyObject(ISequenceBlocks, self.start(1, 1))

    def test_prompt(self) -> None:
        """A prompt's blocks are taken at once, and the full ones announced together, with all that was hashed."""
        blocks = self.start(10, 1, AD, "salty")
        self.assertEqual((1, 2, 3), blocks.prefill.blocks)
        hashes = [b"ad+salty/1,2,3,4", b"ad+salty/1,2,3,4/5,6,7,8"]
        self.assertEqual(
            [("stored", None, hashes, [1, 2, 3, 4, 5, 6, 7, 8], [("ad", "salty"), ("ad",)])], self.listener.events
        )
        self.assertEqual([AD], [stored.adapter for stored in self.listener.stored_blocks])

    def test_growth(self) -> None:
        """A block is taken for the first token in it, and announced when the last of its tokens is computed."""
        blocks = self.start(6, 8)
        self.listener.take()
        seen = []
        for tokens in range(6, 14):
            blocks.grow(tokens)
            seen.append((tokens, self.used(), [event[1:4] for event in self.listener.take()]))
        first, second = b"/1,2,3,4/5,6,101,102", b"/1,2,3,4/5,6,101,102/103,104,105,106"
        self.assertEqual(
            [
                (6, 2, []),
                (7, 2, []),
                (8, 2, [(b"/1,2,3,4", [first], [5, 6, 101, 102])]),
                (9, 3, []),
                (10, 3, []),
                (11, 3, []),
                (12, 3, [(first, [second], [103, 104, 105, 106])]),
                (13, 4, []),
            ],
            seen,
        )

    def test_many_at_once(self) -> None:
        """Tokens that come together fill their blocks one after the other."""
        blocks = self.start(4, 11)
        self.listener.take()
        blocks.grow(14)
        self.assertEqual((4, [b"/1,2,3,4/101,102,103,104", b"/1,2,3,4/101,102,103,104/105,106,107,108"]),
                         (self.used(), self.stored()))  # fmt: skip

    def test_short_prompt(self) -> None:
        """The first block may be one that the answer fills; the salt belongs to it all the same."""
        blocks = self.start(2, 4, AD, "salty")
        blocks.grow(4)
        self.assertEqual([("stored", None, [b"ad+salty/1,2,101,102"], [1, 2, 101, 102], [("ad", "salty")])],
                         self.listener.take())  # fmt: skip

    def test_found_again(self) -> None:
        """What was generated is found by a prompt that has it."""
        self.start(6, 7).grow(12)
        ids = [*range(1, 7), *range(101, 108)]
        again = self.successResultOf(self.cache.allocate(self.hasher.prompt(ids), [1], reads=True, remote_tokens=0))
        self.assertEqual(12, again.prefill.cached)

    def test_not_hashed(self) -> None:
        """Without prefix caching blocks are taken all the same, and nothing is announced."""
        self.have(hashed=False)
        blocks = self.start(6, 8)
        for tokens, used in ((6, 2), (8, 2), (9, 3), (12, 3), (13, 4)):
            blocks.grow(tokens)
            self.assertEqual(used, self.used())
        blocks.release()
        self.assertEqual((0, []), (self.used(), self.listener.take()))

    def test_released(self) -> None:
        """Blocks are given back once, with those that were never taken, and nothing happens afterwards."""
        blocks = self.start(6, 30)
        blocks.grow(9)
        self.assertEqual((3, 11), (self.used(), self.pool.room))
        blocks.release()
        blocks.release()
        blocks.grow(30)
        self.assertEqual((0, 20), (self.used(), self.pool.room))

    def test_reset(self) -> None:
        """When all is forgotten while it runs, its full blocks are announced again, together, and it goes on."""
        blocks = self.start(6, 12, AD, "salty")
        blocks.grow(13)
        known = self.listener.known.copy()
        self.listener.take()
        self.assertTrue(self.cache.reset(running=True))
        cleared, stored = self.listener.take()
        self.assertEqual(("cleared",), cleared)
        self.assertEqual(
            (None, [*range(1, 7), *range(101, 107)], [("ad", "salty"), ("ad",), ("ad",)]), (stored[1], *stored[3:])
        )
        self.assertEqual((known, (4, 3, 20)), (self.listener.known, self.metrics.counts))
        blocks.grow(16)
        self.assertEqual([event[1] for event in self.listener.take()], [list(known)[-1]])

    def test_reset_of_nothing(self) -> None:
        """One that has no full block has nothing to announce."""
        self.start(3, 5)
        self.assertTrue(self.cache.reset(running=True))
        self.assertEqual([("cleared",)], self.listener.take())

    def test_reset_of_shared(self) -> None:
        """What sequences share is announced by the first of them, and the rest of each as what comes behind."""
        first, second = self.start(10, 1), self.start(14, 1)
        third = self.start(10, 1)
        self.listener.take()
        self.cache.reset(running=True)
        shared, last = b"/1,2,3,4/5,6,7,8", b"/1,2,3,4/5,6,7,8/9,10,11,12"
        self.assertEqual(
            [("cleared",), ("stored", None, [b"/1,2,3,4", shared], [*range(1, 9)], [None, None]),
             ("stored", shared, [last], [9, 10, 11, 12], [None])], self.listener.take())  # fmt: skip
        for each in (first, second, third):
            each.release()
        self.assertEqual((0, 3, 20), self.metrics.counts)
