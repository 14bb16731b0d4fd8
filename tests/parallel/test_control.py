"""Operating several ranks as one."""

from collections.abc import Collection

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from vllmsim.errors import InvalidUserInput, Unavailable, UnknownAdapter
from vllmsim.interfaces import IAdapterRegistry, IHealth, IRankControl, PauseMode
from vllmsim.models import ModelCatalogue
from vllmsim.parallel.control import JointAdapters, JointControl, JointHealth


@implementer(IRankControl)
@define(eq=False)
class HeardControl:
    """Remembers what it is told, and says what the test wants.

    :param state: whether it is paused and asleep, and its cache can be forgotten.
    """

    count: int = 0
    state: bool = False
    heard: list[object] = field(factory=list)
    halted: Deferred[None] = field(factory=Deferred)

    def abort(self, ids: Collection[str]) -> int:
        """Remember."""
        self.heard.append(ids)
        return self.count

    def pause(self, mode: PauseMode, clear_cache: bool) -> Deferred[None]:
        """Remember."""
        self.heard.append((mode, clear_cache))
        return self.halted

    def resume(self) -> None:
        """Remember."""
        self.heard.append("resume")

    def paused(self) -> bool:
        """Say it."""
        return self.state

    def sleep(self, level: int, mode: PauseMode) -> Deferred[None]:
        """Remember."""
        self.heard.append((level, mode))
        return self.halted

    def wake_up(self, tags: Collection[str]) -> None:
        """Remember."""
        self.heard.append(tags)

    def sleeping(self) -> bool:
        """Say it."""
        return self.state

    def in_flight(self) -> int:
        """Say it."""
        return self.count

    def reset_prefix_cache(self, reset_running_requests: bool, reset_external: bool) -> Deferred[bool]:
        """Remember."""
        self.heard.append((reset_running_requests, reset_external))
        return succeed(self.state)

    def reset_media_cache(self) -> None:
        """Remember."""
        self.heard.append("media")


class JointControlTests(SynchronousTestCase):
    """What is done to all."""

    def setUp(self) -> None:
        """Have two ranks."""
        self.ranks = [HeardControl(2), HeardControl(3)]
        self.control = JointControl(self.ranks)

    def heard(self) -> list[object]:
        """Tell what both have heard, which must be the same."""
        self.assertEqual(self.ranks[0].heard, self.ranks[1].heard)
        return self.ranks[0].heard

    def test_provides(self) -> None:
        """It is a control like that of one rank."""
        verifyObject(IRankControl, self.control)

    def test_counts(self) -> None:
        """Requests are counted, and ended, wherever they are."""
        self.assertEqual((5, 5), (self.control.in_flight(), self.control.abort(["x"])))
        self.assertEqual([["x"]], self.heard())

    def test_halts(self) -> None:
        """A pause, or sleep, has come when it has for all."""
        for halt in (lambda: self.control.pause("wait", True), lambda: self.control.sleep(2, "keep")):
            halted = halt()
            self.ranks[1].halted.callback(None)
            self.assertNoResult(halted)
            self.ranks[0].halted.callback(None)
            self.assertIsNone(self.successResultOf(halted))
            for rank in self.ranks:
                rank.halted = Deferred()
        self.control.resume()
        self.control.wake_up(["weights"])
        self.control.reset_media_cache()
        self.assertEqual([("wait", True), (2, "keep"), "resume", ["weights"], "media"], self.heard())

    def test_given_up(self) -> None:
        """An operator who goes away waits for no rank any more."""
        halted = self.control.pause("wait", False)
        halted.cancel()
        self.failureResultOf(halted, CancelledError)
        self.assertTrue(all(rank.halted.called for rank in self.ranks))

    def test_failed(self) -> None:
        """What goes wrong on one rank is told as it would be by that rank alone."""
        halted = self.control.sleep(1, "wait")
        self.ranks[1].halted.errback(Unavailable("no"))
        self.assertEqual("no", self.failureResultOf(halted, Unavailable).value.message)

    def test_states(self) -> None:
        """It is paused, or asleep, as long as one rank is; a cache is forgotten when all are."""
        for states, any_is, all_are in (
            ((False, False), False, False),
            ((False, True), True, False),
            ((True, True), True, True),
        ):
            for rank, state in zip(self.ranks, states, strict=True):
                rank.state = state
            self.assertEqual((any_is, any_is), (self.control.paused(), self.control.sleeping()))
            self.assertIs(all_are, self.successResultOf(self.control.reset_prefix_cache(True, False)))
        self.assertEqual([(True, False)] * 3, self.heard())


@implementer(IHealth)
@define(eq=False)
class SaidHealth:
    """Says what the test wants."""

    healthy: bool = True
    willing: bool = True
    well: bool = True

    def ready(self) -> bool:
        """Say it."""
        return self.well


class JointHealthTests(SynchronousTestCase):
    """How all are."""

    def test_health(self) -> None:
        """All are well when each is; what is said of all is said of each."""
        ranks = [SaidHealth(), SaidHealth()]
        health = JointHealth(ranks)
        verifyObject(IHealth, health)
        self.assertEqual([True] * 3, [health.healthy, health.willing, health.ready()])
        ranks[1].healthy = ranks[0].willing = ranks[0].well = False
        self.assertEqual([False] * 3, [health.healthy, health.willing, health.ready()])
        health.healthy, health.willing = True, False
        self.assertEqual([(True, False)] * 2, [(each.healthy, each.willing) for each in ranks])


class JointAdaptersTests(SynchronousTestCase):
    """Adapters of all."""

    def test_adapters(self) -> None:
        """An adapter is loaded on all ranks, or on none."""
        ranks = [ModelCatalogue("m", ("m",)) for _ in range(2)]
        adapters = JointAdapters(ranks)
        verifyObject(IAdapterRegistry, adapters)
        adapters.load("poet", "/p", in_place=False)
        for rank in ranks:
            self.assertEqual("poet", rank.resolve("poet"))
        self.assertRaises(InvalidUserInput, adapters.load, "poet", "/p", in_place=False)
        adapters.unload("poet")
        self.assertEqual([1, 1], [len(rank.cards()) for rank in ranks])
        self.assertRaises(UnknownAdapter, adapters.unload, "poet")
