"""Places that become more and fewer."""

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scheduling.seats import Seats


class SeatsTests(SynchronousTestCase):
    """Who is let in."""

    def setUp(self) -> None:
        """Have two places."""
        self.most = 2
        self.seats = Seats(lambda: self.most)

    def test_order(self) -> None:
        """Who comes when all places are taken waits, and is let in in turn."""
        turns = [self.seats.take() for _ in range(4)]
        self.assertEqual([True, True, False, False], [turn.called for turn in turns])
        self.assertEqual((2, 2, False), (self.seats.taken, self.seats.waiting, self.seats.free))
        self.seats.leave()
        self.assertEqual([True, False], [turn.called for turn in turns[2:]])
        for _ in range(3):
            self.seats.leave()
        self.assertEqual((0, 0, True), (self.seats.taken, self.seats.waiting, self.seats.free))

    def test_more(self) -> None:
        """More places are taken as soon as they are there."""
        turns = [self.seats.take() for _ in range(5)]
        self.most = 4
        self.seats.fill()
        self.assertEqual([True] * 4 + [False], [turn.called for turn in turns])

    def test_fewer(self) -> None:
        """With fewer places than are taken nobody is let in until there is room again."""
        for _ in range(2):
            self.seats.take()
        waiting = self.seats.take()
        self.most = 1
        self.seats.leave()
        self.assertNoResult(waiting)
        self.seats.leave()
        self.successResultOf(waiting)

    def test_give_up(self) -> None:
        """Who gives up waiting is passed over."""
        self.most = 0
        turns = [self.seats.take() for _ in range(2)]
        turns[0].cancel()
        self.failureResultOf(turns[0], CancelledError)
        self.most = 1
        self.seats.fill()
        self.assertEqual((1, 0), (self.seats.taken, self.seats.waiting))
        self.successResultOf(turns[1])
