"""What a virtual clock waits for."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.clocks.standstill import Standstill


class StandstillTests(SynchronousTestCase):
    """Counts of what goes on."""

    def test_around(self) -> None:
        """Who waits hears when everything is over, whatever comes of it, and at once when nothing goes on."""
        standstill = Standstill()
        self.successResultOf(standstill.over())
        with self.assertRaises(ValueError), standstill:
            with standstill:
                waiting, leaving = standstill.over(), standstill.over()
                self.assertEqual(2, standstill.count)
            self.assertNoResult(waiting)
            leaving.cancel()
            self.failureResultOf(leaving, CancelledError)
            raise ValueError
        self.successResultOf(waiting)

    def test_threads(self) -> None:
        """A function in a thread goes on until it has come back, well or not."""
        standstill, answers = Standstill(), [Deferred[Any](), Deferred[Any]()]
        coming = iter(answers)
        defer = standstill.counted(lambda _function, *_arguments, **_more: next(coming))
        well, badly = defer(print, 1), defer(print, 2, end="")
        self.assertEqual(2, standstill.count)
        answers[0].callback("well")
        answers[1].errback(ValueError())
        self.assertEqual(("well", 0), (self.successResultOf(well), standstill.count))
        self.failureResultOf(badly, ValueError)
