"""Slots: no more sequences run than there are slots."""

import random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import RecordingSink, request_for
from vllmsim.inference import Sampling, TextPrompt, TokenizedPrompt
from vllmsim.scheduling.sequence import Sequence, Submission
from vllmsim.scheduling.slots import SequenceSlots
from vllmsim.scheduling.waiting import WaitingQueue

PROMPT = TokenizedPrompt(TextPrompt("x"), "x", [1], ["x"])


class SlotTests(SynchronousTestCase):
    """A bounded pool of cooperative tasks."""

    def setUp(self) -> None:
        """Have two slots, and generations that end when the test says."""
        self.clock = Clock()
        self.waiting = WaitingQueue(10**6)
        self.generations: list[Deferred[int]] = []
        self.slots = SequenceSlots(self.clock, self.waiting, 2, self.generate)
        self.slots.start()
        self.addCleanup(self.slots.stop)
        self.instant = False

    def generate(self, _sequence: Sequence) -> Deferred[int]:
        """Begin a generation."""
        generation: Deferred[int] = Deferred()
        self.generations.append(generation)
        if self.instant:
            generation.callback(1)
        return generation

    def put(self) -> Sequence:
        """Queue a sequence."""
        submission = Submission(request_for("x"), [PROMPT], RecordingSink())
        sequence = Sequence(submission, 0, PROMPT, Sampling(), True, random.Random(1), 0.0, lambda _: None)
        self.waiting.put(sequence)
        self.slots.fill()
        return sequence

    def test_bounded(self) -> None:
        """The third sequence runs when one of the first two is done."""
        first, _, third = self.put(), self.put(), self.put()
        self.clock.advance(0)
        self.assertEqual((2, 0, 1), (self.slots.running, self.slots.free, len(self.waiting)))
        self.generations[0].callback(7)
        self.assertEqual(7, self.successResultOf(first.done))
        self.clock.advance(0)
        self.assertEqual((2, 0), (self.slots.running, len(self.waiting)))
        self.assertNoResult(third.done)

    def test_failure(self) -> None:
        """A sequence that fails gives its slot back and learns why."""
        sequence = self.put()
        self.clock.advance(0)
        self.generations[0].errback(RuntimeError("broken"))
        self.failureResultOf(sequence.done, RuntimeError)
        self.assertEqual(2, self.slots.free)
        for _ in range(3):
            self.put()
        self.clock.advance(0)
        self.assertEqual(2, self.slots.running)

    def test_many_without_latency(self) -> None:
        """Twenty thousand sequences that take no time are served without running out of stack."""
        self.instant = True
        last = [self.put() for _ in range(20_000)][-1]
        self.clock.pump([0] * 20_000)
        self.assertEqual(1, self.successResultOf(last.done))
