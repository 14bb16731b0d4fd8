"""The SMG gateway, unmodified, before the daemon: it speaks OpenAI's API to clients, and vLLM's gRPC to servers."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from http.client import HTTPConnection
from tempfile import TemporaryFile
from typing import Any

import openai
import pytest
from tokenizers import Tokenizer
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import PATIENCE, ROOT, Daemon, free_port, until

pytestmark = pytest.mark.skipif(importlib.util.find_spec("smg") is None, reason="smg is not installed")

SERVER = ("--model", "org/m", "--served-model-name", "m", "--tokenizer", "builtin", "--mode", "echo")
KV = (*SERVER, "--enable-kvcache", "--zmq-endpoint", "", "--block-size", "16")
HI: Any = [{"role": "user", "content": "one two three four"}]
SAID = "user\none two three four"
"""What an echo of the conversation says: of the token ids that the gateway sends, up to the end of the first turn."""
TEXT = "What is said here is said there."
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]},
    },
}


class Gateway:
    """A running gateway.

    :param words: its options.
    :param workers: how many servers it is to know.
    """

    def __init__(self, *words: str, workers: int) -> None:
        self.port = free_port(2)
        self.log = TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        here = ("--host", "127.0.0.1", "--port", str(self.port))
        metrics = ("--prometheus-host", "127.0.0.1", "--prometheus-port", str(self.port + 1))
        # What it would ask the network for is not there.
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "smg", "launch", *here, *metrics, "--log-level", "info", *words],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        self.client: Any = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", max_retries=0, timeout=PATIENCE
        )
        self._wait(workers)

    def _wait(self, workers: int) -> None:
        begin = time.monotonic()
        while len(self.workers()) < workers or not self._answers():
            if time.monotonic() - begin > PATIENCE or self.process.poll() is not None:
                raise AssertionError(self.output())
            time.sleep(0.1)

    def _answers(self) -> bool:
        # It has a worker's tokenizer somewhat later than the worker.
        try:
            if "embeddings" in self.workers()[0]["models"][0]["model_type"]:
                self.client.embeddings.create(model="m", input="Hi")
            else:
                self.client.chat.completions.create(model="m", messages=HI, max_tokens=1)
        except openai.APIError:
            return False
        return True

    def workers(self) -> list[Any]:
        """Ask which servers it sends requests to."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/workers", timeout=PATIENCE) as answer:
                return [each for each in json.load(answer)["workers"] if each["is_healthy"]]
        except OSError:
            return []

    def counted(self, name: str) -> float:
        """Add up its samples of a name, with or without labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port + 1}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def output(self) -> str:
        """Read what it has logged."""
        self.log.seek(0)
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read())

    def stop(self) -> None:
        """Stop it, which in peace takes five seconds."""
        self.client.close()
        self.process.kill()
        self.process.wait(PATIENCE)
        self.log.close()


class GatewayTestCase(SynchronousTestCase):
    """Tests with a gateway and servers."""

    def serve(self, *words: str, port: int | None = None) -> Daemon:
        """Start a server."""
        daemon = Daemon(*words, port=port)
        self.addCleanup(daemon.log.close)
        self.addCleanup(daemon.stop)
        daemon.wait()
        return daemon

    def gateway(self, *words: str, workers: int) -> Gateway:
        """Start a gateway."""
        gateway = Gateway(*words, workers=workers)
        self.addCleanup(gateway.stop)
        return gateway

    def served(self, port: int) -> dict[str, int]:
        """Count the calls of each rank of a port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            page = answer.read().decode()
        found = re.findall(r'^vllm:request_params_n_count{engine="(\d+)".*} (.+)$', page, re.MULTILINE)
        return {engine: int(float(count)) for engine, count in found}

    def calls(self, daemon: Daemon) -> list[Any]:
        """Read the journal: the calls of Generate, the latest first."""
        listed = json.loads(daemon.get("/admin/requests?order=desc"))["requests"]
        return [each for each in listed if each["route"].endswith("/Generate")]


class RanksTests(GatewayTestCase):
    """Two data-parallel ranks."""

    def test_chat(self) -> None:
        """Chats go to both ranks in turn, whole and streamed, and come back as OpenAI's clients expect them."""
        port = free_port(2)
        self.serve(*SERVER, "--data-parallel-size", "2", port=port)
        urls = [f"grpc://127.0.0.1:{port + rank}" for rank in (0, 1)]
        gateway = self.gateway("--worker-urls", *urls, "--policy", "round_robin", workers=2)
        before = [sum(self.served(port + rank).values()) for rank in (0, 1)]
        chat = gateway.client.chat.completions.create
        whole = chat(model="m", messages=HI)
        self.assertEqual((SAID, "stop"), (whole.choices[0].message.content, whole.choices[0].finish_reason))
        chunks = list(chat(model="m", messages=HI, stream=True, stream_options={"include_usage": True}))
        self.assertEqual(SAID, "".join(each.choices[0].delta.content or "" for each in chunks if each.choices))
        self.assertEqual(whole.usage.prompt_tokens, chunks[-1].usage.prompt_tokens)
        self.assertGreater(len(chunks), 5)
        short = chat(model="m", messages=HI, max_tokens=3, n=2, logprobs=True, top_logprobs=2)
        self.assertEqual([0, 1], [each.index for each in short.choices])
        for choice in short.choices:
            self.assertEqual("length", choice.finish_reason)
            self.assertEqual([2, 2, 2], [len(each.top_logprobs) for each in choice.logprobs.content])
        stopped = chat(model="m", messages=HI, stop=["three"]).choices[0]
        self.assertEqual(("user\none two ", "stop"), (stopped.message.content, stopped.finish_reason))
        called = chat(model="m", messages=HI, tools=[WEATHER], tool_choice="required").choices[0]
        self.assertEqual("weather", called.message.tool_calls[0].function.name)
        self.assertIn(json.loads(called.message.tool_calls[0].function.arguments)["city"], ("Oslo", "Rome"))
        after = [sum(self.served(port + rank).values()) for rank in (0, 1)]
        self.assertEqual([5], [sum(after) - sum(before)])
        self.assertEqual([2, 3], sorted(now - then for now, then in zip(after, before, strict=True)))

    def test_one_port(self) -> None:
        """A gateway that knows of ranks sends each its requests through the one port that they have."""
        daemon = self.serve(*SERVER, "--data-parallel-size", "2", "--data-parallel-internal-lb")
        url = f"grpc://127.0.0.1:{daemon.port}"
        gateway = self.gateway("--worker-urls", url, "--policy", "round_robin", "--dp-aware", workers=2)
        before = self.served(daemon.port)
        for _ in range(6):
            gateway.client.chat.completions.create(model="m", messages=HI)
        after = self.served(daemon.port)
        self.assertEqual({"0": 3, "1": 3}, {rank: after[rank] - before.get(rank, 0) for rank in after})


class PoolingTests(GatewayTestCase):
    """A server that pools."""

    def test_embeddings(self) -> None:
        """The gateway sees that it has no chats, and has it embed texts."""
        daemon = self.serve(*SERVER, "--runner", "pooling")
        gateway = self.gateway("--worker-urls", f"grpc://127.0.0.1:{daemon.port}", workers=1)
        self.assertEqual(["embeddings"], gateway.workers()[0]["models"][0]["model_type"])
        there = openai.OpenAI(base_url=daemon.url("/v1"), api_key="none")
        self.addCleanup(there.close)
        ids = Tokenizer.from_file(str(ROOT / "vllmsim/tokenization/builtin/tokenizer.json")).encode(TEXT).ids
        ours = there.embeddings.create(model="m", input=ids, encoding_format="float")
        theirs = gateway.client.embeddings.create(model="m", input=TEXT, encoding_format="float")
        self.assertEqual(384, len(theirs.data[0].embedding))
        for one, other in zip(ours.data[0].embedding, theirs.data[0].embedding, strict=True):
            self.assertAlmostEqual(one, other, 6)


class WorkerTests(GatewayTestCase):
    """Servers that come and go, and clients."""

    def test_gone(self) -> None:
        """When a server goes away the gateway has the others serve."""
        daemons = [self.serve(*SERVER) for _ in range(2)]
        urls = [f"grpc://127.0.0.1:{daemon.port}" for daemon in daemons]
        gateway = self.gateway("--worker-urls", *urls, "--policy", "round_robin", workers=2)
        daemons[0].stop(signal.SIGKILL)
        for _ in range(6):
            answer = gateway.client.chat.completions.create(model="m", messages=HI)
            self.assertEqual(SAID, answer.choices[0].message.content)

    def test_client_gone(self) -> None:
        """A client of the gateway's who goes away frees the slot behind it."""
        daemon = self.serve(*SERVER, "--inter-token-latency", "50ms")
        gateway = self.gateway("--worker-urls", f"grpc://127.0.0.1:{daemon.port}", workers=1)
        connection = HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE)
        body = {"model": "m", "messages": HI, "stream": True, "max_tokens": 900, "ignore_eos": True}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read(400)
        self.assertIn(b"num_requests_running", daemon.get("/metrics"))
        response.close()
        connection.close()
        begin = time.monotonic()
        while self.calls(daemon)[0]["outcome"] is None and time.monotonic() - begin < PATIENCE:
            time.sleep(0.05)
        self.assertEqual("aborted", self.calls(daemon)[0]["outcome"])


class CacheTests(GatewayTestCase):
    """What a gateway learns of KV caches."""

    def cached(self, daemons: Sequence[Daemon]) -> float:
        """Count the blocks that servers have cached."""
        found = (
            re.search(rb'vllmsim:kv_blocks{.*state="cached".*} (.+)', daemon.get("/metrics")) for daemon in daemons
        )
        return sum(float(each[1]) for each in found if each)

    def test_aware(self) -> None:
        """A gateway that subscribes to KV events sends a prompt where its beginning is cached."""
        daemons = [self.serve(*KV) for _ in range(2)]
        urls = [f"grpc://127.0.0.1:{daemon.port}" for daemon in daemons]
        policy = ("--policy", "cache_aware", "--worker-warmup-divert-every", "0")
        gateway = self.gateway("--worker-urls", *urls, *policy, workers=2)
        for number in range(4):
            text = f"Conversation {number}. " * 40
            chosen = set()
            for turn in range(3):
                messages: Any = [{"role": "user", "content": text + "and on " * turn}]
                answer = gateway.client.chat.completions.with_raw_response.create(
                    model="m", messages=messages, max_tokens=1
                )
                chosen.add(answer.headers["x-smg-routed-worker-id"])
                until(lambda: gateway.counted("smg_kv_event_blocks_total") == self.cached(daemons))
            self.assertEqual(1, len(chosen), chosen)
            details = answer.parse().usage.prompt_tokens_details
            self.assertGreater(details.cached_tokens, 100)
        self.assertEqual(8, gateway.counted('smg_cache_aware_policy_branch_total{branch="event_hit"}'))
        self.assertGreater(self.cached(daemons), 40)
        for trouble in ("gaps", "missed_batches", "parentless_blocks", "resyncs"):
            self.assertEqual(0, gateway.counted(f"smg_kv_event_{trouble}_total"), trouble)


class DisaggregatedTests(GatewayTestCase):
    """A prefill server and a decode server."""

    def test_transfer(self) -> None:
        """A prefill is done by one, and its blocks are named to the other."""
        transfer = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
        prefill, decode = (
            self.serve(*KV, "--kv-transfer-config", json.dumps({**transfer, "engine_id": name}))
            for name in ("prefiller", "decoder")
        )
        words = [
            *("--pd-disaggregation", "--prefill", f"grpc://127.0.0.1:{prefill.port}"),
            *("--decode", f"grpc://127.0.0.1:{decode.port}", "--policy", "round_robin"),
        ]
        gateway = self.gateway(*words, workers=2)
        text = "A prompt of some length, for its blocks to be worth a transfer. " * 10
        answer = gateway.client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])
        self.assertIn("blocks to be worth", answer.choices[0].message.content)
        self.assertEqual(1, self.calls(prefill)[0]["generated_tokens"])
        fetched = re.search(rb'source="external_kv_transfer"} (.+)', decode.get("/metrics"))
        assert fetched
        self.assertGreater(float(fetched[1]), 100)
