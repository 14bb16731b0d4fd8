"""Slots: no more sequences run than there are slots."""

import random

from attrs import evolve
from twisted.internet.defer import AlreadyCalledError, CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FixedLatency, GivenAdapters, RecordingMetrics, RecordingSink, adapter_of, request_for
from vllmsim.errors import QueueFull
from vllmsim.inference import HashedPrompt, TextPrompt, TokenizedPrompt
from vllmsim.scheduling.behaviour import Behaviour
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.sequence import Sequence, Submission
from vllmsim.scheduling.slots import SequenceSlots
from vllmsim.scheduling.waiting import WaitingQueue

PROMPT = TokenizedPrompt(TextPrompt("x"), "x", [1], ["x"])


class SlotTests(SynchronousTestCase):
    """A bounded pool of cooperative tasks."""

    bound = 10**6

    def setUp(self) -> None:
        """Have two slots, and generations that end when the test says."""
        self.clock = Clock()
        self.limits = RankLimits(2, self.bound)
        self.adapters = GivenAdapters()
        self.waiting = WaitingQueue(lambda: self.limits, self.adapters)
        self.generations: list[Deferred[int]] = []
        self.metrics = RecordingMetrics()
        self.slots = SequenceSlots(
            self.clock, self.waiting, lambda: self.limits, self.generate, self.metrics, self.metrics
        )
        self.slots.start()
        self.addCleanup(self.slots.stop)
        self.instant = False
        self.slow = 0.0

    def generate(self, _sequence: Sequence) -> Deferred[int]:
        """Begin a generation."""
        self.clock.rightNow += self.slow
        generation: Deferred[int] = Deferred()
        self.generations.append(generation)
        if self.instant:
            generation.callback(1)
        return generation

    def add(self, adapter: str = "") -> Sequence:
        """Add a sequence, of an adapter if that has a name."""
        self.sink = RecordingSink()
        request = evolve(request_for("x"), adapter=adapter_of(adapter) if adapter else None)
        submission = Submission(request, [PROMPT], self.sink, Behaviour(FixedLatency()))
        sequence = Sequence(
            submission,
            0,
            PROMPT,
            HashedPrompt(PROMPT.ids),
            16,
            random.Random(1),
            0.0,
            self.slots.remove,
            lambda _: None,
        )
        self.slots.add(sequence)
        return sequence

    def test_bounded(self) -> None:
        """The third sequence runs when one of the first two is done."""
        first, _, third = self.add(), self.add(), self.add()
        self.clock.advance(0)
        self.assertEqual((2, 1), (self.slots.running, len(self.waiting)))
        self.generations[0].callback(7)
        self.assertEqual(7, self.successResultOf(first.done))
        self.clock.advance(0)
        self.assertEqual((2, 0), (self.slots.running, len(self.waiting)))
        self.assertNoResult(third.done)

    def test_abort(self) -> None:
        """A sequence that is aborted while it waits ends without a token; one in a slot is told to end."""
        running, _, waiting = self.add(), self.add(), self.add()
        self.clock.advance(0)
        self.slots.abort(waiting)
        self.assertEqual(0, self.successResultOf(waiting.done))
        self.assertEqual([("started", [1]), (0, []), (0, "abort")], self.sink.calls)
        self.assertEqual((0, "unqueued"), (len(self.waiting), self.metrics.names()[-1]))
        self.slots.abort(running)
        self.failureResultOf(running.done, CancelledError)
        self.assertTrue(running.aborted)
        self.slots.abort(running)
        self.assertEqual(1, self.slots.running)

    def test_abort_that_cannot_be_delivered(self) -> None:
        """When the end of a waiting sequence cannot be delivered it fails."""
        self.add(), self.add()
        self.clock.advance(0)
        waiting = self.add()
        self.sink.broken = True
        self.slots.abort(waiting)
        self.failureResultOf(waiting.done, RuntimeError)

    def test_failure(self) -> None:
        """A sequence that fails gives its slot back and learns why."""
        sequence = self.add()
        self.clock.advance(0)
        self.generations[0].errback(RuntimeError("broken"))
        self.failureResultOf(sequence.done, RuntimeError)
        self.assertEqual(0, self.slots.running)
        for _ in range(3):
            self.add()
        self.clock.advance(0)
        self.assertEqual(2, self.slots.running)

    def test_many_without_latency(self) -> None:
        """Twenty thousand sequences that take no time are served without running out of stack."""
        self.instant = True
        last = [self.add() for _ in range(20_000)][-1]
        self.clock.pump([0] * 20_000)
        self.assertEqual(1, self.successResultOf(last.done))

    def test_lets_others_in(self) -> None:
        """When many sequences begin at once, other events come in between."""
        self.limits = RankLimits(20)
        self.slow = 0.001
        for _ in range(20):
            self.add()
        begun: list[int] = []
        self.clock.callLater(0, lambda: begun.append(len(self.generations)))
        self.clock.advance(0)
        self.assertIn(begun, ([2], [3]))
        self.assertEqual(20, self.slots.running)

    def test_room(self) -> None:
        """Sequences in slots and those for whom a slot is free do not count as waiting."""
        self.limits = RankLimits(2, 1)
        self.slots.require_room(3)
        self.assertRaises(QueueFull, self.slots.require_room, 4)
        self.add()
        self.assertRaises(QueueFull, self.slots.require_room, 3)
        self.clock.advance(0)
        self.slots.require_room(2)
        self.assertRaises(QueueFull, self.slots.require_room, 3)

    def test_remove(self) -> None:
        """A sequence can be taken out of its slot and out of the queue; after its end that is harmless."""
        running, other, waiting = self.add(), self.add(), self.add()
        self.clock.advance(0)
        for sequence in (waiting, running):
            sequence.done.cancel()
            self.failureResultOf(sequence.done, CancelledError)
        self.clock.advance(0)
        self.assertEqual((1, 0), (self.slots.running, len(self.waiting)))
        self.assertEqual(["queued"] * 3 + ["unqueued"], self.metrics.names())
        self.generations[1].callback(1)
        self.slots.remove(other)
        self.assertEqual(0, self.slots.running)

    def test_stopped(self) -> None:
        """Slots that are stopped serve no more and log nothing."""
        self.add()
        self.clock.advance(0)
        self.slots.stop()
        self.add()
        self.clock.advance(1)
        self.assertEqual(1, len(self.generations))
        self.assertEqual([], self.flushLoggedErrors())

    def test_more_slots(self) -> None:
        """When there are more slots those who wait start at once; when there are fewer those who run go on."""
        sequences = [self.add() for _ in range(6)]
        self.clock.advance(0)
        self.limits = RankLimits(4)
        self.slots.fill()
        self.clock.advance(0)
        self.assertEqual((4, 2), (self.slots.running, len(self.waiting)))
        self.limits = RankLimits(1)
        for generation in self.generations[:3]:
            generation.callback(1)
            self.clock.advance(0)
        self.assertEqual((1, 2), (self.slots.running, len(self.waiting)))
        self.generations[3].callback(1)
        self.clock.advance(0)
        self.assertEqual((1, 1), (self.slots.running, len(self.waiting)))
        self.limits = RankLimits(4)
        self.slots.fill()
        self.clock.advance(0)
        self.add()
        self.assertEqual((3, 0), (self.slots.running, len(self.waiting)))
        self.assertNoResult(sequences[5].done)

    def test_fewer_slots(self) -> None:
        """Who comes when there are fewer slots than run waits, though tasks rest that had one."""
        self.add(), self.add()
        self.clock.advance(0)
        self.limits = RankLimits(1)
        self.generations[0].callback(1)
        self.clock.advance(0)
        self.add()
        self.clock.advance(0)
        self.assertEqual((1, 1), (self.slots.running, len(self.waiting)))
        self.slots.require_room(1)

    def test_adapters(self) -> None:
        """Who cannot have its adapter waits while others pass it, and all start who can when it is there."""
        self.limits = RankLimits(3)
        holder = self.add("a1")
        self.clock.advance(0)
        waiting = [self.add("a2") for _ in range(3)]
        self.add()
        self.clock.advance(0)
        self.assertEqual((2, 3), (self.slots.running, len(self.waiting)))
        self.generations[0].callback(7)
        self.assertEqual(7, self.successResultOf(holder.done))
        self.clock.advance(0)
        self.assertEqual((3, 1), (self.slots.running, len(self.waiting)))
        self.assertEqual({"a2": 2}, self.adapters.users)
        waiting[2].done.cancel()
        self.failureResultOf(waiting[2].done, CancelledError)
        told = [each[1:] for each in self.metrics.heard if each[0] == "adapter"]
        self.assertEqual([("a1", 1, 0), *[("a2", 1, 0)] * 3, ("a2", -1, 0)], told)

    def test_who_gives_up_a_turn(self) -> None:
        """When the one leaves whose turn had come, those who were held up for it start at once."""
        self.limits = RankLimits(3)
        self.waiting = self.slots._waiting = WaitingQueue(lambda: self.limits, self.adapters, patience=3)
        self.add("a1"), self.add("a1")
        self.clock.advance(0)
        leaver = self.add("a2")
        for _ in range(3):
            self.add("a1")
            self.clock.advance(0)
            self.generations[-1].callback(1)
            self.clock.advance(0)
        self.add("a1")
        self.clock.advance(0)
        self.assertEqual((2, 2), (self.slots.running, len(self.waiting)))
        self.slots.abort(leaver)
        self.clock.advance(0)
        self.assertEqual((3, 0), (self.slots.running, len(self.waiting)))

    def test_broken_slot(self) -> None:
        """A slot that breaks is logged and replaced, so that those who wait are served."""
        first, _, third = self.add(), self.add(), self.add()
        self.clock.advance(0)
        first.done.callback(0)
        self.generations[0].callback(1)
        self.assertEqual(1, len(self.flushLoggedErrors(AlreadyCalledError)))
        self.clock.advance(0)
        self.generations[2].callback(3)
        self.assertEqual(3, self.successResultOf(third.done))
