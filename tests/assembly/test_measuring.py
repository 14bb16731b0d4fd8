"""What a rank tells of itself in numbers."""

import json
from typing import Any, cast

from attrs import evolve
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher

from tests.harness import EPOCH, RankTestCase
from vllmsim.assembly.measuring import make_measures
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.fakemetrics import parse_fake_metrics
from vllmsim.config.live import LiveConfiguration

FAKE = {"running-requests": "ramp:0:10:1s", "kv-cache-usage": 0.4, "request-prompt-tokens": [10, 20, 30]}


class MeasuringTests(RankTestCase):
    """What ``/metrics`` shows, as the configuration asks."""

    def vllm(self) -> str:
        """Read what vLLM's engine would show."""
        lines = self.get("/metrics").body.decode().splitlines()
        return "\n".join(line for line in lines if line.removeprefix("# HELP ").startswith("vllm:"))

    def show(self, **members: Any) -> None:
        """Change what is faked."""
        fake = parse_fake_metrics({name.replace("_", "-"): value for name, value in members.items()})
        self.live.swap(evolve(self.live.current, fake_metrics=fake))

    def test_real(self) -> None:
        """Metrics are real where nothing is faked."""
        self.make_rank("--max-num-seqs", "1", "--time-to-first-token", "1s")
        self.complete(max_tokens=2)
        self.complete(max_tokens=2)
        labels = '{engine="0",model_name="Qwen/Qwen3-0.6B"}'
        names = ("num_requests_running", "num_requests_waiting", "prompt_tokens_total")
        self.assertEqual([1, 1, 0], [self.sample(f"vllm:{name}{labels}") for name in names])

    def test_fake(self) -> None:
        """Where metrics are faked, nothing that happens shows in vLLM's, whatever it is; the server's own are real."""
        self.make_rank("--fake-metrics", json.dumps(FAKE), "--enable-kvcache", "--max-num-queued-reqs", "1")
        self.clock.advance(2)
        before = self.vllm()
        self.assertIn('vllm:num_requests_running{engine="0",model_name="Qwen/Qwen3-0.6B"} 10.0', before)
        self.assertIn('vllm:prompt_tokens_total{engine="0",model_name="Qwen/Qwen3-0.6B"} 200.0', before)
        self.assertEqual(200, self.complete("a b c " * 20, max_tokens=2).status)
        self.assertEqual(503, self.complete(["a", "b"], max_tokens=2).status)
        self.assertEqual(200, self.chat(max_tokens=2).status)
        self.assertEqual(before, self.vllm())
        self.assertEqual(3, self.sample("http_request_duration_highr_seconds_count"))
        self.assertGreater(self.sample('vllmsim:kv_blocks{engine="0",model_name="Qwen/Qwen3-0.6B",state="cached"}'), 0)

    def test_example(self) -> None:
        """The example shows what it says."""
        self.make_rank("--config", "examples/fake_metrics.yaml")
        self.clock.advance(150)
        expected = {
            "num_requests_running": 60,
            "num_requests_waiting": 0,
            "kv_cache_usage_perc": 0.525,
            "prompt_tokens_total": 2 * 5 + 10 * 10 + 40 * 20 + 120 * 50 + 80 * 100 + 30 * 200 + 5 * 500,
            "generation_tokens_total": 14200,
            "inter_token_latency_seconds_count": 1343,
            "prefix_cache_hits_total": 30000,
        }
        labels = '{engine="0",model_name="Qwen/Qwen3-0.6B"}'
        self.assertEqual(expected, {name: round(self.sample(f"vllm:{name}{labels}"), 9) for name in expected})

    def test_adapters(self) -> None:
        """Fake adapters take the place of real ones, which are idle where none is faked, and behind the same family."""
        self.make_rank("--fake-metrics", "{}", "--enable-lora", "--lora-modules", "a=/a")
        name = 'vllm:lora_requests_info{max_lora="1",'
        idle = f'{name}running_lora_adapters="",waiting_lora_adapters=""}}'
        faked = f'{name}running_lora_adapters="x",waiting_lora_adapters=""}}'
        self.complete(model="a", max_tokens=2)
        self.assertIn(idle, self.vllm())
        self.show(loras=[{"running": "x", "timestamp": 5}])
        names = [line.partition("{")[0] for line in self.vllm().splitlines() if line[0] != "#"]
        self.assertEqual("vllm:cache_config_info", names[names.index("vllm:lora_requests_info") - 1])
        self.assertEqual([5, 1], [self.sample(faked), self.vllm().count("\nvllm:lora_requests_info")])
        self.live.swap(evolve(self.live.current, max_loras=2))
        self.assertEqual(5, self.sample(faked.replace('"1"', '"2"')))
        self.show()
        self.assertNotIn("\n" + faked, self.vllm())
        self.assertIn(idle.replace('"1"', '"2"'), self.vllm())

    def test_families(self) -> None:
        """A fake page has the families and series of a real one, in its order."""
        pages = []
        for words in ((), ("--fake-metrics", "{}")):
            self.make_rank("--enable-kvcache", "--kv-cache-metrics", "--enable-lora", *words)
            pages.append(self.vllm())
        self.assertEqual(*pages)

    def test_live(self) -> None:
        """A fake page follows the live configuration; without any fakes it is that of an idle server."""
        self.make_rank("--fake-metrics", "{}")
        idle = self.vllm()
        self.show(running_requests="ramp:0:10:1s")
        self.clock.advance(0.5)
        self.assertEqual(5, self.sample('vllm:num_requests_running{engine="0",model_name="Qwen/Qwen3-0.6B"}'))
        self.live.swap(evolve(self.live.current, time_to_first_token=1.0))
        self.clock.advance(0.2)
        self.assertEqual(7, self.sample('vllm:num_requests_running{engine="0",model_name="Qwen/Qwen3-0.6B"}'))
        self.live.swap(evolve(self.live.current, fake_metrics=None))
        self.assertEqual(idle, self.vllm())

    def test_without_stats(self) -> None:
        """With disable-log-stats vLLM's metrics are gone, fake ones too; those of process and server stay."""
        for words in ((), ("--fake-metrics", "{}")):
            self.make_rank("--disable-log-stats", "--enable-kvcache", *words)
            self.complete(max_tokens=2)
            text = self.get("/metrics").body.decode()
            self.assertNotIn("vllm:", text)
            for name in ("python_info", "process_open_fds", "http_requests_total", "vllmsim:kv_blocks"):
                self.assertIn(f"# HELP {name} ", text)
            self.assertIsNone(self.rank.log)

    def test_several_servers(self) -> None:
        """With several API server processes a vLLM says nothing of processes, nor when counting began."""
        self.make_rank("--api-server-count", "2")
        self.complete(max_tokens=2)
        text = self.get("/metrics").body.decode()
        for absent in ("_created", "python_", "process_"):
            self.assertNotIn(absent, text)
        self.assertEqual(2, self.sample('vllm:generation_tokens_total{engine="0",model_name="Qwen/Qwen3-0.6B"}'))
        self.make_rank("--api-server-count", "1")
        self.assertIn("process_open_fds", self.get("/metrics").body.decode())

    def test_buckets(self) -> None:
        """Bounds of histograms can be others."""
        self.make_rank("--custom-histogram-buckets", '{"request_latency": [0.125]}')
        text = self.get("/metrics?name[]=vllm:e2e_request_latency_seconds_bucket").body.decode()
        self.assertEqual(3, len([line for line in text.splitlines() if "_bucket" in line or "HELP" in line]))

    def test_log(self) -> None:
        """The log says what was done, in vLLM's words, at the interval that is asked for."""
        lines: list[str] = []

        def hear(event: dict[str, Any]) -> None:
            if "StatsLog" in event.get("log_namespace", "") and event["log_level"].name == "info":
                lines.append(formatEvent(event))

        observer = cast("ILogObserver", hear)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.make_rank("--log-stats-interval", "3", "--enable-kvcache", "--time-to-first-token", "1s")
        for _ in range(2):
            self.complete("a b c d e f g h i j k l m n o p q r s t", max_tokens=4)
            self.clock.advance(1)
        self.clock.advance(1)
        expected = (
            "Engine 000: Avg prompt throughput: 8.0 tokens/s, Avg generation throughput: 2.7 tokens/s, "
            "Running: 0 reqs, Waiting: 0 reqs, GPU KV cache usage: 0.0%, Prefix cache hit rate: 40.0%"
        )
        self.assertEqual([expected], lines)

    def test_tool_calls(self) -> None:
        """Looks for calls are counted where the model is free to call: for each answer, or piece of one."""
        self.make_rank("--tool-call-extra-call-probability", "100")
        tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}}
        tools: dict[str, Any] = {"tools": [tool], "max_tokens": 100}

        def looks() -> dict[str, float]:
            text = self.get("/metrics?name[]=vllm:tool_call_parser_invocations_total").body.decode()
            lines = [line.rpartition(" ") for line in text.splitlines() if line[0] != "#"]
            return {labels: float(value) for labels, _, value in lines if float(value)}

        def name(mode: str, surface: str) -> str:
            labels = f'mode="{mode}",model_name="Qwen/Qwen3-0.6B",outcome="tool_call",request_type="{surface}"'
            return f"vllm:tool_call_parser_invocations_total{{{labels}}}"

        self.chat(**tools, tool_choice="required")
        self.chat(**tools, tool_choice="none")
        self.chat()
        self.assertEqual({}, looks())
        self.chat(**tools, n=3)
        self.post("/v1/responses", {"input": "x", "tools": [{"type": "function", "name": "f"}]})
        self.assertEqual({name("non_streaming", "chat_completions"): 3, name("non_streaming", "responses"): 1}, looks())
        events = self.chat(**tools, stream=True).events()[:-1]
        sent = sum(bool(choice["delta"].get("tool_calls")) for event in events for choice in event["choices"])
        self.assertEqual(sent, looks()[name("streaming", "chat_completions")])
        self.assertGreater(sent, 2)

    def test_number(self) -> None:
        """Each rank's series and lines have its number."""
        self.make_rank()
        measures = make_measures(LiveConfiguration(self.configuration), 3, Clocks.same(self.clock, lambda: EPOCH))
        self.assertIn(b'vllm:num_requests_running{engine="3",', measures.page(measures.shown).write())
        assert measures.log is not None
        measures.log.start()
        measures.log.stop()
