"""What probes ask."""

from tests.harness import RankTestCase


class OperationTests(RankTestCase):
    """Health, version and models."""

    def test_health(self) -> None:
        """A rank is healthy at once, and ready after its start-up duration."""
        self.make_rank("--startup-duration", "10s")
        for path in ("/health", "/ready"):
            self.assertEqual((200, b"{}"), (self.get(path).status, self.get(path).body))
        self.assertEqual((503, b"{}"), (self.get("/health/ready").status, self.get("/health/ready").body))
        self.clock.advance(10)
        self.assertEqual(200, self.get("/health/ready").status)

    def test_ping(self) -> None:
        """A ping is answered without a word, by either method."""
        self.make_rank()
        self.assertEqual((200, b""), (self.get("/ping").status, self.get("/ping").body))
        self.assertEqual(200, self.connect().send("POST", "/ping", b"").status)

    def test_version(self) -> None:
        """The version is that of the vLLM that is simulated."""
        self.make_rank()
        self.assertEqual(b'{"version":"0.33.0"}', self.get("/version").body)

    def test_models(self) -> None:
        """Every served name is listed, with the model as its root."""
        self.make_rank("--model", "m", "--served-model-name", "a", "b", "--max-model-len", "2k")
        data = self.get("/v1/models").json()["data"]
        self.assertEqual([("a", "m", 2000), ("b", "m", 2000)], [(c["id"], c["root"], c["max_model_len"]) for c in data])
