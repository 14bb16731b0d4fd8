"""What probes ask."""

import uuid

from tests.fakes import in_thread
from tests.harness import Exchange, RankTestCase
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.live import LiveConfiguration
from vllmsim.rank import build_rank


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

    def test_worse(self) -> None:
        """Probes are told that a rank is not well, or not willing, where someone wants that; requests are served."""
        self.make_rank()
        health = self.rank.health
        for healthy, willing in ((True, True), (True, False), (False, True)):
            health.healthy, health.willing = healthy, willing
            seen = [self.get(path).status for path in ("/health", "/ping", "/ready", "/health/ready")]
            self.assertEqual([200 if well else 503 for well in [healthy] * 2 + [healthy and willing] * 2], seen)
            self.assertEqual(200, self.chat().status)

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

    def test_load(self) -> None:
        """Load counts the requests that are not answered, if it is tracked at all."""
        for words, loads in (((), [0, 0]), (("--enable-server-load-tracking",), [2, 0])):
            self.make_rank("--max-num-seqs", "1", "--time-to-first-token", "1s", *words)
            self.assertEqual({"server_load": 0}, self.get("/load").json())
            self.complete(), self.chat(stream=True)
            seen = [self.get("/load").json()["server_load"]]
            self.clock.pump([0, 1, 0, 1])
            self.assertEqual(loads, [*seen, self.get("/load").json()["server_load"]])

    def test_event_sources(self) -> None:
        """Every rank's endpoints are told by every rank; nothing where no events are published."""
        self.make_rank()
        self.assertEqual(b"{}", self.get("/kv_event_sources").body)
        members = '{"enable_kv_cache_events":true,"endpoint":"tcp://*:6000","replay_endpoint":"tcp://*:7000"}'
        self.make_rank("--enable-kvcache", "-dp", "2", "--kv-events-config", members)
        expected = {
            str(rank): {
                "enable_kv_cache_events": True,
                "publisher": "zmq",
                "endpoint": f"tcp://*:{6000 + rank}",
                "replay_endpoint": f"tcp://*:{7000 + rank}",
                "buffer_steps": 10000,
                "hwm": 100000,
                "max_queue_size": 100000,
                "topic": "",
            }
            for rank in range(2)
        }
        self.assertEqual(expected, self.get("/kv_event_sources").json())

    def test_query(self) -> None:
        """All ranks have one id with their numbers behind it, the same at each call, and another with another seed."""
        self.make_rank("-dp", "3")
        first, again = self.get("/query").json(), self.get("/query").json()
        self.assertEqual((first, ["0", "1", "2"]), (again, list(first)))
        self.assertEqual({"0": {"0": "tcp://localhost:5602"}}, first["2"]["worker_addr"])
        ids = [rank["engine_id"] for rank in first.values()]
        base = ids[0].removesuffix("_dp0")
        self.assertEqual((4, [f"{base}_dp{number}" for number in range(3)]), (uuid.UUID(base).version, ids))
        for number, seed, same in ((1, 7, True), (0, 8, False)):
            rank = build_rank(LiveConfiguration(self.configuration), number, seed, Clocks.same(self.clock), in_thread)
            exchange = Exchange(rank.site).send("GET", "/query")
            self.assertEqual(same, exchange.json() == first)
            exchange.drop()
