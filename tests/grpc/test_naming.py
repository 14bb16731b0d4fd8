"""The ids that a message names."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.grpc.test_compression import SlowClock
from vllmsim.grpc.naming import read_ids


class NamingTests(SynchronousTestCase):
    """Ids are read."""

    def test_few(self) -> None:
        """A few ids are read at once."""
        self.assertEqual({"a", "b"}, self.successResultOf(Deferred.fromCoroutine(read_ids(["a", "b", "a"], Clock()))))

    def test_many(self) -> None:
        """While a message of many is read, others have their turns."""
        clock, ids = SlowClock(), [f"r{number}" for number in range(30_000)]
        reading = Deferred.fromCoroutine(read_ids(ids, clock))
        self.assertNoResult(reading)
        clock.advance(0)
        self.assertEqual(frozenset(ids), self.successResultOf(reading))
        self.assertLess(4, clock.turns)
