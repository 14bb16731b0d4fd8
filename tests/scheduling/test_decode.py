"""Answers whose time goes wrong on purpose."""

from math import inf
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from tests.fakes import FixedLatency
from tests.scheduling.test_generation import GenerationCase
from vllmsim.inference import Disturbance
from vllmsim.structure import PLAIN, Form


class DisturbedTests(GenerationCase):
    """A sequence says ``one two three`` and ends; its first token is due after 50 ms, the others 20 ms apart."""

    def begin(self, disturbance: Disturbance, form: Form = PLAIN, **sampling: Any) -> Deferred[int]:
        """Start a sequence that is disturbed."""
        self.fields = {"disturbance": disturbance}
        return self.start_now(form, **sampling)

    def said(self, *advances: float) -> list[str]:
        """Let time pass, and tell after each step what has been said."""
        said = []
        for seconds in advances:
            self.clock.advance(seconds)
            said.append(self.sink.said())
        return said

    def test_first_token(self) -> None:
        """The first token is late, and all others as long after it as ever."""
        done = self.begin(Disturbance(first_token=1.0))
        self.assertEqual(["", "one ", "one ", "one two "], self.said(1.04, 0.01, 0.01, 0.01))
        self.assertEqual(["one two three"], self.said(0.05))
        self.assertEqual(4, self.successResultOf(done))

    def test_stall(self) -> None:
        """After some tokens nothing comes for a while; then the rest comes in its own time."""
        done = self.begin(Disturbance(stall=2.0, stall_at=2))
        self.assertEqual(["one ", "one two ", "one two "], self.said(0.051, 0.02, 2.01))
        self.assertEqual(["one two three"], self.said(0.011))
        self.assertNoResult(done)
        self.clock.advance(0.02)
        self.assertEqual(4, self.successResultOf(done))
        gaps = [round(gap, 3) for name, _, gap in (each for each in self.metrics.heard if each[0] == "emitted") if gap]
        self.assertEqual([0.02, 2.021, 0.02], gaps)

    def test_both(self) -> None:
        """A first token may be late and the answer stall before the second."""
        self.begin(Disturbance(first_token=1.0, stall=2.0, stall_at=1))
        self.assertEqual(["", "one ", "one ", "one two "], self.said(1.04, 0.011, 2.01, 0.011))
        self.clock.advance(1)

    def test_at_the_start(self) -> None:
        """A stall before the first token has that come late."""
        self.begin(Disturbance(stall=2.0))
        self.assertEqual(["", "one "], self.said(2.04, 0.01))
        self.clock.advance(1)

    def test_short_answer(self) -> None:
        """An answer that is shorter stalls before its last token."""
        done = self.begin(Disturbance(stall=2.0, stall_at=50))
        self.assertEqual(["one two three"], self.said(0.1))
        self.clock.advance(1.9)
        self.assertNoResult(done)
        self.clock.advance(0.2)
        self.assertEqual(4, self.successResultOf(done))

    def test_no_latency(self) -> None:
        """Without latency the tokens before and behind a stall come together."""
        self.latency = FixedLatency(0.0)
        done = self.begin(Disturbance(stall=2.0, stall_at=2))
        self.assertEqual(["one two ", "one two ", "one two three"], self.said(0, 1.99, 0.02))
        self.assertEqual(4, self.successResultOf(done))

    def test_long_runs(self) -> None:
        """A stall comes after as many tokens as it says, however many are due at once."""
        self.latency = FixedLatency(0.0)
        self.source.words = ["w"] * 700
        self.begin(Disturbance(stall=1.0, stall_at=300), max_tokens=701)
        self.assertEqual([300, 701], [len(said) for said in (*self.said(0), *(each + "E" for each in self.said(1)))])

    def test_for_ever(self) -> None:
        """A stall without an end keeps the slot until the client leaves, and nothing else."""
        for disturbance, said in ((Disturbance(stall=inf, stall_at=2), "one two "), (Disturbance(stall=inf), "")):
            self.sink.calls.clear()
            done = self.begin(disturbance)
            self.assertEqual([said], self.said(1e6))
            self.assertNoResult(done)
            self.assertEqual([], self.clock.getDelayedCalls())
            done.cancel()
            self.failureResultOf(done, CancelledError)
            self.assertEqual(("aborted",), self.metrics.heard[-1])

    def test_aborted(self) -> None:
        """An answer that stalls can be ended with what it has said."""
        done = self.begin(Disturbance(stall=inf, stall_at=2))
        self.clock.advance(1)
        self.clock.advance(1)
        self.abort(done)
        self.assertEqual(2, self.successResultOf(done))
        self.assertEqual((0, "abort"), self.sink.calls[-1])

    def test_image(self) -> None:
        """An image takes its time beside a stall."""
        self.latency.image = 1.0
        done = self.begin(Disturbance(stall=2.0, stall_at=1), Form(image=True))
        self.assertEqual(["one ", "one two three"], self.said(0.05, 2.08))
        self.assertNoResult(done)
        self.clock.advance(1.0)
        self.assertEqual(4, self.successResultOf(done))

    def test_refused(self) -> None:
        """Who is refused for how little is cached is told so at once."""
        self.fields = {"disturbance": Disturbance(first_token=5.0), "below_threshold": True}
        done = self.start_now(PLAIN)
        self.clock.advance(0)
        self.assertEqual(0, self.successResultOf(done))
