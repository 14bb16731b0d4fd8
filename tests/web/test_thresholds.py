"""Requests that are refused for how little of their prompt is cached, with a whole rank behind them."""

from pathlib import Path
from typing import Any

from tests.harness import RankTestCase
from tests.web.test_transfers import BODIES, CACHE, HI, IDS

FORCED = {"X_Cache_Threshold_Finish_Reason": "true"}
SLOW = ("--time-to-first-token", "10s", "--inter-token-latency", "1s")


class HeaderTests(RankTestCase):
    """The header that asks for it."""

    def test_refused(self) -> None:
        """Where it means something, it is answered at once, without a token."""
        self.make_rank(*SLOW)
        for path, reason in (
            ("/v1/chat/completions", b'"finish_reason":"cache_threshold"'),
            ("/v1/completions", b'"finish_reason":"cache_threshold"'),
            ("/v1/chat/completions/batch", b'"finish_reason":"cache_threshold"'),
            ("/v1/messages", b'"stop_reason":"max_tokens"'),
        ):
            for stream in {False, not path.endswith("batch")}:
                exchange = self.post(path, {**BODIES[path], "stream": stream}, **FORCED)
                self.assertTrue(exchange.complete, path)
                self.assertEqual((200, 1), (exchange.status, exchange.body.count(reason)), path)

    def test_no_threshold(self) -> None:
        """On other surfaces it means nothing, whatever it says."""
        self.make_rank()
        for path in ("/v1/responses", "/inference/v1/generate"):
            for text in ("true", "perhaps"):
                exchange = self.post(path, BODIES[path], X_Cache_Threshold_Finish_Reason=text)
                self.assertEqual((200, False), (exchange.status, b"cache_threshold" in exchange.body), path)

    def test_false(self) -> None:
        """A request whose header is false is served."""
        self.make_rank()
        for text in ("false", "0", "F"):
            self.assertEqual("length", self.finish_reason(X_Cache_Threshold_Finish_Reason=text))

    def finish_reason(self, **headers: str) -> Any:
        """Ask for a chat."""
        exchange = self.post("/v1/chat/completions", {"messages": HI, "max_tokens": 1}, **headers)
        return exchange.json()["choices"][0]["finish_reason"]

    def test_wrong(self) -> None:
        """What is neither true nor false is refused, in the shape of the surface."""
        self.make_rank()
        text = "Invalid X-Cache-Threshold-Finish-Reason header value 'perhaps': must be true or false."
        wrong = {"X_Cache_Threshold_Finish_Reason": "perhaps"}
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/messages"):
            exchange = self.post(path, BODIES[path], **wrong)
            error = exchange.json()
            self.assertEqual((400, text), (exchange.status, error["error"]["message"]), path)
            self.assertEqual(path == "/v1/messages", error.get("type") == "error")

    def test_image(self) -> None:
        """Nothing is said, so that no image follows."""
        self.make_rank("--omni", "--time-to-generate-image", "9s")
        exchange = self.post("/v1/chat/completions", {"messages": HI, "stream": True}, X_Send_Image="true", **FORCED)
        self.assertTrue(exchange.complete)
        self.assertNotIn(b"image_url", exchange.body)

    def test_metrics(self) -> None:
        """It counts as an answer with a reason of its own, and not as a prompt or a first token."""
        self.make_rank(*SLOW)
        self.chat(max_tokens=3)
        own = '{engine="0",model_name="Qwen/Qwen3-0.6B"}'
        self.post("/v1/chat/completions", {"messages": HI, "n": 2}, **FORCED)
        reason = 'vllm:request_success_total{engine="0",finished_reason="cache_threshold",model_name="Qwen/Qwen3-0.6B"}'
        self.assertEqual(2, self.sample(reason))
        self.assertEqual(1, self.sample(f"vllm:num_requests_running{own}"))
        for name in ("prompt_tokens_total", "generation_tokens_total", "time_to_first_token_seconds_count"):
            self.assertEqual(0, self.sample(f"vllm:{name}{own}"), name)


class ShareTests(RankTestCase):
    """The share of the prompt that must be cached."""

    def ask(self, prompt: Any = IDS, **fields: Any) -> list[str]:
        """Ask for completions.

        :return: why each ended.
        """
        answer = self.complete(prompt, max_tokens=1, **fields).json()
        return [choice["finish_reason"] for choice in answer["choices"]]

    def test_request(self) -> None:
        """A request is refused unless that share is there; its prompt is kept, so that it is there the next time."""
        self.make_rank(*CACHE)
        asked = {"cache_hit_threshold": 0.8}
        self.assertEqual(["cache_threshold"], self.ask(**asked))
        self.assertEqual(["length"], self.ask(**asked))
        self.assertEqual(["cache_threshold"], self.ask(cache_hit_threshold=0.81))
        self.assertEqual(["length"], self.ask([*IDS[:32], *range(100, 108)], **asked))
        self.assertEqual(["cache_threshold"], self.ask([*IDS[:32], *range(100, 109)], **asked))

    def test_at_once(self) -> None:
        """Who is refused waits for nothing."""
        self.make_rank(*CACHE, *SLOW)
        for stream in (False, True):
            asked = {"messages": HI, "cache_hit_threshold": 0.9, "n": 2, "stream": stream, "logprobs": True}
            exchange = self.post("/v1/chat/completions", asked)
            self.assertTrue(exchange.complete)
            self.assertEqual(2, exchange.body.count(b"cache_threshold"))

    def test_server(self) -> None:
        """What the server wants holds for all surfaces that do not say otherwise."""
        for path, body in BODIES.items():
            self.make_rank(*CACHE, "--global-cache-hit-threshold", "0.5")
            exchange = self.post(path, body)
            refused = b"max_output_tokens" if path == "/v1/responses" else b"cache_threshold"
            if path == "/v1/messages":
                self.assertEqual(0, exchange.json()["usage"]["output_tokens"])
            else:
                self.assertIn(refused, exchange.body, path)
        self.assertEqual(["length"], self.ask([9, *IDS], cache_hit_threshold=0))
        self.assertEqual(["cache_threshold"], self.ask([8, *IDS], cache_hit_threshold=1.5))

    def test_file(self) -> None:
        """A server is told so by a configuration file too."""
        path = Path(self.mktemp())
        path.write_text("enable-kvcache: true\nzmq-endpoint: ''\nglobal-cache-hit-threshold: 0.5\n")
        self.make_rank("--config", str(path))
        self.assertEqual(["cache_threshold"], self.ask())
        self.assertEqual(["length"], self.ask())

    def test_scores(self) -> None:
        """Scores, which have no finish reason to say it, are made in any case."""
        self.make_rank(*CACHE, "--global-cache-hit-threshold", "1")
        body = {"query": [1, 2], "items": [[3], [4]], "label_token_ids": [5]}
        exchange = self.post("/generative_scoring", body)
        self.assertEqual((200, 2), (exchange.status, exchange.json()["usage"]["completion_tokens"]))

    def test_choices(self) -> None:
        """All choices of a prompt have one fate, each prompt its own."""
        self.make_rank(*CACHE)
        self.ask(IDS)
        other = [50, *IDS]
        self.assertEqual(
            ["length", "length", "cache_threshold", "cache_threshold"],
            self.ask([IDS, other], n=2, cache_hit_threshold=0.5),
        )

    def test_transferred(self) -> None:
        """What another server has computed counts as there."""
        self.make_rank(*CACHE)
        remote = {"do_remote_prefill": True}
        self.assertEqual(["length"], self.ask(cache_hit_threshold=0.9, kv_transfer_params=remote))

    def test_no_cache(self) -> None:
        """Without a simulated cache nothing is refused, as nothing could ever be served."""
        for words in ((), (*CACHE, "--no-enable-prefix-caching")):
            self.make_rank("--global-cache-hit-threshold", "1", *words)
            self.assertEqual(["length"], self.ask(cache_hit_threshold=1))

    def test_wrong(self) -> None:
        """A threshold that is no number is refused; one that is no share means nothing."""
        self.make_rank(*CACHE)
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/chat/completions/batch"):
            exchange = self.post(path, {**BODIES[path], "cache_hit_threshold": "much"})
            self.assertEqual((400, True), (exchange.status, b"cache_hit_threshold" in exchange.body), path)
        for none in (-1, 2, None):
            self.assertEqual(["length"], self.ask(cache_hit_threshold=none))
