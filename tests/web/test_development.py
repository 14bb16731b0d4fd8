"""What developers ask."""

from typing import Any

from tests.fakes import in_thread
from tests.harness import EPOCH, Exchange, RankTestCase
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.live import LiveConfiguration
from vllmsim.rank import build_rank


class DevelopmentTests(RankTestCase):
    """Caches, workers, and what the server knows about itself."""

    def info(self, form: str = "") -> Any:
        """Ask about the server."""
        exchange = self.get(f"/server_info{form}")
        self.assertEqual(200, exchange.status)
        return exchange.json()

    def test_configuration(self) -> None:
        """The effective configuration is shown by option, as text unless JSON is asked for."""
        self.make_rank("--model", "m", "--inter-token-latency", "20ms", "--seed", str(10**30))
        info = self.info("?config_format=json")
        self.assertEqual(["vllm_config", "vllm_env", "system_env"], list(info))
        shown = info["vllm_config"]
        self.assertEqual(("m", "20ms", 10**30), (shown["model"], shown["inter-token-latency"], shown["seed"]))
        self.assertIn("model='m', served-model-name=[], ", self.info()["vllm_config"])
        self.assertEqual("3.", info["system_env"]["python_version"][:2])
        error = self.get("/server_info?config_format=x").json()["error"]
        self.assertEqual((400, "query.config_format"), (error["code"], error["param"]))

    def test_environment(self) -> None:
        """VLLM's variables are shown, be they text or not, but for their secrets."""
        self.make_rank()
        environ = {"VLLM_API_KEY": "secret", "VLLM_PORT": "1\udcff", "HOME": "/home"}
        rank = build_rank(
            LiveConfiguration(self.configuration), 0, 7, Clocks.same(self.clock, lambda: EPOCH), in_thread, environ
        )
        exchange = Exchange(rank.site).send("GET", "/server_info")
        info = exchange.json()
        exchange.drop()
        self.assertEqual({"VLLM_API_KEY": "***", "VLLM_PORT": "1\udcff"}, info["vllm_env"])

    def test_prefix_cache(self) -> None:
        """The prefix cache can be emptied while no sequence uses it, or if it must be; one outside, if there is one."""
        self.make_rank("--time-to-first-token", "1s")
        self.assertEqual({"success": True}, self.post("/reset_prefix_cache", b"").json())
        self.complete()
        self.clock.advance(0)
        self.assertEqual({"success": False}, self.post("/reset_prefix_cache", b"").json())
        forced = self.post("/reset_prefix_cache?reset_running_requests=true&reset_external=false", b"")
        self.assertEqual({"success": True}, forced.json())
        outside = self.post("/reset_prefix_cache?reset_running_requests=true&reset_external=true", b"")
        self.assertEqual({"success": False}, outside.json())
        error = self.post("/reset_prefix_cache?reset_running_requests=perhaps", b"").json()["error"]
        self.assertEqual((400, "query.reset_running_requests"), (error["code"], error["param"]))

    def test_media_caches(self) -> None:
        """Caches of media can be emptied, without a word."""
        self.make_rank()
        for path in ("/reset_mm_cache", "/reset_encoder_cache"):
            exchange = self.post(path, b"")
            self.assertEqual((200, b"", None), (exchange.status, exchange.body, exchange.headers.get("content-type")))

    def test_rpc(self) -> None:
        """A call needs a method, and has one result."""
        self.make_rank()
        self.assertEqual({"results": [None]}, self.post("/collective_rpc", {"method": "x", "args": [1]}).json())
        error = self.post("/collective_rpc", {"args": []}).json()["error"]
        self.assertEqual((400, "Bad Request", None), (error["code"], error["type"], error["param"]))
        for body in (b"", b"1", b'{"method":1}', b'{"method":"x","kwargs":[]}', b'{"method":"x","timeout":"soon"}'):
            self.assertEqual(400, self.post("/collective_rpc", body).status, body)

    def test_world_size(self) -> None:
        """The world is every stage of every rank, or of one."""
        self.make_rank("-tp", "2", "-pp", "3", "-dp", "4")
        self.assertEqual({"world_size": 24}, self.get("/get_world_size").json())
        self.assertEqual({"world_size": 6}, self.get("/get_world_size?include_dp=false").json())
        self.assertEqual(400, self.get("/get_world_size?include_dp=x").status)
