"""Who is let in, and what is found."""

from collections.abc import Sequence

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import TurningClock, request_for
from tests.kvcache.fakes import ReadableHasher, RecordingCacheMetrics, RecordingListener
from vllmsim.inference import Adapter, Prefill, StoredBlocks, TextPrompt, TokenizedPrompt
from vllmsim.interfaces import IKVCache, ISequenceBlocks
from vllmsim.kvcache.cache import KVCache
from vllmsim.kvcache.pool import BlockPool


@define(eq=False)
class SlowListener(RecordingListener):
    """Takes its time."""

    clock: Clock = field(kw_only=True)

    def stored(self, blocks: StoredBlocks) -> None:
        """Take a millisecond and a half."""
        self.clock.rightNow += 0.0015


class CacheTestCase(SynchronousTestCase):
    """A cache with blocks of four tokens."""

    def have(self, usable: int = 20, *, hashed: bool = True, outside: bool = False) -> None:
        """Have a cache of some blocks."""
        self.clock = TurningClock()
        self.listener, self.metrics = RecordingListener(), RecordingCacheMetrics()
        self.hasher = ReadableHasher(4)
        self.pool = BlockPool(usable, self.metrics, (self.listener,))
        self.cache = KVCache(self.clock, self.pool, 4, self.hasher if hashed else None, self.metrics, outside)

    def ask(
        self,
        tokens: int,
        answer: int = 1,
        adapter: Adapter | None = None,
        salt: str = "",
        *,
        reads: bool = True,
        remote: int = 0,
        shared: int = 0,
        first: int = 1,
    ) -> Deferred[ISequenceBlocks]:
        """Ask for blocks for a prompt of numbers in their order."""
        prompt = self.hasher.prompt(range(first, first + tokens), adapter, salt, shared)
        return self.cache.allocate(prompt, range(answer), reads, remote)

    def start(self, tokens: int, **asked: object) -> Prefill:
        """Let a sequence in, and out again."""
        blocks = self.successResultOf(self.ask(tokens, **asked))  # type: ignore[arg-type]
        blocks.release()
        prefill: Prefill = blocks.prefill
        return prefill


class KVCacheTests(CacheTestCase):
    """What sequences find."""

    def setUp(self) -> None:
        """Have a cache."""
        self.have()

    def test_provides(self) -> None:
        """It is a KV cache, which holds so many tokens as its blocks have together."""
        verifyObject(IKVCache, self.cache)
        self.assertEqual((80, 0), (self.cache.capacity, self.cache.waiting))

    def test_hash(self) -> None:
        """Prompts are hashed where prefixes are cached, and not where that would be of no use."""
        prompt = TokenizedPrompt(TextPrompt("x"), "x", [1, 2, 3, 4], list("wxyz"))
        for hashed, digests in ((True, [b"/1,2,3,4"]), (False, [])):
            self.have(hashed=hashed)
            made = self.successResultOf(Deferred.fromCoroutine(self.cache.hash(prompt, request_for("x"))))
            self.assertEqual(([1, 2, 3, 4], digests), (made.ids, list(made.hashes)))

    def test_whole_blocks(self) -> None:
        """Only full blocks are found, and never the whole prompt: its last token gives the first of the answer."""
        for tokens, cached in ((4, 0), (5, 4), (7, 4), (8, 4), (9, 8), (22, 20)):
            self.have()
            self.assertEqual((0, cached), (self.start(tokens).cached, self.start(tokens).cached))

    def test_vllm(self) -> None:
        """With vLLM's blocks a prompt of 16 tokens never hits, and of one of 22 tokens 16 do."""
        for tokens, cached in ((16, 0), (22, 16)):
            hasher, metrics = ReadableHasher(16), RecordingCacheMetrics()
            cache = KVCache(Clock(), BlockPool(9, metrics), 16, hasher, metrics)
            for seen in (0, cached):
                asked = cache.allocate(hasher.prompt(range(tokens)), [1], reads=True, remote_tokens=0)
                blocks = self.successResultOf(asked)
                self.assertEqual(Prefill(tokens, seen), Prefill(tokens, blocks.prefill.cached))
                blocks.release()
            self.assertEqual([(tokens, 0), (tokens, cached)], metrics.looked_up)

    def test_last_block_again(self) -> None:
        """The last block of a prompt that is all there is computed, and announced, again."""
        self.start(8)
        self.listener.take()
        self.assertEqual((4, 4), (self.start(8).cached, self.start(8).computed))
        event = ("stored", b"/1,2,3,4", [b"/1,2,3,4/5,6,7,8"], [5, 6, 7, 8], [None])
        self.assertEqual([event, event], self.listener.take())

    def test_only_new(self) -> None:
        """What is found is not announced again, and what comes behind it is, with what it follows."""
        self.start(12)
        self.listener.take()
        self.assertEqual(12, self.start(18).cached)
        parent = b"/1,2,3,4/5,6,7,8/9,10,11,12"
        self.assertEqual(
            [("stored", parent, [parent + b"/13,14,15,16"], [13, 14, 15, 16], [None])], self.listener.take()
        )

    def test_at_the_same_time(self) -> None:
        """Sequences that run at the same time share blocks, as they are found from the moment they are taken."""
        first, second = self.successResultOf(self.ask(10)), self.successResultOf(self.ask(11))
        self.assertEqual(first.prefill.blocks[:2], second.prefill.blocks[:2])
        self.assertEqual((4, 2, 20), self.metrics.counts)

    def test_apart(self) -> None:
        """What belongs to an adapter or to a salt is not found by others."""
        adapter = Adapter("ad", "/ad", "m", 1)
        for _ in range(2):
            seen = [self.start(9, adapter=each, salt=salt).cached for each in (None, adapter) for salt in ("", "s")]
        self.assertEqual([8, 8, 8, 8], seen)
        self.assertEqual([(9, 0)] * 4 + [(9, 8)] * 4, self.metrics.looked_up)

    def test_reads_nothing(self) -> None:
        """A request that does not want to read is not looked up or counted; what it computes is there for others."""
        self.start(9)
        self.listener.take()
        self.assertEqual(0, self.start(9, reads=False, shared=2).cached)
        self.assertEqual(2, len(self.listener.take()[0][2]))
        self.assertEqual([(9, 0)], self.metrics.looked_up)
        self.assertEqual(8, self.start(9).cached)

    def test_nothing_cached(self) -> None:
        """Without prefix caching nothing is found or counted, and blocks are used."""
        self.have(hashed=False)
        blocks = self.successResultOf(self.ask(9))
        self.start(9)
        self.assertEqual(((3, 0, 20), [], []), (self.metrics.counts, self.metrics.looked_up, self.listener.events))
        self.assertEqual(Prefill(9, blocks=(1, 2, 3)), blocks.prefill)

    def test_usage(self) -> None:
        """Blocks are used while a sequence has them; none are when all have ended."""
        blocks = self.successResultOf(self.ask(9, 40))
        self.assertEqual((3, 2, 20), self.metrics.counts)
        blocks.grow(48)
        self.assertEqual((12, 12, 20), self.metrics.counts)
        blocks.release()
        self.assertEqual((0, 12, 20), self.metrics.counts)

    def test_remote(self) -> None:
        """Tokens that another server has computed come beyond those that are here; the last is computed in any case."""
        self.start(8, first=1)
        for remote, external in ((9, 1), (8, 0), (3, 0), (50, 1)):
            prefill = self.start(10, remote=remote)
            self.assertEqual((8, external), (prefill.cached, prefill.external))
        self.assertEqual([(2, 1), (2, 0), (2, 0), (2, 1)], self.metrics.looked_outside)

    def test_remote_that_must_not_be_read(self) -> None:
        """Who may not read what others have computed fetches nothing either, as in vLLM."""
        prefill = self.start(10, remote=10, reads=False)
        self.assertEqual((0, 0, 10), (prefill.cached, prefill.external, prefill.computed))
        self.assertEqual(([], []), (self.metrics.looked_up, self.metrics.looked_outside))

    def test_outside(self) -> None:
        """Blocks of a cache outside come beyond those that are here, in whole blocks and never the whole prompt."""
        self.have(outside=True)
        self.start(4)
        self.assertEqual((4, 8), self._sources(14, shared=3))
        self.assertEqual((12, 0), self._sources(14, shared=3))
        self.assertEqual((0, 8), self._sources(12, shared=3, first=50))
        self.assertEqual((0, 9), self._sources(10, shared=1, first=70, remote=10))
        self.assertEqual([(4, 0), (10, 8), (2, 0), (12, 8), (10, 9)], self.metrics.looked_outside)

    def test_no_outside(self) -> None:
        """Without one, nothing is looked up there."""
        self.assertEqual((0, 0), self._sources(14, shared=3))
        self.assertEqual([], self.metrics.looked_outside)

    def _sources(self, tokens: int, **asked: object) -> tuple[int, int]:
        prefill = self.start(tokens, **asked)
        return prefill.cached, prefill.external

    def test_reset(self) -> None:
        """All is forgotten when no sequence runs, and told to everyone."""
        self.start(9)
        blocks = self.successResultOf(self.ask(3))
        self.assertFalse(self.cache.reset(running=False))
        blocks.release()
        self.listener.take()
        self.assertTrue(self.cache.reset(running=False))
        self.assertEqual([("cleared",)], self.listener.take())
        self.assertEqual((0, 0, 20), self.metrics.counts)
        self.assertEqual(0, self.start(9).cached)

    def test_unloaded(self) -> None:
        """Blocks of an adapter that is served no more are the first that others get, however young they are."""
        adapter = Adapter("ad", "/ad", "m", 1)
        self.have(6)
        self.start(8)
        self.start(8, adapter=adapter)
        self.start(8, first=50)
        self.listener.take()
        self.cache.forget(adapter)
        self.start(12, first=80)
        self.assertEqual(
            [b"ad/1,2,3,4/5,6,7,8", b"ad/1,2,3,4", b"/1,2,3,4/5,6,7,8"],
            [event[1] for event in self.listener.take() if event[0] == "removed"],
        )


class RoomTests(CacheTestCase):
    """When there is too little room for all."""

    def fired(self, turns: Sequence[Deferred[ISequenceBlocks]]) -> list[bool]:
        """Tell who is in."""
        return [turn.called for turn in turns]

    def test_waits(self) -> None:
        """A sequence waits until there are blocks for its prompt and its whole answer, but for the last token."""
        self.have(5)
        for answer, waits in ((12, 0), (13, 1)):
            first = self.successResultOf(self.ask(8))
            second = self.ask(1, answer, first=50)
            self.assertEqual((waits, not waits), (self.cache.waiting, second.called), answer)
            first.release()
            self.clock.advance(0)
            self.successResultOf(second).release()

    def test_promised(self) -> None:
        """What a sequence will need is not given to others, even while it is free; it never fails to grow."""
        self.have(5)
        first = self.successResultOf(self.ask(4, 13))
        second = self.ask(8, first=50)
        self.assertEqual((1, 1), (self.pool.used, self.cache.waiting))
        first.grow(16)
        self.assertEqual(4, self.pool.used)
        first.release()
        self.assertNoResult(second)
        self.clock.advance(0)
        self.assertEqual((0, 2), (self.cache.waiting, len(self.successResultOf(second).prefill.blocks)))

    def test_in_turn(self) -> None:
        """Nobody overtakes who has waited longer, also not one for whom there would be room."""
        self.have(5)
        first = self.successResultOf(self.ask(12))
        turns = [self.ask(12, first=50), self.ask(1, first=70), self.ask(12, first=90), self.ask(1, first=99)]
        self.clock.advance(0)
        self.assertEqual(([False] * 4, 4), (self.fired(turns), self.cache.waiting))
        first.release()
        self.clock.advance(0)
        self.assertEqual(([True, True, False, False], 2), (self.fired(turns), self.cache.waiting))
        self.successResultOf(turns[0]).release()
        self.clock.advance(0)
        self.assertEqual([True] * 4, self.fired(turns))

    def test_found_while_waiting(self) -> None:
        """What it finds is looked up when it is let in, and counted once."""
        self.have(5)
        first = self.successResultOf(self.ask(16, first=50))
        turns = [self.ask(10), self.ask(10)]
        first.release()
        self.clock.advance(0)
        self.assertEqual([0, 8], [self.successResultOf(turn).prefill.cached for turn in turns])
        self.assertEqual([(16, 0), (10, 0), (10, 8)], self.metrics.looked_up)

    def test_shared_room(self) -> None:
        """Blocks that a running sequence shares take no room; those that nobody has do."""
        self.have(5)
        first = self.successResultOf(self.ask(13))
        second = self.successResultOf(self.ask(14))
        self.assertEqual((12, 5), (second.prefill.cached, self.pool.used))
        first.release()
        second.release()
        third = self.successResultOf(self.ask(8, first=50))
        fourth = self.ask(14)
        self.assertNoResult(fourth)
        third.release()
        self.clock.advance(0)
        self.assertEqual(12, self.successResultOf(fourth).prefill.cached)

    def test_given_up(self) -> None:
        """Who waits may give up, and whoever is next is let in."""
        self.have(5)
        first = self.successResultOf(self.ask(16))
        turns = [self.ask(20, first=50), self.ask(4, first=80), self.ask(4, first=90)]
        turns[2].cancel()
        self.clock.advance(0)
        self.assertEqual([False, False], self.fired(turns[:2]))
        turns[0].cancel()
        self.clock.advance(0)
        self.assertEqual((True, 0), (turns[1].called, self.cache.waiting))
        for given_up in (turns[0], turns[2]):
            self.failureResultOf(given_up, CancelledError)
        first.release()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_given_up_by_all(self) -> None:
        """Nothing is left to do when nobody waits any more."""
        self.have(5)
        first = self.successResultOf(self.ask(16))
        turns = [self.ask(20, first=50), self.ask(20, first=80)]
        for turn in turns:
            turn.cancel()
            self.failureResultOf(turn, CancelledError)
        self.clock.advance(0)
        self.assertEqual((0, []), (self.cache.waiting, self.clock.getDelayedCalls()))
        first.release()
        self.assertEqual((0, 4, 5), self.metrics.counts)

    def test_next_turn(self) -> None:
        """However many are let in at once, other events come in between after some milliseconds."""
        self.have(20)
        first = self.successResultOf(self.ask(80))
        events: list[object] = []
        for number in range(4):
            self.ask(4, first=100 * (number + 1)).addCallback(self._spend, events, number)
        first.release()
        self.clock.callLater(0.001, events.append, "another event")
        self.clock.advance(0)
        self.assertEqual([0, 1, "another event", 2, 3], events)

    def test_many_at_once(self) -> None:
        """When many come at once, some are let in, and the others when other events had their turn."""
        self.have(20)
        self.pool._listeners = [SlowListener(clock=self.clock)]
        turns = [self.ask(4, first=100 * number) for number in range(1, 6)]
        self.assertEqual([True, True, False, False, False], self.fired(turns))
        later = self.ask(4, first=600)
        for waiting, fired in ((2, 4), (0, 6)):
            self.clock.turn()
            self.assertEqual((waiting, fired), (self.cache.waiting, self.fired([*turns, later]).count(True)))
        self.assertEqual([], self.clock.getDelayedCalls())
        # They have had their time, and it is not counted again.
        self.assertEqual([True, True, False], self.fired([self.ask(4, first=100 * number) for number in (7, 8, 9)]))
        self.clock.advance(0)

    def _spend(self, blocks: ISequenceBlocks, events: list[object], number: int) -> ISequenceBlocks:
        """Take the time that a sequence's beginning might."""
        events.append(number)
        self.clock.rightNow += 0.0015
        return blocks
