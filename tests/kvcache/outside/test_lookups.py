"""A cache outside this server, between the hashing of prompts and the pool of blocks."""

from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import request_for
from tests.kvcache.fakes import ReadableHasher, RecordingCacheMetrics
from tests.kvcache.stores import GivenStore
from vllmsim.inference import HashedPrompt, Prefill, TextPrompt, TokenizedPrompt
from vllmsim.interfaces import IBlockListener, IBlockStore
from vllmsim.kvcache.cache import KVCache
from vllmsim.kvcache.outside.lookups import OutsideLookups, OutsideWriter
from vllmsim.kvcache.pool import BlockPool
from vllmsim.shifts import Shifts


class OutsideTestCase(SynchronousTestCase):
    """Tests of a cache of blocks of four tokens with a store behind it."""

    def setUp(self) -> None:
        """Have both."""
        self.clock, self.store, self.hasher = Clock(), GivenStore(), ReadableHasher(4)
        self.metrics = RecordingCacheMetrics()
        self.cache = self.make()

    def make(self, blocks: int = 20, lifetime: float = 400.0) -> KVCache:
        """Make a server's cache."""
        writer = OutsideWriter(self.store)
        self.pool = BlockPool(blocks, self.metrics, (writer,))
        lookups = OutsideLookups(self.hasher, self.store, self.pool, 4, lifetime, self.clock, Shifts(self.clock))
        return KVCache(self.clock, self.pool, 4, lookups, self.metrics, outside=True)

    def hash(self, tokens: int, cache: KVCache | None = None, **request: Any) -> "Deferred[HashedPrompt]":
        """Hash a prompt of numbers in their order."""
        prompt = TokenizedPrompt(TextPrompt("x"), "x", range(tokens), [""] * tokens)
        asked = evolve(request_for("x"), **request)
        return Deferred.fromCoroutine((cache or self.cache).hash(prompt, asked))

    def serve(self, tokens: int, cache: KVCache | None = None, answer: int = 1, **request: Any) -> Prefill:
        """Serve a request."""
        cache = cache or self.cache
        hashed = self.successResultOf(self.hash(tokens, cache, **request))
        reads = request.get("reads_cache", True)
        blocks = self.successResultOf(cache.allocate(hashed, range(answer), reads, request.get("remote_tokens") or 0))
        blocks.grow(tokens + answer - 1)
        blocks.release()
        prefill: Prefill = blocks.prefill
        return prefill


class LookupTests(OutsideTestCase):
    """What other servers have is found."""

    def test_provides(self) -> None:
        """The parts are what they stand for."""
        verifyObject(IBlockStore, self.store)
        verifyObject(IBlockListener, OutsideWriter(self.store))

    def test_shared(self) -> None:
        """What one server has computed, prompts and answers, another has from outside."""
        self.assertEqual((0, 0), self._found(self.serve(9, answer=4)))
        other = self.make()
        self.assertEqual((0, 8), self._found(self.serve(14, other)))
        self.assertEqual([(9, 0), (14, 8)], self.metrics.looked_outside)
        # Now it is here.
        self.assertEqual((12, 0), self._found(self.serve(14, other)))

    def test_answers(self) -> None:
        """Blocks that an answer fills are shared too."""
        self.serve(6, answer=7)
        self.assertEqual([b"/0,1,2,3", b"/0,1,2,3/4,5,0,1", b"/0,1,2,3/4,5,0,1/2,3,4,5"], self.store.written)

    def test_both(self) -> None:
        """What is here is used first, and the rest is fetched."""
        other = self.make()
        self.serve(9, other)
        self.serve(17)
        self.assertEqual((8, 8), self._found(self.serve(18, other)))

    def test_last_token(self) -> None:
        """The last block of a prompt is not asked for when the prompt's last token is in it."""
        self.serve(9)
        self.serve(8, self.make())
        self.assertEqual([[b"/0,1,2,3", b"/0,1,2,3/4,5,6,7"], [b"/0,1,2,3"]], self.store.looked)

    def test_evicted(self) -> None:
        """What had to go here is still outside."""
        small = self.make(blocks=3)
        self.serve(9, small)
        self.serve(12, small, cache_salt="other")
        self.assertEqual((0, 8), self._found(self.serve(9, small)))

    def test_nobody_asks(self) -> None:
        """A request that reads no cache, one whose prompt comes from another server, and a short one ask nobody."""
        self.serve(9, reads_cache=False)
        self.serve(9, remote_prefill=True, remote_tokens=9)
        self.serve(4)
        self.assertEqual([], self.store.looked)

    def test_unreachable(self) -> None:
        """Without the store the server's own cache goes on; nothing is written because of that."""
        self.store.reachable = False
        self.serve(9)
        self.store.written.clear()
        self.assertEqual((8, 0), self._found(self.serve(14)))
        self.assertEqual([b"/0,1,2,3/4,5,6,7/8,9,10,11"], self.store.written)

    def test_cleared_here(self) -> None:
        """When this server forgets its blocks the store does not."""
        self.serve(9)
        self.cache.reset(running=True)
        self.assertEqual((0, 8), self._found(self.serve(9)))

    def test_cancelled(self) -> None:
        """A request may be cancelled while it waits for the store."""
        self.store.turns = []
        hashing = self.hash(9)
        self.assertNoResult(hashing)
        hashing.cancel()
        self.failureResultOf(hashing, CancelledError)

    def test_many(self) -> None:
        """When a thousand prompts come together, asking for them does not hold the reactor: it is done in shifts."""
        turns: list[Deferred[None]] = []
        advance = self.clock.advance

        class SlowStore(GivenStore):
            async def lookup(self, hashes: Any) -> int | None:
                advance(0.0004)
                return await super().lookup(hashes)

        self.store = SlowStore(turns=turns)
        cache = self.make()
        for _ in range(10):
            self.hash(9, cache)
        begun = [len(turns)]
        while self.clock.getDelayedCalls():
            call = self.clock.calls.pop(0)
            call.func(*call.args, **call.kw)
            begun.append(len(turns))
        self.assertEqual([3, 6, 9, 10], begun)

    def _found(self, prefill: Prefill) -> tuple[int, int]:
        return prefill.cached, prefill.external


class RefreshTests(OutsideTestCase):
    """What is here and in use stays outside."""

    def test_no_wait(self) -> None:
        """A prompt that is all here is looked up without waiting for the answer."""
        self.serve(9)
        self.store.turns = []
        self.serve(9)
        self.assertEqual(2, len(self.store.looked))
        self.store.turns.pop().callback(None)

    def test_now_and_then(self) -> None:
        """It is looked up once in a minute, or once in a quarter of the time that blocks live."""
        for lifetime, pause in ((400.0, 60.0), (40.0, 10.0)):
            cache = self.make(lifetime=lifetime)
            self.store.there.clear()
            self.serve(9, cache)
            self.store.looked.clear()
            for _ in range(10):
                self.serve(9, cache)
                self.clock.advance(pause / 5)
            self.assertEqual(2, len(self.store.looked))

    def test_mended(self) -> None:
        """What is here and is missing outside, since that was emptied, is written again."""
        self.serve(13)
        self.store.there.clear()
        self.store.written.clear()
        self.serve(13)
        self.assertEqual([b"/0,1,2,3", b"/0,1,2,3/4,5,6,7", b"/0,1,2,3/4,5,6,7/8,9,10,11"], self.store.written)
        self.store.there.popitem()
        self.store.written.clear()
        self.serve(17)
        mended = b"/0,1,2,3/4,5,6,7/8,9,10,11"
        self.assertEqual([mended, mended + b"/12,13,14,15"], self.store.written)

    def test_memory(self) -> None:
        """What is remembered of that is bounded."""
        self.patch(__import__("vllmsim.kvcache.outside.lookups", fromlist=["x"]), "_MOST_REMEMBERED", 3)
        for number in range(5):
            for _ in range(2):
                self.serve(9, cache_salt=str(number))
        lookups: Any = self.cache._hasher
        self.assertEqual(3, len(lookups._refreshed))
