"""How routes fail."""

import json

from klein import Klein
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import RecordingMetrics
from tests.harness import Exchange
from vllmsim.errors import QueueFull
from vllmsim.web.request import Request
from vllmsim.web.root import RankResource
from vllmsim.web.site import Limits, Site


class Routes:
    """Routes that fail."""

    app = Klein()

    @app.route("/full", methods=["GET"])
    def full(self, request: Request) -> None:
        """Fail as a queue does."""
        raise QueueFull("Full.")

    @app.route("/own", methods=["GET"])
    def own(self, request: Request) -> None:
        """Fail in a shape of its own, one way or the other."""
        request.error_body = lambda error: f"{error.status}!".encode()
        raise (QueueFull("Full.") if request.args else KeyError("secret"))

    @app.route("/broken", methods=["GET"])
    def broken(self, request: Request) -> None:
        """Fail for no reason."""
        raise KeyError("secret")

    @app.route("/full-late", methods=["GET"])
    def full_late(self, request: Request) -> None:
        """Fail as a queue does, after the answer has begun."""
        request.write(b"some")
        raise QueueFull("Full.")

    @app.route("/broken-late", methods=["GET"])
    def broken_late(self, request: Request) -> None:
        """Fail for no reason, after the answer has begun."""
        request.write(b"some")
        raise KeyError("secret")


class FailingTests(SynchronousTestCase):
    """Errors become bodies."""

    def get(self, path: str) -> Exchange:
        """Send a request."""
        site = Site(RankResource([Routes().app]), Clock(), RecordingMetrics(), Limits(1000, 10, 100, 5))
        return Exchange(site).send("GET", path)

    def test_ours(self) -> None:
        """An error of the tree has its own status and text."""
        exchange = self.get("/full")
        self.assertEqual((429, "Full."), (exchange.status, exchange.json()["error"]["message"]))

    def test_own_shape(self) -> None:
        """A route that names its error writer has all its errors written by it."""
        self.assertEqual((429, b"429!"), ((full := self.get("/own?x=1")).status, full.body))
        self.assertEqual((500, b"500!"), ((broken := self.get("/own")).status, broken.body))
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))

    def test_any(self) -> None:
        """Any other error is logged, and the client learns nothing of it."""
        exchange = self.get("/broken")
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        self.assertEqual(500, exchange.status)
        self.assertNotIn("secret", json.dumps(exchange.json()))

    def test_late(self) -> None:
        """An answer that has begun is cut off: nothing is written behind it that could pass for its end."""
        for path, count in (("/full-late", 0), ("/broken-late", 1)):
            exchange = self.get(path)
            self.assertEqual(count, len(self.flushLoggedErrors(KeyError)))
            self.assertTrue(exchange.transport.disconnected)
            self.assertTrue(exchange.raw.endswith(b"4\r\nsome\r\n"), exchange.raw)
