"""A prefill server and a decode server behind a router, asked by the official OpenAI SDK."""

import json
import subprocess
import sys
import time
from typing import Any

import anthropic
import openai
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import PATIENCE, ROOT, Daemon, free_port

PREFILL, TRANSFER = 0.5, 0.002
"""Seconds that a prefill takes, and the transfer of a token."""
COMMON = ("--model", "m", "--enable-kvcache", "--zmq-endpoint", "", "--enable-prompt-tokens-details", "--mode", "echo")
PLACEHOLDERS = {
    "do_remote_prefill": True, "do_remote_decode": False, "remote_engine_id": "DUMMY_ID",
    "remote_block_ids": ["DUMMY_ID"], "remote_host": "DUMMY", "remote_port": 1234, "tp_size": 1,
}  # fmt: skip
"""What llm-d-inference-sim's prefill server hands over."""


class ProxyTests(SynchronousTestCase):
    """Both are processes, and so is the router, which is the example."""

    @classmethod
    def setUpClass(cls) -> None:
        """Start all three."""
        transfer = {"kv_connector": "NixlConnector"}
        cls.prefill = cls.start(
            *COMMON, "--api-key", "x",
            "--time-to-first-token", f"{PREFILL}s", "--tensor-parallel-size", "2", "--pod-ip", "10.0.0.1",
            "--kv-transfer-config", json.dumps({**transfer, "kv_role": "kv_producer", "engine_id": "prefiller"}),
        )  # fmt: skip
        cls.decode = cls.start(
            *COMMON, "--time-to-first-token", "30s", "--kv-cache-transfer-time-per-token", f"{TRANSFER}s",
            "--kv-bytes-per-token", "1000",
            "--kv-transfer-config", json.dumps({**transfer, "kv_role": "kv_consumer"}),
        )  # fmt: skip
        port = free_port()
        proxy = subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / "pd_proxy.py"), str(port), cls.prefill.url(), cls.decode.url()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        cls.addClassCleanup(proxy.wait)
        cls.addClassCleanup(proxy.kill)
        cls.prefill.wait()
        cls.decode.wait()
        cls.proxy = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=10, timeout=PATIENCE)
        cls.addClassCleanup(cls.proxy.close)

    @classmethod
    def start(cls, *words: str) -> Daemon:
        """Start a server for all tests of the class."""
        daemon = Daemon(*words)
        cls.addClassCleanup(daemon.log.close)
        cls.addClassCleanup(daemon.stop)
        return daemon

    prefill: Daemon
    decode: Daemon
    proxy: openai.OpenAI

    def client(self, daemon: Daemon) -> openai.OpenAI:
        """Make a client of one server."""
        client = openai.OpenAI(base_url=daemon.url("/v1"), api_key="x", max_retries=0, timeout=PATIENCE)
        self.addCleanup(client.close)
        return client

    def sample(self, daemon: Daemon, name: str) -> float:
        """Read a sample of a server's metrics, by its name and labels as printed."""
        for line in daemon.get("/metrics").decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no sample {name}")

    def samples(self, daemon: Daemon) -> dict[str, float]:
        """Read what transfers move."""
        own = '{engine="0",model_name="m"}'
        sources = ("local_compute", "local_cache_hit", "external_kv_transfer")
        by_source = {
            source: f'vllm:prompt_tokens_by_source_total{{engine="0",model_name="m",source="{source}"}}'
            for source in sources
        }
        names = by_source | {
            "queries": f"vllm:external_prefix_cache_queries_total{own}",
            "hits": f"vllm:external_prefix_cache_hits_total{own}",
            "transfers": f"vllm:nixl_xfer_time_seconds_count{own}",
            "seconds": f"vllm:nixl_xfer_time_seconds_sum{own}",
            "blocks": f"vllm:nixl_num_descriptors_sum{own}",
            "bytes": f"vllm:nixl_bytes_transferred_sum{own}",
        }
        return {each: self.sample(daemon, name) for each, name in names.items()}

    def moved(self, daemon: Daemon, before: dict[str, float]) -> dict[str, float]:
        """Read what has moved since."""
        return {name: value - before[name] for name, value in self.samples(daemon).items() if value != before[name]}

    def chat(self, text: str) -> Any:
        """Make a chat of one message."""
        return {"model": "m", "messages": [{"role": "user", "content": text}]}

    def test_whole(self) -> None:
        """The answer is the decode server's: it comes after prefill and transfer, and its tokens are cached."""
        chat, before = self.chat("one " * 60), (self.samples(self.prefill), self.samples(self.decode))
        begin = time.monotonic()
        answer = self.proxy.chat.completions.create(**chat)
        took = time.monotonic() - begin
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        tokens = answer.usage.prompt_tokens
        self.assertEqual(("one " * 60, "stop"), (answer.choices[0].message.content, answer.choices[0].finish_reason))
        self.assertEqual(tokens - 1, answer.usage.prompt_tokens_details.cached_tokens)
        self.assertGreaterEqual(took, PREFILL + tokens * TRANSFER)
        self.assertLess(took, PREFILL + tokens * TRANSFER + 5)
        self.assertEqual({"local_compute": tokens}, self.moved(self.prefill, before[0]))
        moved, blocks = self.moved(self.decode, before[1]), -(-tokens // 16)
        self.assertAlmostEqual(tokens * TRANSFER, moved.pop("seconds"))
        self.assertEqual(
            {
                "local_compute": 1,
                "external_kv_transfer": tokens - 1,
                "queries": tokens,
                "hits": tokens - 1,
                "transfers": 1,
                "blocks": blocks,
                "bytes": blocks * 16 * 1000,
            },
            moved,
        )

    def test_trace(self) -> None:
        """Both servers know which trace a request is part of."""
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        self.proxy.chat.completions.create(**self.chat("traced"), extra_headers=headers)
        for daemon in (self.prefill, self.decode):
            found = json.loads(daemon.get(f"/admin/requests?header=traceparent:{headers['traceparent']}"))
            self.assertEqual([trace], [request["trace_id"] for request in found["requests"]])

    def test_stream(self) -> None:
        """A stream begins after the transfer, and its usage tells of it."""
        chat, begin = self.chat("two " * 50), time.monotonic()
        chunks = self.proxy.chat.completions.create(**chat, stream=True, stream_options={"include_usage": True})
        first = next(chunks)
        self.assertGreaterEqual(time.monotonic() - begin, PREFILL + 50 * TRANSFER)
        *rest, last = chunks
        self.assertEqual("assistant", first.choices[0].delta.role)
        self.assertEqual("two " * 50, "".join(chunk.choices[0].delta.content or "" for chunk in rest))
        assert last.usage is not None
        assert last.usage.prompt_tokens_details is not None
        self.assertEqual(last.usage.prompt_tokens - 1, last.usage.prompt_tokens_details.cached_tokens)

    def test_other_surfaces(self) -> None:
        """Responses and Messages are handed over too, and say in their own words what was fetched."""
        response = self.proxy.responses.create(model="m", input="seven " * 30)
        assert response.usage is not None
        self.assertEqual("seven " * 30, response.output_text)
        self.assertEqual(response.usage.input_tokens - 1, response.usage.input_tokens_details.cached_tokens)
        url = str(self.proxy.base_url).removesuffix("/v1/")
        with anthropic.Anthropic(base_url=url, api_key="x", max_retries=0, timeout=PATIENCE) as client:
            said = client.messages.create(
                model="m", max_tokens=200, messages=[{"role": "user", "content": "eight " * 30}]
            )
        self.assertEqual(("end_turn", 1), (said.stop_reason, said.usage.input_tokens))
        self.assertGreaterEqual(said.usage.cache_read_input_tokens or 0, 30)

    def test_again(self) -> None:
        """What was fetched is in the decode server's own cache: the second time, just the rest is."""
        chat = self.chat("three " * 100)
        self.proxy.chat.completions.create(**chat)
        before = self.samples(self.decode)
        answer = self.proxy.chat.completions.create(**chat)
        assert answer.usage is not None
        tokens, moved = answer.usage.prompt_tokens, self.moved(self.decode, before)
        own = (tokens - 1) // 16 * 16
        self.assertEqual((1, own, tokens - 1 - own), (
            moved["local_compute"], moved["local_cache_hit"], moved.get("external_kv_transfer", 0)
        ))  # fmt: skip

    def test_handed_over(self) -> None:
        """The prefill server says who it is and which blocks it has, as many as the prompt fills."""
        answer: Any = self.client(self.prefill).chat.completions.create(
            **self.chat("four " * 40), max_tokens=1, extra_body={"kv_transfer_params": {"do_remote_decode": True}}
        )
        told, tokens = answer.kv_transfer_params, answer.usage.prompt_tokens
        self.assertEqual(("prefiller", "10.0.0.1", 5600, 2, tokens), (
            told["remote_engine_id"], told["remote_host"], told["remote_port"], told["tp_size"],
            told["remote_num_tokens"],
        ))  # fmt: skip
        self.assertEqual(answer.id, told["remote_request_id"])
        [blocks] = told["remote_block_ids"]
        self.assertEqual((-(-tokens // 16), True), (len(set(blocks)), 0 not in blocks))
        self.assertApproximates(time.time() + 480, told["remote_blocks_expiry_time"], 60)
        engines = json.loads(self.prefill.get("/query"))
        self.assertEqual(("prefiller", "tcp://10.0.0.1:5600"), (
            engines["0"]["engine_id"], engines["0"]["worker_addr"]["1"]["0"]
        ))  # fmt: skip

    def test_placeholders(self) -> None:
        """A decode server takes what llm-d-inference-sim hands over; there is no prefill of its own."""
        begin = time.monotonic()
        answer = self.client(self.decode).chat.completions.create(
            **self.chat("five " * 30), extra_body={"kv_transfer_params": PLACEHOLDERS}
        )
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        self.assertLess(time.monotonic() - begin, 20)
        self.assertEqual(answer.usage.prompt_tokens - 1, answer.usage.prompt_tokens_details.cached_tokens)

    def test_threshold(self) -> None:
        """The decode server refuses what it would have to compute, at once, in words that the SDK can read."""
        client, chat = self.client(self.decode), self.chat("six " * 30)
        answer: Any = client.chat.completions.create(**chat, extra_body={"cache_hit_threshold": 0.9})
        self.assertEqual(("cache_threshold", ""), (answer.choices[0].finish_reason, answer.choices[0].message.content))
        self.assertEqual((0, None), (answer.usage.completion_tokens, answer.usage.prompt_tokens_details))
        header = {"X-Cache-Threshold-Finish-Reason": "true"}
        *_, last = client.chat.completions.create(**chat, stream=True, extra_headers=header)
        self.assertEqual("cache_threshold", last.choices[0].finish_reason)
        with anthropic.Anthropic(base_url=self.decode.url(), api_key="x", max_retries=0, timeout=PATIENCE) as other:
            asked: Any = {"max_tokens": 9, **chat}
            said = other.messages.create(**asked, extra_headers=header)
            self.assertEqual(("max_tokens", 0), (said.stop_reason, said.usage.output_tokens))
            with other.messages.stream(**asked, extra_headers=header) as stream:
                self.assertEqual("max_tokens", stream.get_final_message().stop_reason)
