"""The KV cache of an engine that goes in steps."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import request_for
from tests.kvcache.test_pressure import SlowClock
from tests.scheduling.steps.rig import Rig
from vllmsim.inference import Adapter, TextPrompt, TokenizedPrompt
from vllmsim.interfaces import IStepCache
from vllmsim.scheduling.steps.limits import StepLimits


class StepCacheTests(SynchronousTestCase):
    """What others than the scheduler see of it, and what they may do."""

    def setUp(self) -> None:
        """Have ten blocks of four tokens, and sequences of sixteen at most."""
        self.rig = Rig(10, StepLimits(8, 64, 16))

    def test_interface(self) -> None:
        """A scheduler and everyone else may use it."""
        verifyObject(IStepCache, self.rig.cache)

    def test_usage(self) -> None:
        """It says how much there is, how much is used, and by how many."""
        cache = self.rig.cache
        self.assertEqual((40, 0, 0), (cache.capacity, cache.usage, cache.running))
        self.rig.add("a", range(5))
        self.rig.step()
        self.assertEqual((0.2, 1), (cache.usage, cache.running))
        self.assertEqual((2, 1, 10), self.rig.metrics.counts)

    def test_hashes(self) -> None:
        """Prompts are hashed where prefixes are cached."""
        prompt = TokenizedPrompt(TextPrompt("a b"), "a b", range(5), ())
        for hashed, count in ((True, 1), (False, 0)):
            rig = Rig(10, hashed=hashed)
            made = self.successResultOf(Deferred.fromCoroutine(rig.cache.hash(prompt, request_for("a b"))))
            self.assertEqual((count, range(5)), (len(made.hashes), made.ids))

    def test_reset_idle(self) -> None:
        """When no sequence has blocks, what they hold is forgotten, which subscribers hear at once."""
        self.rig.add("a", range(5), [1])
        self.rig.step()
        self.rig.listener.take()
        self.assertTrue(self.rig.cache.reset(running=False))
        self.assertEqual([("cleared",)], self.rig.listener.take())
        self.rig.add("b", range(5), [1])
        self.assertEqual({"b": 5}, self.rig.step())

    def test_reset_refused(self) -> None:
        """When a sequence has blocks, nothing is forgotten, and nobody loses anything."""
        self.rig.add("a", range(5))
        self.rig.step()
        self.assertFalse(self.rig.cache.reset(running=False))
        self.assertEqual({"a": 1}, self.rig.step())

    def test_reset_running(self) -> None:
        """If that is to happen all the same, those that run are preempted, and compute everything anew."""
        computation = self.rig.add("a", range(5))
        self.rig.step()
        self.assertTrue(self.rig.cache.reset(running=True))
        self.assertEqual((0, 0), (self.rig.cache.usage, self.rig.cache.running))
        self.assertEqual(({"a": 6}, 1), (self.rig.step(), computation.preemptions))

    def test_forget(self) -> None:
        """What an adapter has left that is served no more goes first."""
        adapter = Adapter("x", "", "", 1)
        self.rig.add("a", range(16), [1])
        self.rig.add("b", range(16), [1], adapter=adapter)
        self.rig.step()
        self.rig.listener.take()
        self.rig.cache.forget(adapter)
        self.rig.add("c", range(20, 30), [1])
        self.rig.step()
        removed = [event[1] for event in self.rig.listener.take() if event[0] == "removed"]
        self.assertEqual([b"x/0,1,2,3/4,5,6,7/8,9,10,11/12,13,14,15"], removed)

    def test_pressure(self) -> None:
        """Blocks can be used by nobody, as far as the longest sequence finds room."""
        self.assertEqual(0.6, self.rig.cache.occupy(0.8))
        self.rig.add("a", range(12), [1, 2])
        self.rig.add("b", range(20, 28), [1])
        self.assertEqual([{"a": 12}, {"a": 1}, {"b": 8}], [self.rig.step() for _ in range(3)])

    def test_slow_pressure(self) -> None:
        """That takes its time where there are many blocks, and goes on by itself; the last that is wanted counts."""
        clock = SlowClock()
        rig = Rig(3600, StepLimits(36, 14400, 400), clock=clock)
        for number in range(36):
            rig.add("a", range(number, number + 399), [1])
        rig.step()
        self.assertEqual((0, 3564), (rig.cache.usage, rig.pool.cached))
        rig.cache.occupy(0.9)
        self.assertLess(rig.cache.usage, 0.5)
        rig.cache.occupy(0.8)
        turns = 0
        while rig.cache.usage < 0.8:
            clock.advance(0)
            turns += 1
            self.assertLess(turns, 10)
        self.assertEqual((0.8, []), (rig.cache.usage, clock.getDelayedCalls()))

    def test_pressure_comes_first(self) -> None:
        """Who uses blocks for nobody gets those that are given back, before sequences that wait."""
        self.rig.add("a", range(16), [1])
        self.rig.add("b", range(20, 36), [1])
        self.rig.add("c", range(40, 44), [1])
        batch = self.rig.scheduler.schedule()
        self.assertEqual(["a", "b", "c"], list(self.rig.show(batch)))
        self.rig.cache.occupy(0.6)
        self.rig.scheduler.complete(batch)
        self.rig.add("d", range(60, 76), [1])
        self.rig.add("e", range(80, 84), [1])
        self.assertEqual([{"d": 16}, {"e": 4}], [self.rig.step(), self.rig.step()])
        self.rig.cache.occupy(0)
        self.assertEqual(0, self.rig.cache.usage)
