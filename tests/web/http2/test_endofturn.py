"""The end of a turn of the reactor."""

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.http2client import Http2Client
from tests.web.test_doorway import DoorwayTestCase
from vllmsim.web.http2.connection import Http2
from vllmsim.web.http2.endofturn import EndOfTurn


class EndOfTurnTests(SynchronousTestCase):
    """What is put off."""

    def setUp(self) -> None:
        """Begin a turn."""
        self.clock = Clock()
        self.end = EndOfTurn(self.clock)
        self.done: list[int] = []

    def test_together(self) -> None:
        """Everything is done in its order, by one timer; what is put off while that happens has another."""
        timers: list[int] = []

        def do_more() -> None:
            self.done.append(2)
            self.end.do(lambda: self.done.append(3))
            timers.append(len(self.clock.getDelayedCalls()))

        self.end.do(lambda: self.done.append(1))
        self.end.do(do_more)
        self.assertEqual(([], 1), (self.done, len(self.clock.getDelayedCalls())))
        self.clock.advance(0)
        self.assertEqual(([1, 2, 3], [1]), (self.done, timers))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_one_breaks(self) -> None:
        """What breaks is logged, and keeps nobody else waiting."""

        def fail() -> None:
            raise ValueError("a bug")

        self.end.do(fail)
        self.end.do(lambda: self.done.append(1))
        self.clock.advance(0)
        self.assertEqual([1], self.done)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))


class ConnectionsTests(DoorwayTestCase):
    """Connections to one site."""

    def test_one_timer(self) -> None:
        """However many connections are written to in a turn, one timer sends everything, also when one of them ends."""
        http2 = Http2()
        self.site.http2 = lambda: succeed(http2)
        clients = [Http2Client(self.site) for _ in range(5)]
        streams = [client.begin("GET", "/later", end=True) for client in clients]
        waiting = len(self.clock.getDelayedCalls())
        for request in self.library.later:
            request.write(b"some")
        self.assertEqual(waiting + 1, len(self.clock.getDelayedCalls()))
        clients[0].drop()
        self.clock.advance(0)
        for client in clients[1:]:
            client.pump()
        self.assertEqual([b"", *[b"some"] * 4], [stream.body for stream in streams])
