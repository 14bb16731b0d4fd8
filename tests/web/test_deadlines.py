"""One patience for many."""

from math import inf

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.web.deadlines import Deadlines


class DeadlineTests(SynchronousTestCase):
    """Who is waited for, and how long."""

    def setUp(self) -> None:
        """Wait five seconds for each."""
        self.clock = Clock()
        self.expired: list[str] = []
        self.deadlines: Deadlines[str] = Deadlines(self.clock, 5, self.expired.append)

    def test_each_in_turn(self) -> None:
        """Each is waited for from its own beginning, and there is never more than one timer."""
        for name in "abc":
            self.deadlines.start(name)
            self.assertEqual(1, len(self.clock.getDelayedCalls()))
            self.clock.advance(1)
        self.clock.advance(1.5)
        self.assertEqual([], self.expired)
        for name in "abc":
            self.clock.advance(0.5)
            self.assertEqual(name, self.expired[-1])
            self.clock.advance(0.5)
        self.assertEqual(("abc", []), ("".join(self.expired), self.clock.getDelayedCalls()))

    def test_again(self) -> None:
        """Who begins again has all the time again, and who ends is waited for no more."""
        self.deadlines.start("a")
        self.deadlines.start("b")
        self.deadlines.start("c")
        self.clock.advance(3)
        self.deadlines.start("a")
        self.deadlines.stop("b")
        self.deadlines.stop("nobody")
        self.clock.advance(2)
        self.assertEqual(["c"], self.expired)
        self.clock.advance(3)
        self.assertEqual(["c", "a"], self.expired)

    def test_keep(self) -> None:
        """Who is waited for already has no more time for being waited for again."""
        self.deadlines.keep("a")
        self.clock.advance(3)
        self.deadlines.keep("a")
        self.clock.advance(2)
        self.assertEqual(["a"], self.expired)

    def test_none_left(self) -> None:
        """A timer for nobody does nothing."""
        self.deadlines.start("a")
        self.deadlines.stop("a")
        self.clock.advance(5)
        self.assertEqual(([], []), (self.expired, self.clock.getDelayedCalls()))

    def test_clear(self) -> None:
        """At the end nobody is waited for, and no timer is left; also when one who expires makes the end."""
        self.deadlines.clear()
        self.deadlines.start("a")
        self.deadlines.clear()
        self.assertEqual([], self.clock.getDelayedCalls())
        deadlines: Deadlines[str] = Deadlines(self.clock, 5, lambda _: deadlines.clear())
        deadlines.start("a")
        deadlines.start("b")
        self.clock.advance(5)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_begun_by_the_end_of_another(self) -> None:
        """One who begins when another expires does not delay those before."""

        def expire(who: str) -> None:
            self.expired.append(who)
            deadlines.start(who + "!")

        deadlines: Deadlines[str] = Deadlines(self.clock, 5, expire)
        deadlines.start("a")
        self.clock.advance(1)
        deadlines.start("b")
        self.clock.advance(4)
        self.clock.advance(1)
        self.assertEqual(["a", "b"], self.expired)
        self.clock.advance(4)
        self.assertEqual(["a", "b", "a!"], self.expired)

    def test_read_before(self) -> None:
        """Who is heard of in the turn of the reactor in which the time is over has been in time."""

        def stop() -> None:
            self.deadlines.stop("a")

        self.deadlines.start("a")
        self.deadlines.start("b")
        self.clock.callLater(5, stop)
        self.clock.advance(5)
        self.assertEqual(["b"], self.expired)

    def test_end_between(self) -> None:
        """When all ends in that turn nobody is waited for, and no timer is left."""
        self.deadlines.start("a")
        self.clock.callLater(5, self.deadlines.clear)
        self.clock.advance(5)
        self.assertEqual(([], []), (self.expired, self.clock.getDelayedCalls()))

    def test_for_ever(self) -> None:
        """One may wait for ever, which takes no timer."""
        deadlines: Deadlines[str] = Deadlines(self.clock, inf, self.expired.append)
        deadlines.start("a")
        self.assertEqual([], self.clock.getDelayedCalls())
