"""A rank with a KV cache."""

import re
from typing import Any

from twisted.internet.defer import Deferred

from tests.harness import Exchange, RankTestCase
from tests.kvcache.stores import GivenStore
from vllmsim import rank

BLOCK = 16
OWN = 'engine="0",model_name="m"'


class CachingTestCase(RankTestCase):
    """Blocks have 16 tokens, and prompts are token ids."""

    def make(self, *words: str) -> None:
        """Build a rank with a KV cache."""
        self.make_rank("--model", "m", "--enable-kvcache", "--enable-prompt-tokens-details", *words)

    def ask(self, tokens: int, first: int = 1, **fields: Any) -> Exchange:
        """Have a prompt of token ids in their order completed."""
        return self.complete(list(range(first, first + tokens)), **{"max_tokens": 1, **fields})

    def cached(self, *asked: Any, **fields: Any) -> int:
        """Tell how many tokens of a prompt are cached, as usage says."""
        answer = self.ask(*asked, **fields)
        self.assertEqual(200, answer.status, answer.body)
        return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])

    def value(self, name: str, **labels: str) -> float:
        """Read a metric of the rank."""
        own = {"engine": "0", "model_name": "m", **labels}
        return self.sample(f"vllm:{name}{{{','.join(f'{key}={own[key]!r}' for key in sorted(own))}}}".replace("'", '"'))

    def blocks(self) -> tuple[float, float, float]:
        """Tell the usage of the cache, and how many sequences run and wait."""
        names = "kv_cache_usage_perc", "num_requests_running", "num_requests_waiting"
        usage, running, waiting = map(self.value, names)
        return round(usage, 4), running, waiting


class KVCacheTests(CachingTestCase):
    """What is cached."""

    def test_hits(self) -> None:
        """A prefix is found again in whole blocks, and the metrics tell where prompts came from."""
        self.make()
        self.assertEqual([0, 16], [self.cached(22), self.cached(22)])
        self.assertEqual([0, 0], [self.cached(16, 100), self.cached(16, 100)])
        self.assertEqual((76, 16), (self.value("prefix_cache_queries_total"), self.value("prefix_cache_hits_total")))
        sources = {"local_compute": 60, "local_cache_hit": 16, "external_kv_transfer": 0}
        for source, tokens in sources.items():
            self.assertEqual(tokens, self.value("prompt_tokens_by_source_total", source=source))
        self.assertEqual(0, self.value("external_prefix_cache_queries_total"))
        self.assertEqual((0, 0, 0), self.blocks())

    def test_answers(self) -> None:
        """What was answered is found by a prompt that goes on with it."""
        self.make()
        answer = self.ask(20, max_tokens=30, ignore_eos=True, return_token_ids=True).json()["choices"][0]
        ids = [*range(1, 21), *answer["token_ids"]]
        self.assertEqual(50, len(ids))
        again = self.complete([*ids, 7, 8], max_tokens=1).json()
        self.assertEqual(48, again["usage"]["prompt_tokens_details"]["cached_tokens"])

    def test_apart(self) -> None:
        """Salts and adapters do not find what others have left."""
        self.make("--lora-modules", "ad=/ad")
        for _ in range(2):
            seen = [self.cached(20, model=model, **salt) for model in ("m", "ad") for salt in ({}, {"cache_salt": "s"})]
        self.assertEqual([16] * 4, seen)
        self.assertEqual((160, 64), (self.value("prefix_cache_queries_total"), self.value("prefix_cache_hits_total")))

    def test_choices(self) -> None:
        """Several choices share the prompt's blocks, and several requests may have one id."""
        self.make("--time-to-first-token", "1s")
        answer = self.ask(40, n=3)
        twins = [self.ask(40, X_Request_Id="twin") for _ in range(2)]
        # Each has a last block of its own.
        self.assertEqual((round(7 / 1023, 4), 5, 0), self.blocks())
        self.clock.advance(1)
        self.assertEqual([200] * 3, [each.status for each in (answer, *twins)])
        self.assertEqual((200, 128), (self.value("prefix_cache_queries_total"), self.value("prefix_cache_hits_total")))
        self.assertEqual((0, 0, 0), self.blocks())

    def test_prefill(self) -> None:
        """Tokens that are cached take no time."""
        self.make("--prefill-time-per-token", "10ms")
        for seconds in (0.4, 0.08):
            exchange = self.ask(40)
            self.clock.advance(seconds - 0.01)
            self.assertFalse(exchange.complete)
            self.clock.advance(0.011)
            self.assertTrue(exchange.complete)

    def test_usage(self) -> None:
        """Usage follows the tokens of the sequences that run, and nothing is used when none does."""
        self.make("--kv-cache-size", "11", "--inter-token-latency", "1s")
        exchange = self.ask(15, max_tokens=19, ignore_eos=True)
        seen = []
        for _ in range(18):
            seen.append(self.blocks()[0])
            self.clock.advance(1)
        # The last token has no place in a block: nothing is computed after it.
        self.assertEqual([0.1] + [0.2] * 16 + [0.3], seen)
        self.assertEqual((200, (0, 0, 0)), (exchange.status, self.blocks()))
        self.assertIn("vllmsim:kv_blocks{", self.get("/metrics").body.decode())

    def test_waits(self) -> None:
        """A sequence for which there is no room waits, and goes on when there is; so do those behind it."""
        self.make("--kv-cache-size", "5", "--inter-token-latency", "1s", "--max-model-len", "64")
        first = self.ask(30, max_tokens=20, ignore_eos=True)
        second, third = self.ask(20, 100), self.ask(5, 200)
        self.assertEqual((0.5, 1, 2), self.blocks())
        self.clock.advance(10.5)
        self.assertEqual((0.75, 1, 2), self.blocks())
        self.clock.advance(9)
        self.assertEqual([200] * 3, [each.status for each in (first, second, third)])
        self.assertEqual((0, 0, 0), self.blocks())
        self.assertEqual(0, self.value("num_preemptions_total"))

    def test_gives_up(self) -> None:
        """A client that waits may go away, and leaves nothing behind."""
        self.make("--kv-cache-size", "5", "--inter-token-latency", "1s")
        first = self.ask(30, max_tokens=20, ignore_eos=True)
        second, third = self.ask(60, 100), self.ask(5, 200)
        second.drop()
        self.clock.advance(0)
        self.assertEqual((0.5, 1, 1), self.blocks())
        third.drop()
        first.drop()
        self.clock.advance(0)
        self.assertEqual((0, 0, 0), self.blocks())
        self.assertEqual(200, self.ask(60, 300).status)

    def test_aborted(self) -> None:
        """A sequence that is aborted gives its blocks to those who wait."""
        self.make("--kv-cache-size", "5", "--inter-token-latency", "1s")
        self.ask(30, max_tokens=20, ignore_eos=True)
        second = self.ask(60, 100)
        self.assertEqual((0.5, 1, 1), self.blocks())
        self.post("/abort_requests", {})
        self.clock.advance(0)
        self.assertEqual((200, (0, 0, 0)), (second.status, self.blocks()))

    def test_aborted_early(self) -> None:
        """One that is aborted while it waits has stored nothing, and says so."""
        self.make("--kv-cache-size", "5", "--inter-token-latency", "1s")
        self.ask(30, max_tokens=20, ignore_eos=True)
        second = self.ask(60, 100)
        self.post("/abort_requests", {})
        details = second.json()["usage"]["prompt_tokens_details"]
        self.assertEqual((0, 0), (details["cached_tokens"], details["created_cache_tokens"]))

    def test_window(self) -> None:
        """A context window that the cache does not hold is shorter, wherever one looks."""
        self.make("--kv-cache-size", "5")
        self.assertEqual(64, self.get("/v1/models").json()["data"][0]["max_model_len"])
        self.assertEqual(200, self.ask(63).status)
        for tokens, fields in ((65, {}), (64, {}), (5, {"max_tokens": 65})):
            error = self.ask(tokens, **fields)
            self.assertEqual((400, "BadRequestError"), (error.status, error.json()["error"]["type"]))
        self.assertIn("64", self.ask(65).json()["error"]["message"])
        self.assertEqual((0, 0, 0), self.blocks())

    def test_settings(self) -> None:
        """The metrics tell how the cache is set up."""
        for words, expected in (
            (["--enable-kvcache"], {"num_gpu_blocks": "1024", "num_gpu_blocks_override": "None",
                                    "enable_prefix_caching": "True", "prefix_caching_hash_algo": "sha256"}),
            (["--enable-prefix-caching", "--num-gpu-blocks-override", "33", "--kv-cache-size", "9"],
             {"num_gpu_blocks": "33", "num_gpu_blocks_override": "33", "kv_cache_size_tokens": "528",
              "kv_cache_max_concurrency": "1.03125"}),
            (["--enable-kvcache", "--no-enable-prefix-caching", "--block-size", "8"],
             {"block_size": "8", "enable_prefix_caching": "False"}),
            ([], {"enable_prefix_caching": "False", "kv_cache_max_concurrency": "16.0"}),
            (["--enable-kvcache", "--prefix-caching-hash-algo", "fnv64_cbor"],
             {"prefix_caching_hash_algo": "fnv64_cbor"}),
        ):  # fmt: skip
            self.make_rank(*words)
            info = re.search(r"^vllm:cache_config_info\{(.*)\} 1.0$", self.get("/metrics").body.decode(), re.MULTILINE)
            assert info is not None
            labels = dict(re.findall(r'(\w+)="([^"]*)"', info[1]))
            self.assertEqual(expected, {name: labels[name] for name in expected})

    def test_not_cached(self) -> None:
        """Without prefix caching blocks are used, and nothing is found."""
        self.make("--no-enable-prefix-caching", "--kv-cache-size", "11", "--time-to-first-token", "1s")
        self.ask(20)
        second = self.ask(20)
        self.assertEqual((0.4, 2, 0), self.blocks())
        self.clock.advance(1)
        self.assertEqual(0, second.json()["usage"]["prompt_tokens_details"]["cached_tokens"])
        self.assertEqual((0, 0), (self.value("prefix_cache_queries_total"), self.value("prefix_cache_hits_total")))

    def test_reset(self) -> None:
        """The prefix cache is emptied if no sequence runs or that does not matter; who runs goes on."""
        self.make("--inter-token-latency", "1s")
        self.cached(40)
        running = self.ask(40, 100, max_tokens=10, ignore_eos=True)
        self.assertEqual({"success": False}, self.post("/reset_prefix_cache", b"").json())
        self.assertEqual(32, self.cached(40))
        forced = self.post("/reset_prefix_cache?reset_running_requests=true", b"")
        self.assertEqual({"success": True}, forced.json())
        self.assertEqual([0, 32], [self.cached(40), self.cached(40, 100)])
        self.clock.advance(10)
        self.assertEqual(200, running.status)
        self.assertEqual({"success": True}, self.post("/reset_prefix_cache", b"").json())
        self.assertEqual(0, self.cached(40, 100))

    def test_sleep(self) -> None:
        """Sleep at level 0 keeps the cache; at levels 1 and 2 it is empty afterwards."""
        self.make("--enable-sleep-mode")
        for level, cached in ((0, 32), (1, 0), (2, 0)):
            self.cached(40)
            self.post(f"/sleep?level={level}", b"")
            self.post("/wake_up", b"")
            self.assertEqual(cached, self.cached(40))

    def test_unloaded(self) -> None:
        """When room is needed, blocks of an adapter that was unloaded go before older ones."""
        self.make("--kv-cache-size", "7", "--lora-modules", "ad=/ad")
        for unload, cached in ((False, 16), (True, 32)):
            self.cached(33)
            self.cached(33, model="ad")
            if unload:
                self.assertEqual(200, self.post("/v1/unload_lora_adapter", {"lora_name": "ad"}).status)
            self.cached(40, 200)
            self.assertEqual(cached, self.cached(33))
            self.post("/reset_prefix_cache", b"")

    def test_lives(self) -> None:
        """How long blocks live is measured when that is asked for, and not shown otherwise."""
        name = f"vllm:kv_block_lifetime_seconds_count{{{OWN}}}"
        self.make("--kv-cache-size", "5")
        self.assertNotIn("vllm:kv_block_lifetime_seconds", self.get("/metrics").body.decode())
        self.make("--kv-cache-size", "5", "--kv-cache-metrics", "--kv-cache-metrics-sample", "1")
        self.cached(60)
        self.assertEqual(0, self.sample(name))
        self.clock.advance(3)
        self.cached(60, 100)
        self.assertEqual(4, self.sample(name))
        self.assertEqual(12, self.sample(name.replace("_count", "_sum")))

    def test_remote(self) -> None:
        """A prompt that another server has computed is fetched, and can be found afterwards."""
        self.make("--kv-transfer-config", '{"kv_connector":"NixlConnector","kv_role":"kv_both"}')
        remote = {"do_remote_prefill": True, "remote_block_ids": [1, 2, 3], "remote_engine_id": "e",
                  "remote_host": "h", "remote_port": 1, "remote_request_id": "r"}  # fmt: skip
        self.assertEqual(39, self.cached(40, kv_transfer_params=remote))
        self.assertEqual(39, self.value("prompt_tokens_by_source_total", source="external_kv_transfer"))
        self.assertEqual(
            (40, 39), tuple(self.value(f"external_prefix_cache_{each}_total") for each in ("queries", "hits"))
        )
        self.assertEqual(32, self.cached(40))

    def test_threshold(self) -> None:
        """A request too little of whose prompt is cached is not served; it is looked up, and leaves nothing in use."""
        self.make("--global-cache-hit-threshold", "0.5")
        answer = self.ask(40).json()["choices"][0]
        self.assertEqual(("", "cache_threshold"), (answer["text"], answer["finish_reason"]))
        self.assertEqual((40, (0, 0, 0)), (self.value("prefix_cache_queries_total"), self.blocks()))

    def test_off(self) -> None:
        """Without a KV cache nothing is found, and nothing is told of blocks."""
        self.make_rank("--model", "m", "--enable-prompt-tokens-details")
        self.assertEqual([0, 0], [self.cached(40), self.cached(40)])
        self.assertNotIn("vllmsim:kv_blocks", self.get("/metrics").body.decode())


class SharedCacheTests(CachingTestCase):
    """A rank with a cache outside."""

    def setUp(self) -> None:
        """Have the cache."""
        self.store = GivenStore()
        self.patch(rank, "make_store", lambda *_: self.store)

    def test_shared(self) -> None:
        """What one rank has computed another has from outside, at the price of a transfer."""
        self.make()
        self.assertTrue(self.store.running)
        self.assertEqual(0, self.cached(40))
        words = "--prefill-time-per-token", "1s", "--kv-cache-transfer-time-per-token", "1ms"
        self.make(*words)
        answer = self.ask(40)
        self.clock.advance(8.031)
        self.assertFalse(answer.complete)
        self.clock.advance(0.002)
        self.assertEqual(32, answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])
        self.assertEqual(40, self.value("external_prefix_cache_queries_total"))
        self.assertEqual(32, self.value("external_prefix_cache_hits_total"))
        self.assertEqual(32, self.value("prompt_tokens_by_source_total", source="external_kv_transfer"))

    def test_slow(self) -> None:
        """All prompts of a request wait at the same time, and the reactor waits for none."""
        self.make()
        turns: list[Deferred[None]] = []
        self.store.turns = turns
        answer = self.complete([[1] * 40, [2] * 40, [3] * 40], max_tokens=1)
        self.assertEqual((3, 0), (len(turns), answer.status))
        for turn in turns:
            turn.callback(None)
        self.clock.advance(0)
        self.assertEqual(200, answer.status)

    def test_reset(self) -> None:
        """The cache outside forgets when it is asked to, and no sooner."""
        self.make()
        self.cached(40)
        for path, clears in (("", 0), ("?reset_external=true", 1)):
            self.assertEqual({"success": True}, self.post(f"/reset_prefix_cache{path}", b"").json())
            self.assertEqual(clears, self.store.clears)
        self.assertEqual(0, self.cached(40))
        self.store.reachable = False
        self.assertEqual({"success": False}, self.post("/reset_prefix_cache?reset_external=true", b"").json())

    def test_not_reset_here(self) -> None:
        """It is no success when the rank's own cache is in use, and the cache outside forgets all the same."""
        self.make("--time-to-first-token", "1s")
        self.ask(40)
        self.assertEqual({"success": False}, self.post("/reset_prefix_cache?reset_external=true", b"").json())
        self.assertEqual(1, self.store.clears)
        self.clock.advance(1)
