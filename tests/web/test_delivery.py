"""Long bodies."""

from typing import Any, ClassVar

from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import RecordingMetrics
from tests.harness import Exchange
from vllmsim.web.delivery import deliver
from vllmsim.web.request import Request
from vllmsim.web.root import RankResource
from vllmsim.web.site import Limits, Site

PIECE = b"x" * 20_000


class Routes:
    """Answers with pieces."""

    app: ClassVar[Klein] = Klein()

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.ends: list[Any] = []

    @app.route("/", methods=["GET"])
    async def get(self, request: Request) -> None:
        """Deliver the pieces, and remember how that ended."""
        try:
            await deliver(request, 200, self.pieces, b"text/plain")
        except CancelledError:
            self.ends.append("cancelled")
            raise
        self.ends.append("done")


class Narrow(StringTransport):
    """A connection that has enough after each write."""

    def write(self, data: bytes) -> None:
        """Take one piece."""
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()


class DeliveryTests(SynchronousTestCase):
    """Writing as fast as the client reads."""

    def get(self, *pieces: bytes) -> Exchange:
        """Ask for a body of such pieces, on a connection that has enough after each."""
        self.routes = Routes(list(pieces))
        limits = Limits(1 << 16, 100, 1 << 20, 5.0)
        self.transport = Narrow()
        site = Site(RankResource([self.routes.app]), Clock(), RecordingMetrics(), limits)
        self.exchange = Exchange(site, self.transport)
        self.addCleanup(self.exchange.drop)
        return self.exchange.send("GET", "/")

    def resume(self) -> None:
        """Read what is there."""
        producer = self.transport.producer
        assert producer is not None
        producer.resumeProducing()

    def test_short(self) -> None:
        """A short body is written at once, without asking."""
        exchange = self.get(b"a", b"b")
        self.assertEqual((b"ab", True, ["done"]), (exchange.body, exchange.complete, self.routes.ends))

    def test_long(self) -> None:
        """A long one is written a piece at a time, each when the client has read the one before."""
        exchange = self.get(*[PIECE] * 5)
        self.assertEqual(
            (200, "100000", "text/plain"),
            (exchange.status, exchange.headers["content-length"], exchange.headers["content-type"]),
        )
        for count in range(1, 5):
            self.assertEqual((count * 20_000, []), (len(exchange.body), self.routes.ends))
            self.resume()
        self.resume()
        self.assertEqual((True, ["done"]), (exchange.complete, self.routes.ends))

    def test_many_short_pieces(self) -> None:
        """Short pieces are written together."""
        exchange = self.get(*[b"x" * 10] * 10_000)
        self.assertEqual(16_390, len(exchange.body))
        for _ in range(7):
            self.resume()
        self.assertEqual((100_000, True), (len(exchange.body), exchange.complete))

    def test_next_request(self) -> None:
        """The connection goes on with its next request after the last piece."""
        exchange = self.get(*[PIECE] * 4)
        exchange.send("GET", "/nope")
        for _ in range(4):
            self.resume()
        self.assertTrue(exchange.raw.endswith(b'{"detail":"Not Found"}'))

    def test_gone(self) -> None:
        """When the client leaves in the middle, no more is written, and the route learns of it."""
        exchange = self.get(*[PIECE] * 5)
        exchange.drop()
        self.assertEqual((20_000, ["cancelled"]), (len(exchange.body), self.routes.ends))
