"""Whether all ranks are well."""

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.processes.health import Pace, RankHealth


class HealthTests(SynchronousTestCase):
    """What counts, and when."""

    def setUp(self) -> None:
        """Watch two ranks, which answer what `answers` has, or nothing for as long as that is None."""
        self.clock = Clock()
        self.answers: dict[int, int | Exception | None] = {0: 200, 1: 200}
        self.asked = {0: 0, 1: 0}
        self.cancelled: list[object] = []
        self.began = 0
        probes = {0: lambda: self.ask(0), 1: lambda: self.ask(1)}
        self.health = RankHealth(self.clock, probes, Pace(5.0, 2.0, 3), self.begin)

    def begin(self) -> None:
        """Count."""
        self.began += 1

    async def ask(self, rank: int) -> int:
        """Answer a question."""
        self.asked[rank] += 1
        answer = self.answers[rank]
        if answer is None:
            nothing: Deferred[int] = Deferred(self.cancelled.append)
            return await nothing
        if isinstance(answer, Exception):
            raise answer
        return answer

    def both(self) -> None:
        """Have both ranks listen."""
        self.health.watch(0)
        self.health.watch(1)

    def after(self, seconds: float, answer: int | Exception | None) -> bool:
        """Let rank 1 give an answer from now on, and see how all are after some time."""
        self.answers[1] = answer
        self.clock.advance(seconds)
        return self.health.well

    def test_start(self) -> None:
        """A rank is asked as soon as it listens, and all are well when each has answered 200."""
        self.assertEqual((False, {0: 0, 1: 0}), (self.health.well, self.asked))
        self.health.watch(0)
        self.assertEqual((False, 0), (self.health.well, self.began))
        self.health.watch(1)
        self.assertEqual((True, 1), (self.health.well, self.began))

    def test_interval(self) -> None:
        """It is asked again at the interval."""
        self.both()
        self.clock.advance(4.9)
        self.assertEqual({0: 1, 1: 1}, self.asked)
        self.clock.advance(0.1)
        self.assertEqual({0: 2, 1: 2}, self.asked)

    def test_status(self) -> None:
        """A status other than 200 counts at once, and 200 too; the log tells of changes."""
        self.both()
        with capturedLogs() as events:
            seen = [self.after(5, status) for status in (503, 503, 200, 200, 500, 200)]
        self.assertEqual([False, False, True, True, False, True], seen)
        self.assertEqual(1, self.began)
        said = [
            "is not well: its /health answers 503.",
            "is well.",
            "is not well: its /health answers 500.",
            "is well.",
        ]
        self.assertEqual([f"Rank 1 {text}" for text in said], [event["log_format"].format(**event) for event in events])

    def test_no_answer(self) -> None:
        """No answer counts when it has happened three times in a row."""
        self.both()
        self.assertEqual([True, True], [self.after(5, Refused()) for _ in range(2)])
        self.assertTrue(self.after(5, 200))
        self.assertEqual([True, True, False], [self.after(5, Refused()) for _ in range(3)])
        self.assertTrue(self.after(5, 200))
        self.assertTrue(self.after(5, Refused()))

    def test_no_answer_yet(self) -> None:
        """A rank that has never answered is not well, however patient one is."""
        self.answers[0] = Refused()
        with capturedLogs() as events:
            self.both()
        self.assertFalse(self.health.well)
        text = events[0]["log_format"].format(**events[0])
        self.assertEqual("Rank 0 is not well: no answer, ConnectionRefusedError, 1 in a row.", text)

    def test_slow(self) -> None:
        """An answer that takes too long is none, and nobody waits for it any more."""
        self.both()
        for missed in range(1, 4):
            self.assertTrue(self.after(5, None))
            self.clock.advance(2)
            self.assertEqual(missed, len(self.cancelled))
        self.assertFalse(self.health.well)

    def test_end(self) -> None:
        """A rank whose process has ended is not well until it listens and answers again."""
        self.both()
        self.health.forget(1)
        self.assertFalse(self.health.well)
        self.clock.advance(5)
        self.assertEqual({0: 2, 1: 1}, self.asked)
        self.health.watch(1)
        self.assertEqual((True, 1), (self.health.well, self.began))

    def test_end_while_asked(self) -> None:
        """A question to a rank that ends is dropped."""
        self.both()
        self.after(5, None)
        self.health.forget(1)
        self.assertEqual(1, len(self.cancelled))
        self.clock.advance(5)
        self.assertEqual({0: 3, 1: 2}, self.asked)

    def test_close(self) -> None:
        """When the server stops it is not well, and nobody is asked or watched any more."""
        self.both()
        self.health.close()
        self.health.watch(0)
        self.assertEqual((False, {0: 1, 1: 1}), (self.health.well, self.asked))
        self.assertEqual([], self.clock.getDelayedCalls())
