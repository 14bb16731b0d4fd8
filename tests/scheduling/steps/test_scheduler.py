"""What is computed in the next step."""

from typing import cast

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from tests.scheduling.steps.rig import Rig
from vllmsim.inference import Adapter
from vllmsim.kvcache.steps.blocks import StepBlocks
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.limits import StepLimits
from vllmsim.steps import StepWork


class SchedulerTestCase(SynchronousTestCase):
    """Blocks have four tokens."""

    def have(self, usable: int = 20, *, by_priority: bool = False, **limits: object) -> None:
        """Have a scheduler of eight sequences and sixteen tokens at once, unless something else is said."""
        usual = {"running": 8, "batched_tokens": 16, "length": 64}
        self.rig = Rig(usable, StepLimits(**{**usual, **limits}), by_priority=by_priority)  # type: ignore[arg-type]
        self.scheduler = self.rig.scheduler

    def steps(self, count: int) -> list[dict[str, int]]:
        """Make some steps, and tell who was in each with how many tokens."""
        return [self.rig.step() for _ in range(count)]


class BudgetTests(SchedulerTestCase):
    """How many tokens of whom."""

    def test_chunks(self) -> None:
        """Those that run come first, then those that wait with what is left; a prompt goes over steps."""
        self.have()
        self.rig.add("a", range(6), range(3))
        self.rig.add("b", range(20, 40), range(2))
        expected = [{"a": 6, "b": 10}, {"a": 1, "b": 10}, {"a": 1, "b": 1}, {}]
        self.assertEqual(expected, self.steps(4))

    def test_full(self) -> None:
        """Nobody is let in when as many run as may, and everyone when there are more places."""
        self.have(running=1)
        self.rig.add("a", range(4), range(2))
        self.rig.add("b", range(4), range(1))
        self.assertEqual([{"a": 4}], self.steps(1))
        self.assertEqual((1, 0), (self.scheduler.waiting, self.scheduler.deferred))
        self.rig.limit(running=2)
        self.assertEqual([{"a": 1, "b": 4}], self.steps(1))

    def test_scheduled_tokens(self) -> None:
        """A step is given fewer tokens than the model would take, where that is wanted."""
        self.have(scheduled_tokens=5)
        self.rig.add("a", range(8), range(2))
        self.assertEqual([{"a": 5}, {"a": 3}, {"a": 1}], self.steps(3))

    def test_long_prompts(self) -> None:
        """A long prompt leaves room for others, unless there are none; it has an even share where that is more."""
        self.have(long_prefill=4)
        self.rig.add("a", range(20), range(2))
        self.assertEqual([{"a": 16}], self.steps(1))
        self.rig.add("b", range(30, 40), range(9))
        self.assertEqual([{"a": 4, "b": 4}, {"a": 1, "b": 4}, {"b": 2}], self.steps(3))
        self.rig.limit(adaptive=True)
        self.rig.add("c", range(40, 60), range(1))
        self.assertEqual([{"b": 1, "c": 8}], self.steps(1))

    def test_whole_prompts(self) -> None:
        """Where prompts are not cut, who has no room in a step waits, and nobody comes before it."""
        self.have(chunked=False)
        self.rig.add("a", range(10), range(2))
        self.rig.add("b", range(20, 29), range(1))
        self.rig.add("c", range(40, 42), range(1))
        self.assertEqual([{"a": 10}, {"a": 1, "b": 9, "c": 2}], self.steps(2))

    def test_work(self) -> None:
        """It is told what a step computes: prompts, latest tokens, what they read, and what attends to what."""
        self.have()
        self.rig.add("a", range(3), range(9))
        self.assertEqual(StepWork(prefill_tokens=3, pairs=6), self._work())
        self.rig.add("b", range(20, 40), range(9))
        self.assertEqual(StepWork(prefill_tokens=15, decodes=1, read=3, pairs=4 + 120), self._work())
        self.assertEqual(StepWork(prefill_tokens=5, decodes=1, read=4 + 15, pairs=5 + 75 + 15), self._work())

    def _work(self) -> StepWork:
        batch = self.scheduler.schedule()
        self.scheduler.complete(batch)
        return batch.work

    def test_given(self) -> None:
        """At the end of a step those have a token that have computed all they had, and who is done leaves."""
        self.have()
        first, second = self.rig.add("a", range(6), range(1)), self.rig.add("b", range(20, 40), range(2))
        batch = self.scheduler.schedule()
        self.assertEqual([(6, 6), (10, 10)], [(each.computed, each.pending) for each in (first, second)])
        self.assertEqual([(first, 1)], self.scheduler.complete(batch))
        self.assertEqual(([second], True), (self.scheduler.running, first.finished))


class BlockTests(SchedulerTestCase):
    """Who has blocks, and who loses them."""

    def test_prefixes(self) -> None:
        """What others have computed is not computed again, not even in the same step."""
        self.have()
        self.rig.add("a", range(9))
        self.rig.add("b", range(9))
        batch = self.scheduler.schedule()
        self.assertEqual({"a": 9, "b": 1}, self.rig.show(batch))
        self.assertEqual(
            [("a", 0), ("b", 8)], [(self.rig.names[each.computation], each.cached) for each in batch.admitted]
        )

    def test_preemption(self) -> None:
        """When no block is left, the last one that runs gives all of its own, and is the next to be let in."""
        self.have(4)
        for name, first in (("a", 0), ("b", 20)):
            self.rig.add(name, range(first, first + 7), range(60, 64))
        self.rig.add("c", range(40, 42), range(1))
        self.assertEqual([{"a": 7, "b": 7}, {"a": 1, "b": 1}], self.steps(2))
        batch = self.scheduler.schedule()
        self.assertEqual(({"a": 1}, ["b"]), (self.rig.show(batch), self.rig.name(batch.preempted)))
        self.scheduler.complete(batch)
        self.assertEqual((2, ["a"]), (self.scheduler.waiting, self.rig.name(self.scheduler.running)))
        self.assertEqual([{"a": 1}], self.steps(1))
        batch = self.scheduler.schedule()
        # One of its blocks was given to the other.
        self.assertEqual({"b": 5, "c": 2}, self.rig.show(batch))
        admission = batch.admitted[0]
        self.assertEqual((4, True, 1), (admission.cached, admission.resumed, admission.computation.preemptions))

    def test_priority(self) -> None:
        """With priorities the least important loses its blocks, and its tokens of this step are for others."""
        self.have(6, by_priority=True, batched_tokens=18)
        self.rig.add("a", range(8), range(60, 64), priority=1)
        self.rig.add("b", range(20, 27), range(60, 64), priority=0)
        self.rig.add("c", range(40, 42), range(60, 64), priority=0)
        self.assertEqual([{"b": 7, "c": 2, "a": 8}], self.steps(1))
        self.assertEqual([{"b": 1, "c": 1, "a": 1}], self.steps(1))
        batch = self.scheduler.schedule()
        self.assertEqual(({"b": 1, "c": 1}, ["a"]), (self.rig.show(batch), self.rig.name(batch.preempted)))

    def test_priority_of_one_in_the_step(self) -> None:
        """One that is in the step already is taken out of it again, and what it was given is for others."""
        self.have(4, by_priority=True)
        self.rig.add("a", range(7), range(60, 64), priority=2)
        self.assertEqual([{"a": 7}], self.steps(1))
        self.rig.add("b", range(20, 28), range(60, 64), priority=1)
        self.assertEqual([{"a": 1, "b": 8}], self.steps(1))
        batch = self.scheduler.schedule()
        self.assertEqual(({"b": 1}, ["a"]), (self.rig.show(batch), self.rig.name(batch.preempted)))

    def test_itself(self) -> None:
        """Who is the least important loses its own blocks, and those behind it go on."""
        self.have(4, by_priority=True)
        self.rig.add("a", range(8), range(60, 64), priority=2)
        self.assertEqual([{"a": 8}], self.steps(1))
        self.rig.add("b", range(20, 27), range(60, 64), priority=1)
        batch = self.scheduler.schedule()
        self.assertEqual(({"a": 1}, []), (self.rig.show(batch), batch.preempted))
        self.scheduler.complete(batch)
        self.have(5, by_priority=True, whole=False)
        self.rig.add("a", range(12), range(60, 64), priority=2)
        self.rig.add("b", range(20, 27), range(60, 64), priority=1)
        self.assertEqual([{"b": 7, "a": 9}], self.steps(1))
        batch = self.scheduler.schedule()
        self.assertEqual(({"b": 1, "a": 3}, []), (self.rig.show(batch), batch.preempted))

    def test_room_for_all_of_it(self) -> None:
        """One is let in when all that it has now finds room; else just what a step computes, if that is wanted."""
        self.have(4)
        self.rig.add("a", range(9), range(8))
        self.assertEqual([{"a": 9}], self.steps(1))
        self.rig.add("b", range(20, 40), range(1))
        self.assertEqual([{"a": 1}], self.steps(1))
        self.rig.limit(whole=False, batched_tokens=4)
        self.assertEqual([{"a": 1, "b": 3}], self.steps(1))

    def test_watermark(self) -> None:
        """Some blocks stay free when one is let in, unless nobody runs."""
        self.have(4, spare=2)
        self.rig.add("a", range(12), range(2))
        self.rig.add("b", range(20, 22), range(1))
        self.assertEqual([{"a": 12}, {"a": 1}, {"b": 2}], self.steps(3))

    def test_no_admission(self) -> None:
        """Nobody is let in while that is not wanted, not even who ran before."""
        self.have(4)
        self.rig.add("a", range(4), range(3))
        self.rig.step()
        self.rig.add("b", range(4), range(1))
        self.scheduler.admitting = False
        self.assertEqual([{"a": 1}, {"a": 1}, {}], self.steps(3))
        self.scheduler.admitting = True
        self.assertEqual([{"b": 4}], self.steps(1))

    def test_events(self) -> None:
        """Once per step it is told what the step did to blocks, and what is told is what there is."""
        self.have(4)
        for name, first in (("a", 0), ("b", 20), ("c", 40)):
            self.rig.add(name, range(first, first + 7), range(60, 66))
        counts = []
        for _ in range(25):
            batch = self.scheduler.schedule()
            self.assertEqual([], self.rig.listener.events)
            if batch.scheduled:
                self.scheduler.complete(batch)
            counts.append(len(self.rig.listener.take()))
            self.assertEqual(self.rig.pool.cached, self.rig.listener.known.total())
        self.assertEqual([each for each in counts if each], self.rig.told)
        self.assertEqual((0, 0, 0), (self.scheduler.waiting, len(self.scheduler.running), self.rig.pool.used))


class WaitingTests(SchedulerTestCase):
    """Who is passed over."""

    def test_unready(self) -> None:
        """Whose answer is not known is passed over, and let in when it is."""
        self.have()
        computation = self.rig.add("a", range(4), None)
        self.rig.add("b", range(20, 24), range(1))
        self.assertEqual((2, 1), (self.scheduler.waiting, self.scheduler.deferred))
        self.assertEqual([{"b": 4}, {}], self.steps(2))
        computation.answer = range(1)
        self.scheduler.ready(computation)
        self.assertEqual([{"a": 4}], self.steps(1))

    def test_adapters(self) -> None:
        """Who needs one adapter too many waits, and those behind it do not."""
        self.have()
        one, two = Adapter("x", "", "", 1), Adapter("y", "", "", 2)
        self.rig.add("a", range(4), range(2), adapter=one)
        self.rig.add("b", range(4), range(1), adapter=two)
        self.rig.add("c", range(4), range(1))
        self.assertEqual([{"a": 4, "c": 4}], self.steps(1))
        self.assertEqual((1, 1), (self.scheduler.waiting, self.scheduler.deferred))
        self.assertEqual([{"a": 1}, {"b": 4}], self.steps(2))

    def test_adapter_of_a_preempted_one(self) -> None:
        """An adapter whose last user was preempted gives way."""
        self.have()
        one, two = Adapter("x", "", "", 1), Adapter("y", "", "", 2)
        self.rig.add("a", range(4), range(2), adapter=one)
        self.rig.step()
        self.rig.add("b", range(4), range(2), adapter=two)
        self.scheduler.preempt_all()
        # What it had computed is found again.
        self.assertEqual([{"a": 1}, {"b": 4}], self.steps(2))

    def test_fetching(self) -> None:
        """Whose tokens are fetched has blocks and is in no step, and computes the rest when they are there."""
        self.have(8)
        computation = self.rig.add("a", range(9), range(2), remote_tokens=9)
        self.rig.add("b", range(20, 24), range(5))
        batch = self.scheduler.schedule()
        (admission,) = batch.fetching
        self.assertEqual(
            (computation, 0, 8, False), (admission.computation, admission.cached, admission.external, admission.resumed)
        )
        self.assertEqual(({"b": 4}, 3), (self.rig.show(batch), self.rig.pool.used))
        self.scheduler.complete(batch)
        self.assertEqual((1, 1), (self.scheduler.waiting, self.scheduler.deferred))
        self.rig.add("c", range(9), range(1))
        self.scheduler.fetched(computation)
        batch = self.scheduler.schedule()
        self.assertEqual({"b": 1, "a": 1, "c": 1}, self.rig.show(batch))
        self.assertEqual([(0, 8), (8, 0)], [(each.cached, each.external) for each in batch.admitted])

    def test_fetched_adapters(self) -> None:
        """One whose tokens are there waits for its adapter all the same, and others find them already."""
        self.have()
        one, two = Adapter("x", "", "", 1), Adapter("y", "", "", 2)
        self.rig.add("a", range(4), range(3), adapter=one)
        self.rig.step()
        computation = self.rig.add("b", range(9), range(1), adapter=two, remote_tokens=9)
        self.rig.limit(adapters=2)
        self.assertEqual([{"a": 1}], self.steps(1))
        self.rig.limit(adapters=1)
        self.scheduler.fetched(computation)
        self.assertEqual([{"a": 1}, {"b": 1}], self.steps(2))

    def test_reserved(self) -> None:
        """One whose tokens are fetched leaves the blocks that others need to come to the end of their prompts."""
        self.have(9, batched_tokens=5, long_prefill=4, whole=False)
        self.rig.add("a", range(20), range(2))
        self.assertEqual([{"a": 5}], self.steps(1))
        self.rig.add("b", range(30, 51), range(2), remote_tokens=20)
        fetching = []
        for _ in range(4):
            batch = self.scheduler.schedule()
            fetching.append(len(batch.fetching))
            self.scheduler.complete(batch)
        # The first needs three blocks more, then two, then one; the other five.
        self.assertEqual([0, 0, 0, 0], fetching)
        self.assertEqual([{"a": 1}], self.steps(1))
        self.assertEqual(1, len(self.scheduler.schedule().fetching))


class LeavingTests(SchedulerTestCase):
    """Who leaves before its end."""

    def setUp(self) -> None:
        """Have a scheduler."""
        self.have()

    def test_waiting(self) -> None:
        """Who waits can leave, and is not let in."""
        first, second = self.rig.add("a", range(4)), self.rig.add("b", range(4), None)
        self.assertEqual([True, True, False], [self.scheduler.discard(each) for each in (first, second, second)])
        self.assertEqual(({}, 0), (self.rig.step(), self.scheduler.waiting))

    def test_between_steps(self) -> None:
        """Who runs can leave between steps, and its blocks are free at once."""
        computation = self.rig.add("a", range(5))
        self.rig.step()
        self.assertTrue(self.scheduler.discard(computation))
        self.assertEqual((0, 1, 20), self.rig.metrics.counts)
        self.assertEqual({}, self.rig.step())

    def test_in_a_step(self) -> None:
        """Who leaves while a step computes it gets nothing from that; the others do."""
        first, second = self.rig.add("a", range(5)), self.rig.add("b", range(20, 25))
        batch = self.scheduler.schedule()
        self.assertTrue(self.scheduler.discard(first))
        self.assertEqual([(second, 1)], self.scheduler.complete(batch))
        self.assertFalse(self.scheduler.discard(first))
        self.assertEqual({"b": 1}, self.rig.step())

    def test_fetching(self) -> None:
        """Who leaves while its tokens are fetched gives its blocks back."""
        computation = self.rig.add("a", range(9), remote_tokens=9)
        self.rig.step()
        self.assertEqual(2, self.rig.pool.used)
        self.assertTrue(self.scheduler.discard(computation))
        self.scheduler.fetched(computation)
        self.assertEqual(({}, 0), (self.rig.step(), self.rig.pool.used))

    def test_preempt_all(self) -> None:
        """When all lose their blocks in a step, nobody has anything of it, and all begin anew in their order."""
        first, second = self.rig.add("a", range(5)), self.rig.add("b", range(20, 25))
        self.rig.step()
        batch = self.scheduler.schedule()
        self.scheduler.preempt_all()
        self.assertEqual([], self.scheduler.complete(batch))
        self.assertEqual(([], 2, 0), (self.scheduler.running, self.scheduler.waiting, self.rig.pool.used))
        batch = self.scheduler.schedule()
        self.assertEqual(({"a": 2, "b": 2}, {first, second}), (self.rig.show(batch), set(batch.preempted)))
        self.scheduler.complete(batch)
        self.assertEqual((2, 2), (first.generated, second.generated))


@define(eq=False)
class Lucky:
    """Guesses three tokens, of which two are right.

    :param asked: what was to be verified.
    """

    asked: list[int]

    def guess(self, computation: Computation, sequences: int) -> int:
        """Guess."""
        return 3

    def accept(self, computation: Computation, computed: int) -> int:
        """Be right, if there are so many."""
        self.asked.append(computed)
        return min(2, computed)


class GuessingTests(SchedulerTestCase):
    """Steps that verify what was guessed."""

    def have_guesses(self, **limits: int) -> None:
        """Have somebody who guesses."""
        self.asked: list[int] = []
        self.rig = Rig(20, StepLimits(8, 16, 64, lookahead=3, **limits), guessing=Lucky(self.asked))  # type: ignore[arg-type]
        self.scheduler = self.rig.scheduler

    def test_several(self) -> None:
        """A step computes the last token and the guesses behind it, and gives one token more than were right."""
        self.have_guesses()
        computation = self.rig.add("a", range(5), range(60, 66))
        self.assertEqual([{"a": 5}, {"a": 4}], self.steps(2))
        self.assertEqual((4, 8, [3]), (computation.generated, computation.computed, self.asked))
        batch = self.scheduler.schedule()
        self.assertEqual(StepWork(decodes=1, draft_tokens=3, read=8, pairs=32 + 10), batch.work)
        self.assertEqual([(computation, 2)], self.scheduler.complete(batch))
        self.assertTrue(computation.finished)

    def test_blocks(self) -> None:
        """Guesses have room in blocks, and are found by others as soon as they are right, and not before."""
        self.have_guesses()
        computation = self.rig.add("a", range(5), range(60, 80))
        self.rig.step()
        self.assertEqual(2, cast("StepBlocks", computation.blocks).count)
        batch = self.scheduler.schedule()
        self.assertEqual((3, 1), (cast("StepBlocks", computation.blocks).count, self.rig.pool.cached))
        self.scheduler.complete(batch)
        self.assertEqual([b"/0,1,2,3", b"/0,1,2,3/4,60,61,62"], sorted(self.rig.listener.known))

    def test_slots(self) -> None:
        """Who guesses takes some of the tokens that the model computes."""
        self.have_guesses(draft_slots=3)
        self.rig.add("a", range(9), range(60, 80))
        self.rig.add("b", range(20, 29), range(60, 80))
        self.assertEqual([{"a": 9, "b": 1}, {"a": 4, "b": 6}], self.steps(2))

    def test_padding(self) -> None:
        """One that is let in with all but its last token computed has as many tokens in a step as those that run."""
        self.have_guesses(padding=3)
        self.rig.add("a", range(9), range(60, 80))
        self.assertEqual([{"a": 9}], self.steps(1))
        self.rig.add("b", range(9), range(60, 80))
        self.assertEqual([{"a": 4, "b": 4}], self.steps(1))
        self.rig.limit(batched_tokens=10)
        self.rig.add("c", range(9), range(60, 80))
        self.assertEqual([{"a": 4, "b": 4}], self.steps(1))

    def test_no_padding_beyond_the_end(self) -> None:
        """There is no padding where the longest sequence would end in it."""
        self.have_guesses(padding=3)
        self.rig.limit(length=12)
        self.rig.add("a", range(9), range(60, 62))
        self.rig.step()
        self.rig.add("b", range(9), range(60, 62))
        self.assertEqual([{"a": 2, "b": 1}], self.steps(1))
