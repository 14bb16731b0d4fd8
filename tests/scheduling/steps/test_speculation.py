"""Guessed tokens in steps."""

from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import RecordingMetrics
from tests.scheduling.steps.rig import Rig
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.limits import StepLimits
from vllmsim.scheduling.steps.speculation import SpeculativeDecoding
from vllmsim.speculation import Speculation
from vllmsim.steps import StepWork

NONE, TWO, ALL = (0.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 1.0, 1.0)
"""Rates with which of three guesses none is ever right, or the first two are, or all."""
LIMITS = StepLimits(8, 64, 256)


class SpeculationTestCase(SynchronousTestCase):
    """Has a scheduler that guesses three tokens at a time."""

    def make(
        self,
        rates: Sequence[float],
        limits: StepLimits = LIMITS,
        usable: int = 40,
        sizes: tuple[tuple[int, int], ...] = (),
        **how: Any,
    ) -> None:
        """Make it."""
        self.heard = RecordingMetrics()
        guessing = SpeculativeDecoding(Speculation(tuple(rates), sizes=sizes), self.heard)
        self.rig = Rig(usable, limits, guessing=guessing, **how)

    def add(
        self, name: str, prompt: Sequence[int], answer: Sequence[int] = range(100), seed: int = 1, **how: Any
    ) -> Computation:
        """Have a sequence come."""
        return self.rig.add(name, prompt, answer, generator=Random(seed), **how)

    def step(self) -> tuple[dict[str, int], dict[str, int]]:
        """Make a step.

        :return: how many tokens of whom were in it, and how many it has given to whom.
        """
        scheduler, names = self.rig.scheduler, self.rig.names
        batch = scheduler.schedule()
        self.work = batch.work
        given = scheduler.complete(batch) if batch.scheduled else ()
        return self.rig.show(batch), {names[each]: tokens for each, tokens in given}


class VerificationTests(SpeculationTestCase):
    """What a step verifies, and what it gives."""

    def test_several(self) -> None:
        """Each step verifies a sequence's guesses, and gives it those that are right and one token more."""
        for rates, many in ((NONE, 1), (TWO, 3), (ALL, 4)):
            self.make(rates)
            one = self.add("a", range(6))
            self.assertEqual(({"a": 6}, {"a": 1}), self.step())
            for number in range(5):
                self.assertEqual(({"a": 4}, {"a": many}), self.step())
                self.assertEqual((7 + many * (number + 1), 6 + many * (number + 1)), (one.tokens, one.computed))
            self.assertEqual([("verified", 3, many - 1)] * 5, self.heard.heard)

    def test_work(self) -> None:
        """What a step computes is told apart: the sequence's own token, and those that are guessed behind it."""
        self.make(TWO)
        self.add("a", range(6))
        self.step()
        self.assertEqual(StepWork(prefill_tokens=6, pairs=21), self.work)
        self.step()
        self.assertEqual(StepWork(decodes=1, draft_tokens=3, read=6, pairs=4 * 6 + 10), self.work)

    def test_prompts(self) -> None:
        """Nothing is guessed as long as a prompt is computed."""
        self.make(ALL, StepLimits(8, 8, 256))
        self.add("a", range(18))
        self.assertEqual([{"a": 8}, {"a": 8}, {"a": 2}, {"a": 4}], [self.step()[0] for _ in range(4)])

    def test_end(self) -> None:
        """An answer ends where it ends, also within a draft, which counts with all that was right."""
        self.make(ALL)
        one = self.add("a", range(6), range(7))
        self.assertEqual([{"a": 1}, {"a": 4}, {"a": 2}, {}], [self.step()[1] for _ in range(4)])
        self.assertTrue(one.finished)
        self.assertEqual([("verified", 3, 3)] * 2, self.heard.heard)
        self.assertEqual((0, []), (self.rig.pool.used, self.rig.scheduler.running))

    def test_budget(self) -> None:
        """Guesses count as tokens: where a step has room for fewer, fewer are verified."""
        self.make(ALL, StepLimits(8, 7, 256))
        for name in "abc":
            self.add(name, [ord(name)] * 2)
        self.assertEqual(({"a": 2, "b": 2, "c": 2}, {"a": 1, "b": 1, "c": 1}), self.step())
        self.assertEqual(({"a": 4, "b": 3}, {"a": 4, "b": 3}), self.step())
        self.assertEqual([("verified", 3, 3), ("verified", 2, 2)], self.heard.heard)
        self.assertEqual(5, self.work.draft_tokens)

    def test_places(self) -> None:
        """Who guesses all at once takes places in the model's input too, for each sequence."""
        self.make(NONE, StepLimits(8, 12, 256, draft_slots=2))
        for name in "abc":
            self.add(name, [ord(name)] * 2)
        self.assertEqual({"a": 2, "b": 2, "c": 2}, self.step()[0])
        self.assertEqual({"a": 4, "b": 4}, self.step()[0])

    def test_length(self) -> None:
        """No guess goes beyond the longest sequence, and a step at its end verifies none."""
        self.make(NONE, StepLimits(8, 64, 12))
        self.add("a", range(6), range(6))
        self.assertEqual([6, 4, 4, 3, 2, 1], [self.step()[0]["a"] for _ in range(6)])
        self.assertEqual({}, self.step()[0])
        self.make(ALL, StepLimits(8, 64, 12))
        self.add("a", range(6), range(6))
        self.assertEqual(
            [(6, 1), (4, 4), (1, 1)], [(each["a"], got["a"]) for each, got in (self.step() for _ in "abc")]
        )

    def test_threshold(self) -> None:
        """The most tokens of one sequence in a step bound its guesses too."""
        self.make(ALL, StepLimits(8, 64, 256, long_prefill=2))
        for name in "ab":
            self.add(name, [ord(name)] * 2)
        self.step()
        self.assertEqual(({"a": 2, "b": 2}, {"a": 2, "b": 2}), self.step())

    def test_sizes(self) -> None:
        """How many tokens are guessed behind a step may depend on how many sequences it had."""
        self.make(NONE, sizes=((1, 3), (2, 1), (3, 0)))
        for name, answer in (("a", 100), ("b", 3), ("c", 2)):
            self.add(name, [ord(name)] * 2, range(answer))
        shown = [self.step()[0] for _ in range(5)]
        self.assertEqual(
            [{"a": 2, "b": 2, "c": 2}, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1}, {"a": 2}, {"a": 4}], shown
        )

    def test_long_run(self) -> None:
        """In the long run a step gives as many tokens as the mean acceptance length says."""
        rates = (0.8, 0.55, 0.42)
        self.make(rates, StepLimits(8, 64, 10_000), 3000)
        self.add("a", range(6), range(9000))
        steps = sum(1 for _ in iter(self.step, ({}, {})))
        self.assertApproximates(1 + sum(rates), 9000 / steps, 0.1)
        accepted = sum(right for _, _, right in self.heard.heard)
        self.assertApproximates(1 + sum(rates), 1 + accepted / len(self.heard.heard), 0.1)

    def test_own_randomness(self) -> None:
        """How many guesses are right depends on the sequence's own seed, whoever else is there."""
        told = []
        for others in (0, 3):
            self.make((0.7, 0.5, 0.3), usable=200)
            for number in range(others):
                self.add(f"x{number}", [number] * 2, seed=number)
            self.add("a", range(6), range(60), seed=7)
            told.append([given["a"] for _, given in iter(self.step, ({}, {})) if "a" in given])
        self.assertEqual(told[0], told[1])
        self.assertGreater(len(set(told[0])), 2)


class BlockTests(SpeculationTestCase):
    """What guesses do to blocks."""

    def test_kept(self) -> None:
        """Guesses have blocks, which the sequence keeps when they are wrong."""
        self.make(NONE)
        one = self.add("a", range(7))
        self.step()
        self.assertEqual(2, self.rig.pool.used)
        batch = self.rig.scheduler.schedule()
        self.assertEqual(3, self.rig.pool.used)
        self.rig.scheduler.complete(batch)
        self.assertEqual((9, 3), (one.tokens, self.rig.pool.used))
        self.step()
        self.assertEqual((10, 3), (one.tokens, self.rig.pool.used))

    def test_lookahead(self) -> None:
        """What guesses with keys and values of its own has blocks for the next guesses before there are any."""
        self.make(NONE, StepLimits(8, 64, 24, lookahead=3))
        self.add("a", range(6))
        self.step()
        self.assertEqual(3, self.rig.pool.used)
        self.step()
        self.assertEqual(4, self.rig.pool.used)
        # No sequence needs more than the longest.
        self.rig.limit(length=14)
        for _ in range(6):
            self.step()
        self.assertEqual(4, self.rig.pool.used)

    def test_accepted_alone(self) -> None:
        """Others hear of what is accepted alone, and find it."""
        for rates, stored, cached in ((NONE, [4], 4), (ALL, [4, 4], 8)):
            self.make(rates)
            self.add("a", range(5), range(5, 11))
            self.assertEqual([{"a": 5}, {"a": 4}], [self.step()[0] for _ in range(2)])
            self.assertEqual(stored, [len(event[3]) for event in self.rig.listener.take()])
            self.add("b", range(12))
            [admission] = self.rig.scheduler.schedule().admitted
            self.assertEqual(cached, admission.cached)

    def test_preempted(self) -> None:
        """A sequence that loses its blocks loses its guesses, and has none when it comes back."""
        self.make(NONE, usable=6)
        self.add("a", range(8), range(4))
        last = self.add("b", range(20, 28))
        self.step()
        self.assertEqual((3, {"a": 4, "b": 4}), (last.drafts, self.step()[0]))
        self.assertEqual({"a": 4}, self.step()[0])
        self.assertEqual((1, 0, 0, 10), (last.preemptions, last.drafts, last.computed, last.tokens))
        # What was accepted before is computed once more; its two blocks that were full are still there.
        self.assertEqual([{"a": 4}, {"b": 2}, {"b": 4}], [self.step()[0] for _ in range(3)])

    def test_dropped(self) -> None:
        """What guesses from the model's own states has the last block of a prefix computed again."""
        for drops, cached in ((False, 8), (True, 4)):
            self.make(NONE, drops=drops)
            self.add("a", range(10), range(1))
            self.step()
            self.add("b", range(10), range(1))
            batch = self.rig.scheduler.schedule()
            self.assertEqual([cached], [each.cached for each in batch.admitted])
            self.assertEqual([(10, 0), (10, cached)], self.rig.metrics.looked_up)
            self.rig.scheduler.complete(batch)


class PaddingTests(SpeculationTestCase):
    """Sequences that come with one token to compute."""

    def test_padded(self) -> None:
        """One takes the places of guesses though there are none, of which none is right; it guesses behind that."""
        self.make(ALL, StepLimits(8, 64, 256, padding=3))
        self.add("a", range(9), range(1))
        self.assertEqual({"a": 9}, self.step()[0])
        two = self.add("b", range(9))
        self.assertEqual(({"b": 4}, {"b": 1}), self.step())
        self.assertEqual((10, 9), (two.tokens, two.computed))
        self.assertEqual(StepWork(decodes=1, draft_tokens=3, read=8, pairs=4 * 8 + 10), self.work)
        self.assertEqual(({"b": 4}, {"b": 4}), self.step())
        self.assertEqual([("verified", 3, 0), ("verified", 3, 3)], self.heard.heard)

    def test_no_room(self) -> None:
        """Not so at the end of the longest sequence; where a step has no room for its places, it waits."""
        for length, expected in ((13, {"b": 4}), (12, {"b": 1})):
            self.make(NONE, StepLimits(8, 64, length, padding=3))
            self.add("a", range(9), range(1))
            self.step()
            self.add("b", range(9), range(2))
            self.assertEqual(expected, self.step()[0])
        self.make(NONE, StepLimits(8, 6, 64, padding=3))
        self.add("a", range(5), range(3))
        self.step()
        self.add("b", range(5), range(2))
        self.assertEqual([{"a": 4}, {"a": 4}, {"b": 4}], [self.step()[0] for _ in range(3)])


class HeldTests(SpeculationTestCase):
    """A sequence with a token that is late on purpose."""

    def test_halt(self) -> None:
        """A step gives no tokens behind which one is late, however many guesses are right; nor are any guessed then."""
        self.make(ALL)
        one = self.add("a", range(6))
        one.halt = 3
        self.assertEqual([{"a": 1}, {"a": 2}], [self.step()[1] for _ in range(2)])
        self.assertEqual(({"a": 4}, {"a": 0}), self.step())
        self.assertEqual(({}, {}), self.step())
        self.assertEqual(1, self.rig.scheduler.release(one))
        self.assertEqual(({"a": 4}, {"a": 4}), self.step())

    def test_last(self) -> None:
        """The last token may be the one."""
        self.make(ALL)
        one = self.add("a", range(6), range(4))
        one.halt = 3
        self.assertEqual([{"a": 1}, {"a": 2}, {"a": 0}, {}], [self.step()[1] for _ in range(4)])
        self.assertEqual(1, self.rig.scheduler.release(one))
        self.assertEqual(({}, []), (self.step()[1], self.rig.scheduler.running))
