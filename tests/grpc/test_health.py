"""How a server says that it is well."""

from typing import Any

from attrs import define
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.grpc.calling import Called, CallTestCase, call
from vllmsim.api.health import HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse
from vllmsim.grpc.health import HealthCalls
from vllmsim.grpc.status import Code
from vllmsim.grpc.watching import Watched
from vllmsim.interfaces import IHealth

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3


@implementer(IHealth)
@define(eq=False)
class Well:
    """Is as a test has it."""

    healthy: bool = True
    willing: bool = True
    looks: int = 0

    def ready(self) -> bool:
        """Tell, and count who asks."""
        self.looks += 1
        return self.healthy and self.willing


class WatchedTests(SynchronousTestCase):
    """Who waits for a change."""

    def test_leaving_together(self) -> None:
        """Who is told may have another leave, who then is not told."""
        clock, seen = Clock(), [1]
        watched = Watched(clock, 1, lambda: seen[0])
        first, second = watched.change(1), watched.change(1)
        told: list[str] = []
        first.addCallback(lambda _: second.cancel())
        second.addCallbacks(lambda _: told.append("told"), lambda reason: told.append(reason.type.__name__))
        clock.advance(1)
        self.assertNoResult(watched.change(1))
        seen[0] = 2
        clock.advance(1)
        self.assertEqual((["CancelledError"], []), (told, clock.getDelayedCalls()))


class HealthTests(CallTestCase):
    """What probes are told."""

    def setUp(self) -> None:
        """Serve it."""
        self.serve()
        self.health = Well()
        self.root.add(HealthCalls(self.clock, self.health, lambda: self.root.services))

    def check(self, service: str = "") -> Called:
        """Ask how a service is."""
        return self.call("/grpc.health.v1.Health/Check", HealthCheckResponse, HealthCheckRequest(service=service))

    def watch(self, service: str = "", **options: Any) -> Called:
        """Ask how it is, and go on to be told."""
        request = HealthCheckRequest(service=service)
        return call(self.connect(**options), "/grpc.health.v1.Health/Watch", HealthCheckResponse, request)

    def told(self, called: Called) -> list[int]:
        """Let some time pass, and list what has been told."""
        self.clock.advance(0.5)
        called.stream.client.pump()
        return [each.status for each in called.messages]

    def test_check(self) -> None:
        """The server, and each of its services, is serving as long as requests should be sent there."""
        for service in ("", "grpc.health.v1.Health"):
            self.health.healthy = True
            self.assertEqual([HealthCheckResponse(status=SERVING)], self.check(service).messages)
            self.health.healthy = False
            self.assertEqual([HealthCheckResponse(status=NOT_SERVING)], self.check(service).messages)

    def test_unknown(self) -> None:
        """A service that is not there is not found."""
        self.assertFailed(Code.NOT_FOUND, self.check("nothing"), "No service of this name")

    def test_list(self) -> None:
        """All are told at once."""
        called = self.call("/grpc.health.v1.Health/List", HealthListResponse, HealthListRequest())
        (answer,) = called.messages
        statuses = {name: each.status for name, each in answer.statuses.items()}
        self.assertEqual({"": SERVING, "grpc.health.v1.Health": SERVING}, statuses)

    def test_watch(self) -> None:
        """Who watches is told at once how it is, and then what changes, and nothing else."""
        called = self.watch()
        self.assertEqual([SERVING], [each.status for each in called.messages])
        self.assertEqual([SERVING], self.told(called))
        self.health.healthy = False
        self.assertEqual([SERVING, NOT_SERVING], self.told(called))
        self.health.healthy = True
        self.assertEqual([SERVING, NOT_SERVING, SERVING], self.told(called))
        self.assertEqual([SERVING, NOT_SERVING, SERVING], self.told(called))
        self.assertIsNone(called.code)

    def test_many_watch(self) -> None:
        """Everyone who watches is told the same, whenever they came; and it is looked at once for all of them."""
        first = self.watch()
        self.clock.advance(0.3)
        self.health.willing = False
        second = self.watch()
        self.assertEqual([NOT_SERVING], [each.status for each in second.messages])
        self.health.willing = True
        self.assertEqual(([SERVING], [NOT_SERVING, SERVING]), (self.told(first), self.told(second)))
        others = [self.watch() for _ in range(20)]
        before = self.health.looks
        self.told(others[0])
        self.assertEqual(1, self.health.looks - before)

    def test_nobody_watches(self) -> None:
        """Nobody looks when nobody watches any more, and somebody does again when one comes."""
        first, second = self.watch(), self.watch()
        first.stream.cancel()
        self.assertEqual([SERVING], self.told(second))
        second.stream.cancel()
        before = self.health.looks
        self.clock.advance(5)
        self.assertEqual(before, self.health.looks)
        third = self.watch()
        self.health.willing = False
        self.assertEqual([SERVING, NOT_SERVING], self.told(third))

    def test_unknown_watched(self) -> None:
        """Who watches a service that is not there is told so, and the stream goes on."""
        called = self.watch("nothing")
        self.assertEqual(([SERVICE_UNKNOWN], None), (self.told(called), called.code))
        called.stream.cancel()

    def test_stopping(self) -> None:
        """A server that stops says so to all who watch, and waits for none of them."""
        for service, last in (("", NOT_SERVING), ("nothing", SERVICE_UNKNOWN)):
            called = self.watch(service)
            self.health.healthy = False
            # What closing a site says to its clients before, the client here would take for the end.
            self.site.closing = True
            self.assertEqual(last, self.told(called)[-1])
            self.assertEqual(Code.UNAVAILABLE, called.code)
            self.site.closing = False

    def test_slow(self) -> None:
        """Who reads late is told how it is then, and not all that it was."""
        called = self.watch(reads=False)
        for _ in range(9):
            self.health.healthy = not self.health.healthy
            self.told(called)
        self.assertEqual(NOT_SERVING, called.messages[-1].status)
