"""Sequences that a scheduler lets wait on purpose, or does not let in at all."""

from twisted.trial.unittest import SynchronousTestCase

from tests.scheduling.steps.rig import Rig
from vllmsim.scheduling.steps.batch import Admission
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.scheduling.steps.limits import StepLimits


class HeldTests(SynchronousTestCase):
    """A sequence whose next token is late on purpose."""

    def setUp(self) -> None:
        """Have one that is held, and one that is not."""
        self.rig = Rig()
        self.held, self.other = self.rig.add("held", range(6)), self.rig.add("other", range(20, 26), range(3))
        self.held.halt = 0

    def give(self) -> dict[str, int]:
        """Make a step, and tell how many tokens it has given to whom."""
        batch = self.rig.scheduler.schedule()
        return {self.rig.names[each]: tokens for each, tokens in self.rig.scheduler.complete(batch)}

    def test_held(self) -> None:
        """Its token is computed and not given, and it keeps its place and its blocks; others go on."""
        self.assertEqual({"held": 0, "other": 1}, self.give())
        self.assertEqual([{"other": 1}, {"other": 1}], [self.give(), self.give()])
        self.assertEqual((["held"], 0), (self.rig.name(self.rig.scheduler.running), self.held.generated))
        self.assertEqual({}, self.rig.step())
        assert self.held.blocks is not None
        self.assertEqual(2, self.held.blocks.count)

    def test_released(self) -> None:
        """When it is released it has its token at once, and the others follow."""
        self.give()
        self.assertEqual(1, self.rig.scheduler.release(self.held))
        self.assertEqual([{"held": 1, "other": 1}] * 2, [self.give(), self.give()])
        self.assertEqual(3, self.held.generated)

    def test_last(self) -> None:
        """With its last token it is gone, and its blocks are free."""
        last = self.rig.add("last", range(40, 46), range(1))
        last.halt = 0
        used = (self.give(), self.rig.pool.used)[1]
        self.assertEqual(1, self.rig.scheduler.release(last))
        self.assertEqual((used - 2, ["held", "other"]), (self.rig.pool.used, self.rig.name(self.rig.scheduler.running)))
        self.assertFalse(self.rig.scheduler.discard(last))

    def test_released_beside_a_step(self) -> None:
        """One whose token is there when others are in a step has it at once, and is in the next."""
        self.give()
        batch = self.rig.scheduler.schedule()
        self.assertEqual(1, self.rig.scheduler.release(self.held))
        self.assertEqual([(self.other, 1)], [*self.rig.scheduler.complete(batch)])
        self.assertEqual({"held": 1, "other": 1}, self.give())

    def test_released_in_its_step(self) -> None:
        """If it is released while a step computes it, that step gives its token."""
        batch = self.rig.scheduler.schedule()
        self.assertEqual(0, self.rig.scheduler.release(self.held))
        self.assertEqual([(self.held, 1), (self.other, 1)], [*self.rig.scheduler.complete(batch)])

    def test_preempted(self) -> None:
        """One that loses its blocks computes all once more, and is still held."""
        self.give()
        self.rig.scheduler.preempt_all()
        self.assertEqual({"held": 0, "other": 1}, self.give())
        self.rig.scheduler.preempt_all()
        self.assertEqual(0, self.rig.scheduler.release(self.held))
        self.assertEqual({"held": 1, "other": 1}, self.give())

    def test_later(self) -> None:
        """One may be held in the midst of its answer."""
        self.assertEqual(0, self.rig.scheduler.release(self.held))
        self.give()
        self.held.halt = 1
        self.assertEqual({"held": 0, "other": 1}, self.give())
        self.assertEqual(1, self.held.generated)
        self.assertEqual(1, self.rig.scheduler.release(self.held))


class RefusedTests(SynchronousTestCase):
    """A sequence of which too little is cached."""

    def test_refused(self) -> None:
        """It takes no place, no tokens and no blocks, and nobody waits behind it; one that was let in stays."""
        rig = Rig(limits=StepLimits(1, 64, 256))
        rig.add("before", range(8), range(1))
        rig.step()
        asked: list[tuple[Computation, int, int]] = []

        def refuses(computation: Computation, cached: int, external: int) -> bool:
            asked.append((computation, cached, external))
            return cached < 8

        rig.scheduler.refuses = refuses
        known, less, other = rig.add("known", range(10)), rig.add("less", range(4)), rig.add("more", range(12))
        self.assertEqual({"known": 2}, rig.step())
        self.assertEqual([(known, 8, 0)], asked)
        rig.scheduler.preempt_all()
        rig.step()
        self.assertEqual([(known, 8, 0)], asked)
        rig.scheduler.discard(known)
        batch = rig.scheduler.schedule()
        refused = [(each.computation, each.cached) for each in batch.refused]
        self.assertEqual(([(less, 0)], {"more": 4}), (refused, rig.show(batch)))
        self.assertEqual([Admission], [*{type(each) for each in batch.refused}])
        self.assertEqual(([other], 0), (rig.scheduler.running, rig.scheduler.waiting))
        self.assertIs(None if less.blocks is None else less.blocks.count or None, None)
        self.assertFalse(rig.scheduler.discard(less))
