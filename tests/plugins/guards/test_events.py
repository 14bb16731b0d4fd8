"""A publisher of KV events that comes from a plugin."""

import errno
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.kvcache.recording import EventCounts
from tests.plugins.guards.case import GuardTestCase
from vllmsim.interfaces import IBlockEventOutlet
from vllmsim.plugins.guards.blame import CLOSING
from vllmsim.plugins.guards.events import GuardedOutlet


@implementer(IBlockEventOutlet)
@define(eq=False)
class Outlet:
    """Remembers what it is told, or raises."""

    error: BaseException | None = None
    described: Any = field(factory=dict)
    closing: Deferred[None] | None = None
    heard: list[Any] = field(factory=list)

    def _hear(self, *told: Any) -> None:
        self.heard.append(told)
        if self.error is not None:
            raise self.error

    def open(self) -> None:
        """Remember."""
        self._hear("open")

    def publish(self, sequence: int, payload: bytes, events: int) -> None:
        """Remember."""
        self._hear(sequence, payload, events)

    def describe(self) -> Any:
        """Tell."""
        self._hear("describe")
        return self.described

    async def close(self) -> None:
        """Remember."""
        self._hear("close")
        if self.closing is not None:
            await self.closing


class OutletTests(GuardTestCase):
    """Batches on their way out."""

    def guarded(self, outlet: Outlet) -> GuardedOutlet:
        """Put a guard before one."""
        self.clock, self.counts = Clock(), EventCounts()
        made = GuardedOutlet(outlet, self.blame, self.clock, self.counts)
        self.assertTrue(verifyObject(IBlockEventOutlet, made))
        return made

    def test_good(self) -> None:
        """Everything comes through in its order."""
        outlet = Outlet(described={"endpoint": "file:/x"})
        guarded = self.guarded(outlet)
        guarded.open()
        guarded.publish(0, b"x", 3)
        self.assertEqual({"endpoint": "file:/x"}, guarded.describe())
        self.successResultOf(Deferred.fromCoroutine(guarded.close()))
        self.assertEqual([("open",), (0, b"x", 3), ("describe",), ("close",)], outlet.heard)
        self.assertEqual(0, self.counts.dropped)
        self.assertBlamed()

    def test_raises(self) -> None:
        """A batch that cannot be published is dropped and counted, and nothing else stops."""
        guarded = self.guarded(Outlet(RuntimeError("full")))
        for number in range(2):
            guarded.publish(number, b"x", 3)
        self.assertEqual(6, self.counts.dropped)
        self.assertEqual({}, guarded.describe())
        self.successResultOf(Deferred.fromCoroutine(guarded.close()))
        self.assertBlamed(*["RuntimeError: full"] * 4)

    def test_cannot_open(self) -> None:
        """One that cannot be opened ends the start, with its name where it says no other."""
        cases = (
            (RuntimeError("no disk"), "mine", "RuntimeError: no disk"),
            (OSError(errno.EACCES, "Permission denied", "/x"), "/x", "Permission denied"),
            (OSError("odd"), "mine", "odd"),
        )
        for error, name, reason in cases:
            with self.assertRaises(OSError) as caught:
                self.guarded(Outlet(error)).open()
            self.assertEqual(name, caught.exception.filename)
            self.assertIn(reason, caught.exception.strerror)

    def test_description(self) -> None:
        """What JSON cannot say is not told."""
        for described in ({"a": object()}, 7, None):
            self.assertEqual({}, self.guarded(Outlet(described=described)).describe())
        self.assertEqual(3, len(self.lines()))

    def test_never_closes(self) -> None:
        """One that does not come to an end does not keep the program from its own."""
        guarded = self.guarded(Outlet(closing=Deferred()))
        closing = Deferred.fromCoroutine(guarded.close())
        self.assertNoResult(closing)
        self.clock.advance(CLOSING)
        self.successResultOf(closing)
        self.assertBlamed("it takes more than 5 s to close")
