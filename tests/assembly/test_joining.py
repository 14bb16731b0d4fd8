"""Several data-parallel ranks in one process: what belongs to each, and where requests go."""

import re
from collections.abc import Callable
from typing import Any

import msgpack
from twisted.internet.defer import Deferred

from tests.fakes import in_thread
from tests.harness import Exchange, RankTestCase
from vllmsim.config.events import event_settings
from vllmsim.kvcache.events.sockets import EventSockets
from vllmsim.rank import Rank

SLOW = ("--inter-token-latency", "100ms", "--seed", "7")


class GroupTestCase(RankTestCase):
    """Tests that drive several ranks."""

    ranks: list[Rank]

    def make(self, *words: str) -> None:
        """Build and start ranks."""
        self.ranks = self.make_ranks(*words)

    def at(self, number: int) -> None:
        """Go to another port from now on."""
        self.rank = self.ranks[number]

    def ask(self, rank: object = None, tokens: int = 20, **fields: Any) -> Exchange:
        """Send a completion request that may name a rank."""
        headers = {} if rank is None else {"X_data_parallel_rank": str(rank)}
        body = {"prompt": "hello", "max_tokens": tokens, "ignore_eos": True, **fields}
        return self.post("/v1/completions", body, **headers)

    def running(self) -> list[int]:
        """Count the sequences in slots of each rank."""
        return [rank.slots.running for rank in self.ranks]

    def metric(self, name: str, engine: int) -> float:
        """Read a sample of a rank at the port of now."""
        return self.sample(f'{name}{{engine="{engine}",model_name="Qwen/Qwen3-0.6B"}}')


class PortsTests(GroupTestCase):
    """Ranks with a port each, as in llm-d-inference-sim."""

    def test_header(self) -> None:
        """A request on any port goes to the rank that it names, its slots and metrics; others go to the port's own."""
        self.make("-dp", "3", *SLOW)
        for port, rank in ((0, 2), (1, 2), (2, 0), (1, None), (1, "x"), (2, " 1 ")):
            self.at(port)
            self.ask(rank)
        self.assertEqual([1, 3, 2], self.running())
        self.clock.pump([0.1] * 20)
        self.assertEqual([0, 0, 0], self.running())
        for number, tokens in enumerate((20, 60, 40)):
            self.at(number)
            self.assertEqual(tokens, self.metric("vllm:generation_tokens_total", number))

    def test_surfaces(self) -> None:
        """Every surface that generates takes the header."""
        self.make("-dp", "2", "--time-to-first-token", "1s")
        messages = [{"role": "user", "content": "hello"}]
        bodies = {
            "/v1/chat/completions": {"messages": messages},
            "/v1/chat/completions/batch": {"messages": [messages]},
            "/v1/completions": {"prompt": "hello"},
            "/v1/responses": {"input": "hello"},
            "/v1/messages": {"model": "Qwen/Qwen3-0.6B", "max_tokens": 9, "messages": messages},
            "/inference/v1/generate": {"token_ids": [1, 2], "sampling_params": {"max_tokens": 9}},
            "/generative_scoring": {"query": "a", "items": ["b"], "label_token_ids": [1, 2]},
            "/invocations": {"prompt": "hello"},
        }
        for path, body in bodies.items():
            exchange = self.post(path, body, X_data_parallel_rank="1")
            self.assertEqual([0, 1], [rank.control.in_flight() for rank in self.ranks], (path, exchange.body))
            exchange.drop()
            refused = self.post(path, body, X_data_parallel_rank="2")
            self.assertEqual(400, refused.status, path)
            self.assertIn("data_parallel_rank 2 is out of range [0, 2).", refused.body.decode())

    def test_ranks_that_are_none(self) -> None:
        """A rank that is none is refused in vLLM's words, on every port."""
        self.make("-dp", "2")
        for port in (0, 1):
            self.at(port)
            for rank in (-1, 2, 5):
                refused = self.ask(rank)
                message = f"data_parallel_rank {rank} is out of range [0, 2)."
                error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
                self.assertEqual((400, {"error": error}), (refused.status, refused.json()))

    def test_ranks_of_the_machine(self) -> None:
        """On a machine of several, ranks are counted from 0 as in vLLM, or go by their numbers."""
        self.make("-dp", "16", "-dpl", "2", "-dpr", "8", *SLOW)
        for rank in (0, 1, 9, 9):
            self.ask(rank)
        self.assertEqual([1, 3], self.running())
        self.assertIn("data_parallel_rank 2 is out of range [0, 2).", self.ask(2).body.decode())

    def test_one_rank_of_many(self) -> None:
        """A server that is one rank takes requests for it, under its number or as its first, and no others."""
        for words in ("-dpn 3", "-dpn 3 -dpe", "-dpl 1 -dpr 3"):
            self.make("-dp", "4", *words.split())
            self.assertEqual([200, 200, 400, 400], [self.ask(rank).status for rank in (3, 0, 1, 4)])
            self.assertIn("data_parallel_rank 1 is out of range [0, 1).", self.ask(1).body.decode())

    def test_configuration(self) -> None:
        """A request is served as the configuration of its rank says, not as that of the port where it comes."""
        for words in ("-dp 2", "-dp 2 -dph"):
            self.make(*words.split(), *SLOW)
            changed = self.post("/admin/config?rank=1", {"inter-token-latency": "1s"})
            self.assertEqual(200, changed.status, changed.body)
            slow, quick = self.ask(1, 3), self.ask(0, 3)
            self.clock.advance(0.2)
            self.assertEqual((0, 200), (slow.status, quick.status))
            self.clock.advance(1.8)
            self.assertEqual(200, slow.status)

    def test_changes(self) -> None:
        """A request whose body is read while all ranks change is served as what held when it came."""
        held: list[Callable[[], object]] = []

        def hold(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            result: Deferred[Any] = Deferred()
            held.append(lambda: in_thread(function, *arguments).chainDeferred(result))
            return result

        for words in ("-dp 2", "-dp 2 -dph"):
            self.ranks = self.make_ranks(*words.split(), "--max-model-len", "32k", *SLOW, threads=hold)
            reading = self.ask(1, 3, prompt="hello " * 5000)
            self.assertEqual(200, self.post("/admin/config", {"inter-token-latency": "1s"}).status)
            later = self.ask(1, 3)
            while held:
                held.pop(0)()
                self.clock.advance(0)
            self.clock.advance(0.2)
            self.assertEqual((200, 0), (reading.status, later.status))

    def test_streams(self) -> None:
        """A stream comes from the rank that it names, and is cut off there when its client leaves."""
        self.make("-dp", "2", *SLOW)
        stream = self.ask(1, stream=True)
        self.clock.pump([0.1] * 3)
        self.assertEqual([0, 1], self.running())
        self.assertEqual(4, sum(bool(event["choices"][0]["text"]) for event in stream.events()))
        stream.drop()
        self.assertEqual([0, 0], self.running())

    def test_pooling(self) -> None:
        """Requests for vectors are the port's own, whatever they name: vLLM's look at no header either."""
        self.make("-dp", "2", "--time-to-first-token", "1s")
        self.post("/v1/embeddings", {"input": "a"}, X_data_parallel_rank="1")
        self.assertEqual([1, 0], [rank.control.in_flight() for rank in self.ranks])

    def test_adapters(self) -> None:
        """Adapters are each port's own; a request that names a rank without its adapter is refused."""
        self.make("-dp", "2")
        load = self.post("/v1/load_lora_adapter", {"lora_name": "poet", "lora_path": "/p"})
        self.assertEqual(200, load.status)
        refused = self.ask(1, model="poet")
        self.assertEqual((404, "NotFoundError"), (refused.status, refused.json()["error"]["type"]))
        self.assertEqual("poet", self.ask(0, model="poet").json()["model"])
        self.at(1)
        self.assertEqual(404, self.ask(model="poet").status)

    def test_handover(self) -> None:
        """Who fetches a prompt's KV blocks is sent to the rank that has them, not to the port that was asked."""
        self.make("-dp", "3", "--kv-transfer-config", '{"engine_id": "prefill"}', "--enable-kvcache", "--zmq-endpoint=")
        for port, rank, wanted in ((0, 2, 2), (2, 1, 1), (1, None, 1)):
            self.at(port)
            told = self.ask(rank, 1, kv_transfer_params={"do_remote_decode": True}).json()["kv_transfer_params"]
            self.assertEqual((f"prefill_dp{wanted}", 5600 + wanted), (told["remote_engine_id"], told["remote_port"]))

    def test_isolation(self) -> None:
        """A rank that is full, paused or asleep holds up no other; nor does a reader who stops."""
        self.make("-dp", "2", "--max-num-seqs", "1", "--max-waiting-queue-length", "1", "--enable-sleep-mode", *SLOW)
        stuck = self.ask(stream=True)
        stuck.channel.pauseProducing()
        self.ask()
        self.assertEqual(429, self.ask().status)
        self.at(1)
        self.assertEqual(429, self.ask(0).status)
        own = self.ask(tokens=2)
        self.clock.pump([0.1] * 2)
        self.assertEqual(200, own.status)
        self.at(0)
        for path, state in (("/pause?mode=keep", "/is_paused"), ("/sleep?mode=keep", "/is_sleeping")):
            self.at(0)
            self.assertEqual(200, self.post(path, b"").status)
            self.at(1)
            self.assertEqual([False], [*self.get(state).json().values()])
            self.assertEqual(503, self.ask(0).status)
            own = self.ask(tokens=2)
            self.clock.pump([0.1] * 2)
            self.assertEqual(200, own.status)
        self.assertEqual(3, self.finished(1))

    def test_failures(self) -> None:
        """What fails on purpose on one rank fails on no other."""
        self.make("-dp", "2")
        rules = {"failure-injection-rate": 100, "failure-types": ["server_error"]}
        self.assertEqual(200, self.post("/admin/config?rank=1", rules).status)
        self.assertEqual([200] * 3, [self.ask(tokens=1).status for _ in range(3)])
        self.at(1)
        self.assertEqual([503] * 3, [self.ask(tokens=1).status for _ in range(3)])
        self.assertEqual(0, self.finished(1))

    def finished(self, engine: int) -> float:
        """Count the answers that a rank has brought to their limit."""
        labels = f'engine="{engine}",finished_reason="length",model_name="Qwen/Qwen3-0.6B"'
        return self.sample(f"vllm:request_success_total{{{labels}}}")

    def test_identity(self) -> None:
        """A rank has its own number in metrics; the fingerprint has the size of the whole, and /query all ranks."""
        self.make("-dp", "3", "--pod-name", "p")
        seen = []
        for number in range(3):
            self.at(number)
            answer = self.ask(tokens=1)
            self.assertEqual(str(8000 + number), answer.headers["x-inference-port"])
            self.assertRegex(answer.json()["system_fingerprint"], "^vllm-0.33.0-dp3-")
            page = self.get("/metrics").body.decode()
            self.assertEqual({str(number)}, set(re.findall('engine="(.*?)"', page)))
            self.assertEqual([200, 200], [self.get(path).status for path in ("/health", "/health/ready")])
            seen.append((answer.json()["system_fingerprint"], self.get("/query").json()))
        self.assertEqual([seen[0]] * 3, seen)
        self.assertEqual(["0", "1", "2"], list(seen[0][1]))
        self.assertEqual(3, len({engine["engine_id"] for engine in seen[0][1].values()}))
        ports = [engine["worker_addr"]["0"]["0"] for engine in seen[0][1].values()]
        self.assertEqual([f"tcp://localhost:{5600 + number}" for number in range(3)], ports)

    def test_events(self) -> None:
        """Each rank publishes at its own port, under its own topic, and is asked for what was missed at its own."""
        words = (
            "-dp",
            "3",
            "--enable-kvcache",
            "--zmq-endpoint",
            "tcp://*:5557",
            "--kv-events-replay-endpoint",
            "tcp://*:6557",
        )
        self.make(*words, "--pod-ip", "10.0.0.1")
        for number in range(3):
            settings = event_settings(self.configuration, number)
            assert settings is not None
            self.assertEqual(
                (
                    f"tcp://*:{5557 + number}",
                    f"tcp://*:{6557 + number}",
                    f"kv@10.0.0.1:{8000 + number}@Qwen/Qwen3-0.6B",
                ),
                (settings.endpoint, settings.replay_endpoint, settings.topic),
            )
            self.at(number)
            sources = self.get("/kv_event_sources").json()
            self.assertEqual(
                {str(each): f"tcp://*:{5557 + each}" for each in range(3)},
                {k: v["endpoint"] for k, v in sources.items()},
            )

    def test_journal(self) -> None:
        """The journal of a port has the requests that came there, and tells of each which rank served it."""
        self.make("-dp", "3")
        for rank in (2, None, 0):
            self.ask(rank, 3)
        told = self.get("/admin/requests").json()["requests"]
        seen = {(each["rank"], each["generated_tokens"], each["outcome"]) for each in told}
        self.assertEqual((3, {(2, 3, "completed"), (0, 3, "completed")}), (len(told), seen))
        self.at(2)
        self.assertEqual([], self.get("/admin/requests").json()["requests"])

    def test_batches(self) -> None:
        """What a request does to the KV cache is told by the rank that it names, under its number."""
        self.make("-dp", "3", "--enable-kvcache", "--zmq-endpoint", "tcp://*:5557", "--use-vllm-map-event-format")
        told: list[tuple[str, int, set[str]]] = []

        def publish(own: EventSockets, _sequence: int, payload: bytes, _events: int) -> None:
            _, events_told, rank = msgpack.unpackb(payload)
            told.append((own._settings.endpoint, rank, {each["type"] for each in events_told}))

        self.patch(EventSockets, "publish", publish)
        for port, rank in ((0, 2), (2, 1)):
            self.at(port)
            self.assertEqual(200, self.ask(rank, prompt="hello " * 40).status)
        self.clock.advance(1)
        self.assertEqual([("tcp://*:5559", 2, {"BlockStored"}), ("tcp://*:5558", 1, {"BlockStored"})], told)

    def test_readiness(self) -> None:
        """A rank is ready by itself."""
        self.make("-dp", "2")
        self.ranks[0].health.healthy = False
        probes = ("/health", "/ready", "/health/ready", "/ping")
        self.assertEqual([503] * 4, [self.get(path).status for path in probes])
        self.at(1)
        self.assertEqual([200] * 4, [self.get(path).status for path in probes])


class OnePortTests(GroupTestCase):
    """Ranks with one port, as in vLLM."""

    def test_turns(self) -> None:
        """Requests to a server that has nothing to do go round."""
        for words in ("-dp 3 --data-parallel-internal-lb", "-dp 6 -dpl 3 -dpr 3 -dph"):
            self.make(*words.split())
            for _ in range(7):
                self.assertEqual(200, self.ask(tokens=1).status)
            first = self.configuration.ranks.start
            done = [self.metric("vllm:generation_tokens_total", first + number) for number in range(3)]
            self.assertEqual([3, 2, 2], done)

    def test_fake_metrics(self) -> None:
        """Fake metrics are faked for all ranks, unless one is named."""
        self.make("-dp", "2", "-dph", "--fake-metrics", '{"running-requests": 7}')
        self.assertEqual(200, self.ask(tokens=3).status)
        self.assertEqual(204, self.post("/fake_metrics", {"waiting-requests": 3}).status)
        self.assertEqual(204, self.post("/fake_metrics?rank=1", {"running-requests": 9}).status)
        shown = [
            tuple(self.metric(f"vllm:{name}", rank) for rank in (0, 1))
            for name in ("num_requests_running", "num_requests_waiting", "generation_tokens_total")
        ]
        self.assertEqual([(7, 9), (3, 3), (0, 0)], shown)

    def test_least(self) -> None:
        """A request goes to the rank with the least to do, and one that names a rank there."""
        self.make("-dp", "3", "-dph", *SLOW)
        for rank in (0, 0, 1):
            self.ask(rank, 50)
        self.assertEqual([2, 1, 0], self.running())
        for expected in ([2, 1, 1], [2, 2, 1], [2, 2, 2], [3, 2, 2]):
            self.ask(tokens=50)
            self.assertEqual(expected, self.running())
        self.assertIn("data_parallel_rank 3 is out of range [0, 3).", self.ask(3).body.decode())

    def test_choices(self) -> None:
        """Choices count one by one, on the rank that has them all."""
        self.make("-dp", "2", "-dph", *SLOW)
        self.ask(n=3)
        self.ask()
        self.ask()
        self.assertEqual([3, 2], self.running())

    def test_full_cache(self) -> None:
        """Sequences that wait for KV blocks weigh more than those that run."""
        cache = ("--enable-kvcache", "--zmq-endpoint=", "--kv-cache-size", "5", "--max-model-len", "64")
        self.make("-dp", "2", "-dph", *cache, *SLOW)
        for number in (1, 2):
            self.ask(0, 30, prompt=[number] * 33)
        for _ in range(3):
            self.ask(1, 8)
        loads = [rank.simulator.load() for rank in self.ranks]
        self.assertEqual([(2, 1, 1), (3, 0, 3)], [(load.in_flight, load.waiting, load.running) for load in loads])
        self.assertEqual([0.75, 0.75], [load.cache_usage for load in loads])
        self.ask(tokens=8)
        self.assertEqual([2, 4], [rank.control.in_flight() for rank in self.ranks])

    def test_pooling(self) -> None:
        """Requests for vectors are balanced too."""
        self.make("-dp", "2", "-dph", "--time-to-first-token", "1s", *SLOW)
        for _ in range(4):
            self.post("/v1/embeddings", {"input": "a"})
        self.assertEqual([2, 2], [rank.control.in_flight() for rank in self.ranks])

    def test_journal(self) -> None:
        """The journal has all requests, and tells of each which rank served it."""
        self.make("-dp", "2", "-dph")
        for rank in (None, None, 1):
            self.ask(rank, 3)
        self.post("/v1/embeddings", {"input": "a"})
        told = self.get("/admin/requests").json()["requests"]
        self.assertEqual([0, 1, 1, 0], [each["rank"] for each in sorted(told, key=lambda each: int(each["number"]))])

    def test_metrics(self) -> None:
        """The page has the series of all ranks, and every family once; each sample is there once."""
        self.make("-dp", "3", "-dph", "--enable-kvcache", "--zmq-endpoint=")
        for _ in range(3):
            self.ask(tokens=2)
        page = self.get("/metrics").body.decode().splitlines()
        names = [line.split(" ")[2] for line in page if line.startswith("# HELP")]
        self.assertEqual(sorted(set(names)), sorted(names))
        samples = [line.rpartition(" ")[0] for line in page if not line.startswith("#")]
        self.assertEqual(sorted(set(samples)), sorted(samples))
        for number in range(3):
            self.assertEqual(2, self.metric("vllm:generation_tokens_total", number))
        self.assertEqual(3, self.sample('http_requests_total{handler="/v1/completions",method="POST",status="2xx"}'))
        kinds = [line for line in page if line.startswith("# TYPE vllm:num_requests_running")]
        begin = page.index(kinds[0]) + 1
        self.assertEqual(
            [f'vllm:num_requests_running{{engine="{number}",model_name="Qwen/Qwen3-0.6B"}} 0.0' for number in range(3)],
            page[begin : begin + 3],
        )
        shown = {name for name in names if not name.startswith(("vllm", "http_"))} | {
            n for n in names if "_created" in n
        }
        self.assertEqual(set(), shown)
        named = self.get("/metrics?name[]=vllm:num_requests_running").body.decode().splitlines()
        self.assertEqual(page[begin - 2 : begin + 3], named)

    def test_rejections(self) -> None:
        """What is counted without a rank is counted for all."""
        self.make("-dp", "2", "-dph", "--max-num-queued-reqs", "1", *SLOW)
        for rank in (0, 1, 0, 1, 1):
            self.ask(rank)
        labels = 'model_name="Qwen/Qwen3-0.6B",reason="max_num_queued_reqs"'
        self.assertEqual(3, self.sample(f"vllm:admission_rejections_total{{{labels}}}"))

    def test_control(self) -> None:
        """What an operator does is done to all ranks."""
        self.make("-dp", "2", "-dph", "--enable-sleep-mode", "--enable-server-load-tracking", *SLOW)
        asked = [self.ask() for _ in range(4)]
        self.assertEqual({"server_load": 4}, self.get("/load").json())
        self.assertEqual([2, 2], self.running())
        self.assertEqual({"status": "aborted", "aborted": 4}, self.post("/abort_requests", b"{}").json())
        self.assertEqual([200] * 4, [each.status for each in asked])
        for halt, state, go in (("/pause", "/is_paused", "/resume"), ("/sleep", "/is_sleeping", "/wake_up")):
            self.assertEqual(200, self.post(halt, b"").status)
            self.assertEqual([True], [*self.get(state).json().values()])
            self.assertEqual([503, 503], [self.ask(rank).status for rank in (0, 1)])
            self.post(go, b"")
            self.assertEqual([False], [*self.get(state).json().values()])
        self.assertEqual({"success": True}, self.post("/reset_prefix_cache", b"").json())

    def test_adapters(self) -> None:
        """An adapter is loaded on all ranks, and listed once."""
        self.make("-dp", "2", "-dph")
        self.assertEqual(200, self.post("/v1/load_lora_adapter", {"lora_name": "poet", "lora_path": "/p"}).status)
        self.assertEqual(["poet", "poet"], [self.ask(rank, model="poet").json()["model"] for rank in (0, 1)])
        self.assertEqual(["Qwen/Qwen3-0.6B", "poet"], [each["id"] for each in self.get("/v1/models").json()["data"]])
        self.assertEqual(200, self.post("/v1/unload_lora_adapter", {"lora_name": "poet"}).status)
        self.assertEqual([404, 404], [self.ask(rank, model="poet").status for rank in (0, 1)])

    def test_readiness(self) -> None:
        """The server is ready when all its ranks are."""
        self.make("-dp", "2", "-dph", "--startup-duration", "1s")
        self.assertEqual(503, self.get("/health/ready").status)
        self.clock.advance(1)
        self.assertEqual(200, self.get("/health/ready").status)
        for what, expected in (("willing", [503, 503, 200]), ("healthy", [503, 503, 503])):
            setattr(self.ranks[1].health, what, False)
            self.assertEqual(expected, [self.get(path).status for path in ("/health/ready", "/ready", "/health")])

    def test_events(self) -> None:
        """Ranks publish on a port each, all under the address of the one where requests come."""
        self.make("-dp", "2", "-dph", "--enable-kvcache", "--zmq-endpoint", "tcp://*:5557")
        sources = self.get("/kv_event_sources").json()
        self.assertEqual({"0": "tcp://*:5557", "1": "tcp://*:5558"}, {k: v["endpoint"] for k, v in sources.items()})
        self.assertEqual({"kv@localhost:8000@Qwen/Qwen3-0.6B"}, {each["topic"] for each in sources.values()})
