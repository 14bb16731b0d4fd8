"""How routes fail."""

import json

from klein import Klein
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import RecordingMetrics
from tests.harness import Exchange
from vllmsim.errors import QueueFull
from vllmsim.web.failing import answer_errors
from vllmsim.web.root import RankResource
from vllmsim.web.site import Request, Site


class Routes:
    """Routes that fail."""

    app = Klein()

    @app.route("/full", methods=["GET"])
    def full(self, request: Request) -> None:
        """Fail as a queue does."""
        raise QueueFull("Full.")

    @app.route("/broken", methods=["GET"])
    def broken(self, request: Request) -> None:
        """Fail for no reason."""
        raise KeyError("secret")


answer_errors(Routes.app)


class FailingTests(SynchronousTestCase):
    """Errors become bodies."""

    def get(self, path: str) -> Exchange:
        """Send a request."""
        return Exchange(Site(RankResource([Routes().app]), Clock(), RecordingMetrics(), 100)).send("GET", path)

    def test_ours(self) -> None:
        """An error of the tree has its own status and text."""
        exchange = self.get("/full")
        self.assertEqual((429, "Full."), (exchange.status, exchange.json()["error"]["message"]))

    def test_any(self) -> None:
        """Any other error is logged, and the client learns nothing of it."""
        exchange = self.get("/broken")
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        self.assertEqual(500, exchange.status)
        self.assertNotIn("secret", json.dumps(exchange.json()))
