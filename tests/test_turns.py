"""How long work goes on before other events are let in."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.turns import TURN, Turn


class TurnTests(SynchronousTestCase):
    """Steps of work."""

    def test_steps(self) -> None:
        """Steps follow each other until the turn has been long enough; then others come first, and it begins anew."""
        clock = Clock()
        turn = Turn(clock)
        for _ in range(3):
            self.successResultOf(turn.step())
            clock.rightNow += TURN * 1.5
            waiting = Deferred.fromCoroutine(turn.step())
            self.assertNoResult(waiting)
            clock.advance(0)
            self.successResultOf(waiting)
