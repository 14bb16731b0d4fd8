"""What the supervisor answers."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Exchange
from vllmsim.processes.site import SupervisorSite


class SiteTests(SynchronousTestCase):
    """Its three paths, and none else."""

    def setUp(self) -> None:
        """Have a server."""
        self.well = True
        self.clock = Clock()
        self.site: Any = SupervisorSite(lambda: self.well, self.clock)

    def ask(self, method: str, path: str, body: bytes | None = None) -> Exchange:
        """Ask over a new connection."""
        exchange = Exchange(self.site)
        self.addCleanup(exchange.drop)
        return exchange.send(method, path, body)

    def test_well(self) -> None:
        """While all ranks are well the status is 200, and the body empty and of no type."""
        for path in ("/health", "/ready", "/readyz", "/health?verbose"):
            answer = self.ask("GET", path)
            self.assertEqual((200, b"", True), (answer.status, answer.body, answer.complete))
            self.assertNotIn("content-type", answer.headers)

    def test_not_well(self) -> None:
        """While one is not it is 503, and the body empty too."""
        self.well = False
        for path in ("/health", "/ready", "/readyz"):
            answer = self.ask("GET", path)
            self.assertEqual((503, b""), (answer.status, answer.body))

    def test_others(self) -> None:
        """Other methods and paths are told so in JSON."""
        for method in ("POST", "DELETE"):
            answer = self.ask(method, "/ready", b"{}")
            self.assertEqual((405, "GET"), (answer.status, answer.headers["allow"]))
            self.assertEqual({"detail": "Method Not Allowed"}, answer.json())
        for path in ("/", "/health/", "/metrics", "/health/ready"):
            answer = self.ask("GET", path)
            self.assertEqual((404, {"detail": "Not Found"}), (answer.status, answer.json()))
            self.assertEqual("application/json", answer.headers["content-type"])

    def test_bodies(self) -> None:
        """A body is thrown away as it comes, however large, and the request answered at its end."""
        requests: list[Any] = []

        class Remembered(self.site.requestFactory):  # type: ignore[name-defined,misc]
            def __init__(self, *arguments: Any, **facts: Any) -> None:
                super().__init__(*arguments, **facts)
                requests.append(self)

        self.site.requestFactory = Remembered
        exchange = Exchange(self.site)
        self.addCleanup(exchange.drop)
        exchange.send_bytes(b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        [request] = requests
        for _ in range(100):
            self.assertEqual(0, exchange.status)
            self.assertEqual(b"", request.content.getvalue())
            exchange.send_bytes(b"x" * 10_000)
        self.assertEqual(200, exchange.status)

    def test_keep_alive(self) -> None:
        """A connection takes several requests."""
        exchange = self.ask("GET", "/health")
        exchange.transport.clear()
        self.assertEqual(200, exchange.send("GET", "/ready").status)
