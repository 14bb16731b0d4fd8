"""Work on many things at a time."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts.dataset.order import in_order


class OrderTests(SynchronousTestCase):
    """Things, and what becomes of them."""

    def setUp(self) -> None:
        """Begin to work on numbers from 0, each of which waits until it is told to be done."""
        self.clock = Clock()
        self.waiting: dict[int, Deferred[int]] = {}
        self.taken: list[int] = []
        self.cancelled: list[int] = []

    def begin(self, count: int, width: int, wanted: int = 1000) -> Deferred[None]:
        """Begin to work on so many numbers."""

        async def work(number: int) -> int:
            self.waiting[number] = Deferred(lambda _: self.cancelled.append(number))
            return await self.waiting[number]

        def take(number: int) -> int:
            self.taken.append(number)
            return wanted - len(self.taken)

        return Deferred.fromCoroutine(in_order(iter(range(count)), work, take, wanted, width, self.clock))

    def test_order(self) -> None:
        """Results are taken in the order of the things, whichever is done first."""
        done = self.begin(4, 3)
        self.assertEqual([0, 1, 2], [*self.waiting])
        self.waiting[2].callback(2)
        self.assertEqual([0, 1, 2, 3], [*self.waiting])
        self.waiting[1].callback(1)
        self.assertEqual([], self.taken)
        self.waiting[0].callback(0)
        self.assertEqual([0, 1, 2], self.taken)
        self.waiting[3].callback(3)
        self.assertEqual([0, 1, 2, 3], self.taken)
        self.assertIsNone(self.successResultOf(done))

    def test_ahead(self) -> None:
        """What waits for one that takes long is bounded."""
        self.begin(1000, 2)
        for number in range(1, 1000):
            if number not in self.waiting:
                break
            self.waiting[number].callback(number)
        self.assertEqual(16, len(self.waiting))

    def test_enough(self) -> None:
        """No more is begun than is wanted, and nothing goes on when there is enough."""
        done = self.begin(10, 4, wanted=2)
        self.assertEqual([0, 1], [*self.waiting])
        self.waiting[1].callback(1)
        self.waiting[0].callback(0)
        self.successResultOf(done)
        self.assertEqual(([0, 1], [0, 1]), (self.taken, [*self.waiting]))

    def test_error(self) -> None:
        """The first error ends everything."""
        done = self.begin(5, 3)
        self.waiting[0].errback(KeyError("x"))
        self.failureResultOf(done, KeyError)
        self.assertEqual(([1, 2], []), (sorted(self.cancelled)[:2], self.taken))

    def test_cancelled(self) -> None:
        """Who gives up ends all that is worked on."""
        done = self.begin(9, 3)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual([0, 1, 2], sorted(self.cancelled)[:3])

    def test_turns(self) -> None:
        """Work that needs nobody else lets others have their turn now and then."""
        turns: list[int] = []

        async def work(number: int) -> int:
            self.clock.rightNow += 0.015
            return number

        def take(number: int) -> int:
            self.taken.append(number)
            return 1

        done = Deferred.fromCoroutine(in_order(range(6), work, take, 1, 1, self.clock))
        self.assertEqual([0, 1], self.taken)
        self.clock.callLater(0, lambda: turns.extend(self.taken))
        self.clock.advance(0)
        self.assertEqual([0, 1, 2, 3], turns)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual([*range(6)], self.taken)
