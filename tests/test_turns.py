"""How long work goes on before other events are let in."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import TurningClock
from vllmsim.clocks.scaled import ScaledClock
from vllmsim.clocks.virtual import VirtualClock
from vllmsim.turns import TURN, SharedTurn, Turn


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

    def test_machine(self) -> None:
        """A turn is as long where simulated time goes faster, and has no end where that stands still."""
        clock = Clock()
        fast, still = Turn(ScaledClock(clock, 100.0)), Turn(VirtualClock(clock))
        clock.rightNow += TURN * 0.9
        self.successResultOf(fast.step())
        clock.rightNow += TURN * 0.2
        waiting = Deferred.fromCoroutine(fast.step())
        self.assertNoResult(waiting)
        clock.advance(0)
        self.successResultOf(waiting)
        self.successResultOf(still.step())


class SharedTurnTests(SynchronousTestCase):
    """Steps of several."""

    def test_many(self) -> None:
        """Who is woken with others waits when these have taken the turn, and the next turn is for the next of them."""
        clock, done = TurningClock(), []
        shared = SharedTurn(clock)

        async def work(number: int) -> None:
            await shared.enter()
            begun = clock.seconds()
            clock.rightNow += TURN * 0.7
            shared.leave(begun)
            done.append(number)

        working = [Deferred.fromCoroutine(work(number)) for number in range(5)]
        told = [len(done)]
        while len(done) < 5:
            clock.turn()
            told.append(len(done))
        self.assertEqual([2, 4, 5], told)
        self.assertEqual([*range(5)], done)
        for each in working:
            self.successResultOf(each)
        clock.turn()
        self.assertEqual([], clock.getDelayedCalls())

    def test_nothing_spent(self) -> None:
        """What takes no time has nobody wait, and leaves nothing to be done."""
        clock = Clock()
        shared = SharedTurn(clock)
        for _ in range(9):
            self.successResultOf(Deferred.fromCoroutine(shared.enter()))
            shared.leave(clock.seconds())
        self.assertEqual([], clock.getDelayedCalls())
