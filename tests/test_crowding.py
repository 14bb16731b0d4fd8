"""How many connections there may be."""

import os
import resource
from typing import Any

from attrs import define
from twisted.internet.defer import succeed
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from vllmsim.crowding import Room, opened, raised_limit


@implementer(IReadDescriptor)
@define(eq=False)
class Port:
    """A port that clients queue at."""

    accepted: list[int]
    queue: int = 0
    numberAccepts: int = 100
    reading: bool = True
    connected: bool = True
    disconnecting: bool = False
    doRead: Any = None

    def __attrs_post_init__(self) -> None:
        """Have it replaceable, as that of a real one is."""
        self.doRead = self.accept

    def accept(self) -> None:
        """Accept some."""
        for _ in range(min(self.numberAccepts, self.queue)):
            self.queue -= 1
            self.accepted.append(0)

    def fileno(self) -> int:
        """Tell its descriptor."""
        return -1

    def logPrefix(self) -> str:
        """Tell what the log calls it."""
        return "Port"

    def connectionLost(self, reason: object) -> None:
        """Be closed."""

    def startReading(self) -> None:
        """Look for clients."""
        self.reading = True

    def stopReading(self) -> None:
        """Look no more."""
        self.reading = False


@define(eq=False)
class Wrapped:
    """A port around another, as those of TLS are."""

    inner: Port


@define(eq=False)
class Endpoint:
    """Gives a port."""

    port: Port | Wrapped

    def listen(self, protocolFactory: object) -> Any:
        """Listen."""
        return succeed(self.port)


class RoomTests(SynchronousTestCase):
    """Room for 20 connections, at two ports; ten of forty descriptors are kept, and ten are open."""

    def setUp(self) -> None:
        """Have ports."""
        self.clock = Clock()
        self.accepted: list[int] = []
        self.room = Room(self.clock, 40, lambda: 10 + len(self.accepted))
        self.ports = [Port(self.accepted), Port(self.accepted)]
        for made in (self.ports[0], Wrapped(self.ports[1])):
            endpoint: Any = Endpoint(made)
            self.successResultOf(self.room.bound(endpoint).listen(Factory()))
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def come(self, port: Port, count: int) -> None:
        """Have clients come, and the reactor look for them."""
        port.queue += count
        for _ in range(10):
            if port.reading and port.queue:
                port.doRead()

    def test_room(self) -> None:
        """Clients beyond the room wait, at each port, and come in as others leave; the log says so once a minute."""
        one, other = self.ports
        self.come(one, 5)
        self.assertEqual((5, 0), (len(self.accepted), one.queue))
        self.come(other, 30)
        self.assertEqual((20, 15, False), (len(self.accepted), other.queue, other.reading))
        self.come(one, 1)
        self.assertFalse(one.reading)
        [event] = self.events
        self.assertEqual((30, 40), (event["count"], event["limit"]))
        self.clock.advance(1)
        self.assertFalse(one.reading or other.reading)
        del self.accepted[:2]
        self.clock.advance(1)
        self.assertTrue(one.reading and other.reading)
        self.come(other, 0)
        self.assertEqual((20, 13, False), (len(self.accepted), other.queue, other.reading))
        self.assertEqual(1, len(self.events))
        self.clock.advance(60)
        self.accepted.pop()
        self.clock.advance(1)
        self.come(other, 0)
        self.assertEqual(2, len(self.events))

    def test_nobody_waits(self) -> None:
        """No timer is left when there is room for all."""
        one, _ = self.ports
        self.come(one, 30)
        self.accepted.clear()
        self.clock.advance(1)
        self.come(one, 0)
        self.assertEqual((0, []), (one.queue, self.clock.getDelayedCalls()))

    def test_closed_port(self) -> None:
        """A port that was closed while clients waited stays closed."""
        one, other = self.ports
        self.come(one, 21)
        self.come(other, 1)
        one.connected, other.disconnecting = False, True
        self.accepted.clear()
        self.clock.advance(1)
        self.assertFalse(one.reading or other.reading)

    def test_limit(self) -> None:
        """The limit of open files is raised as far as it may be, and no further than vLLM does."""
        for limits, expected in (
            ((100, 4000), 4000),
            ((100, 100_000), 65_535),
            ((100_000, 100_000), 100_000),
            ((100, resource.RLIM_INFINITY), 65_535),
            ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 65_535),
        ):
            said: list[tuple[int, int]] = []
            self.patch(resource, "getrlimit", lambda _, limits=limits: limits)
            self.patch(resource, "setrlimit", lambda _, new, said=said: said.append(new))
            self.assertEqual(expected, raised_limit(), limits)
            self.assertEqual([] if limits[0] != 100 else [(expected, limits[1])], said)

    def test_opened(self) -> None:
        """What is open is counted, and assumed where that cannot be seen."""
        before = opened()
        with open("/dev/null"):  # noqa: PTH123
            self.assertEqual(before + 1, opened())

        def missing(_: str) -> list[str]:
            raise FileNotFoundError

        self.patch(os, "listdir", missing)
        self.assertEqual(32, opened())
