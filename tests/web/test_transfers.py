"""Prompts that another server has computed, and that another is to go on with, with a whole rank in between."""

from typing import Any

from tests.harness import Exchange, RankTestCase

HI = [{"role": "user", "content": "hello"}]
IDS = list(range(1, 41))
REMOTE = {"kv_transfer_params": {"do_remote_prefill": True}}
CACHE = ("--enable-kvcache", "--zmq-endpoint", "")
PACE = ("--time-to-first-token", "10s", "--kv-cache-transfer-time-per-token", "10ms")
CONSUMER = ("--kv-transfer-config", '{"kv_connector": "NixlConnector", "kv_role": "kv_consumer"}')
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI, "max_tokens": 2},
    "/v1/completions": {"prompt": IDS, "max_tokens": 2},
    "/v1/responses": {"input": "hello", "max_output_tokens": 2},
    "/v1/messages": {"model": "Qwen/Qwen3-0.6B", "messages": HI, "max_tokens": 2},
    "/inference/v1/generate": {"token_ids": IDS, "sampling_params": {"max_tokens": 2}},
    "/v1/chat/completions/batch": {"messages": [HI], "max_tokens": 2},
}


class TransferTestCase(RankTestCase):
    """Reads what transfers move."""

    def value(self, name: str, **labels: str) -> float:
        """Read a sample of the engine's metrics."""
        told = {"engine": "0", "model_name": "Qwen/Qwen3-0.6B", **labels}
        pairs = ",".join(f'{key}="{told[key]}"' for key in sorted(told))
        return self.sample(f"{name}{{{pairs}}}")

    def fetching(self) -> float:
        """Count the sequences whose blocks are fetched."""
        return self.value("vllm:num_requests_kv_fetch_by_stage", stage="in_progress")

    def by_source(self) -> tuple[float, ...]:
        """Count prompt tokens that were computed, were there, and were fetched."""
        sources = ("local_compute", "local_cache_hit", "external_kv_transfer")
        return tuple(self.value("vllm:prompt_tokens_by_source_total", source=source) for source in sources)


class DialectTests(TransferTestCase):
    """What is the same for every surface."""

    def cached(self, path: str, answer: Any) -> int:
        """Read how many tokens of the prompt were cached."""
        usage = answer["usage"]
        if path == "/v1/messages":
            return int(usage["cache_read_input_tokens"])
        details = usage["input_tokens_details"] if path == "/v1/responses" else usage["prompt_tokens_details"]
        return int(details["cached_tokens"])

    def prompt_tokens(self, answer: Any) -> int:
        """Read how long the prompt was."""
        usage = answer["usage"]
        read = usage.get("cache_read_input_tokens", 0)
        return int(usage.get("prompt_tokens") or usage["input_tokens"] + read)

    def test_whole(self) -> None:
        """The first token comes after the transfer, and all of the prompt but its last token is cached."""
        for path, body in BODIES.items():
            self.make_rank(*PACE, "--enable-prompt-tokens-details")
            exchange = self.post(path, {**body, **REMOTE})
            self.clock.advance(0.009)
            self.assertEqual(b"", exchange.raw, path)
            self.clock.pump([0.01] * 45)
            self.assertEqual(200, exchange.status, path)
            answer = exchange.json()
            tokens = self.prompt_tokens(answer)
            self.assertEqual(tokens - 1, self.cached(path, answer), path)
            self.assertEqual((1, 0, tokens - 1), self.by_source(), path)
            took = self.value("vllm:time_to_first_token_seconds_sum")
            self.assertApproximates(tokens * 0.01, took, 0.0101, path)

    def test_stream(self) -> None:
        """A stream begins when the transfer is over."""
        for path, body in BODIES.items():
            if path.endswith("batch"):
                continue
            self.make_rank(*PACE, "--mode", "echo")
            exchange = self.post(path, {**body, **REMOTE, "stream": True})
            self.clock.advance(0.009)
            self.assertEqual(b"", exchange.raw, path)
            self.clock.pump([0.4, 0.01])
            self.assertTrue(exchange.complete, path)

    def test_wrong(self) -> None:
        """A member of the wrong type is refused by its name; those that mean nothing here may be anything."""
        self.make_rank()
        lenient = {"remote_block_ids": [["a"], 7], "remote_port": "x", "remote_engine_id": 3, "mine": {"deep": []}}
        for path, body in BODIES.items():
            self.assertEqual(200, self.post(path, {**body, "kv_transfer_params": lenient}).status, path)
            for params, name in (
                ({"do_remote_prefill": "perhaps"}, "do_remote_prefill"),
                ({"do_remote_decode": []}, "do_remote_decode"),
                ({"remote_num_tokens": -1}, "remote_num_tokens"),
                ({"remote_num_tokens": "x"}, "remote_num_tokens"),
                ("x", "kv_transfer_params"),
            ):
                exchange = self.post(path, {**body, "kv_transfer_params": params})
                self.assertEqual((400, True), (exchange.status, name.encode() in exchange.body), (path, params))
        for extra in ({"do_remote_prefill": "perhaps"}, "x"):
            sampling = {"extra_args": {"kv_transfer_params": extra}}
            body = {"token_ids": IDS, "sampling_params": sampling}
            self.assertEqual(400, self.post("/inference/v1/generate", body).status)

    def test_handed_over(self) -> None:
        """Every surface that answers with one prompt says where the blocks are, whole and streamed, if asked."""
        for path, body in BODIES.items():
            if path.endswith("batch"):
                continue
            self.make_rank()
            whole = self.post(path, {**body, "kv_transfer_params": {"do_remote_decode": True}}).json()
            told = whole["kv_transfer_params"]
            self.assertTrue(told["remote_request_id"].startswith(whole.get("id") or whole["request_id"]), path)
            self.assertEqual(self.prompt_tokens(whole), told["remote_num_tokens"])
            for exchange in (self.post(path, body), self.post(path, {**body, "stream": True})):
                self.assertNotIn(b"remote_num_tokens", exchange.body, path)
            stream = self.post(path, {**body, "stream": True, "kv_transfer_params": {"do_remote_decode": True}})
            self.assertEqual(1, stream.body.count(b"remote_num_tokens"), path)

    def test_choices(self) -> None:
        """Of several choices the first is handed over, also where another, whose prompt was cached, begins sooner."""
        self.make_rank(*CACHE, "--prefill-time-per-token", "10ms")
        asked = self.complete(IDS, n=2, max_tokens=1, kv_transfer_params={"do_remote_decode": True})
        self.clock.pump([0.1] * 5)
        self.assertEqual([[1, 2, 3]], asked.json()["kv_transfer_params"]["remote_block_ids"])

    def test_several(self) -> None:
        """Of several prompts each is handed over with the end of its choice, and the first with a whole answer."""
        self.make_rank(*CACHE)
        asked = {"prompt": [IDS, IDS[:8]], "max_tokens": 1, "kv_transfer_params": {"do_remote_decode": True}}
        whole = self.post("/v1/completions", asked).json()
        told = whole["kv_transfer_params"]
        self.assertEqual((f"{whole['id']}-0", 40), (told["remote_request_id"], told["remote_num_tokens"]))
        *chunks, _ = self.post("/v1/completions", {**asked, "stream": True}).events()
        ends = {chunk["choices"][0]["index"]: chunk["kv_transfer_params"] for chunk in chunks}
        self.assertEqual([(40, "-0"), (8, "-1")], [
            (ends[index]["remote_num_tokens"], ends[index]["remote_request_id"][-2:]) for index in (0, 1)
        ])  # fmt: skip
        self.assertEqual([3, 1], [len(ends[index]["remote_block_ids"][0]) for index in (0, 1)])

    def test_both(self) -> None:
        """A server in the middle fetches the prompt's blocks, and hands them on."""
        self.make_rank(*PACE)
        both = {"do_remote_prefill": True, "do_remote_decode": True}
        exchange = self.post("/v1/completions", {"prompt": IDS, "max_tokens": 1, "kv_transfer_params": both})
        self.clock.advance(0.4)
        self.assertEqual(40, exchange.json()["kv_transfer_params"]["remote_num_tokens"])


class FetchTests(TransferTestCase):
    """What is fetched, and what becomes of it."""

    def fetch(self, prompt: Any = IDS, **params: Any) -> Exchange:
        """Ask for the answer to a prompt that another server has computed."""
        asked = {"do_remote_prefill": True, **params}
        return self.complete(prompt, max_tokens=1, kv_transfer_params=asked)

    def test_tokens(self) -> None:
        """As many tokens are fetched as the other server says, and at most all but the last."""
        for told, fetched in ((None, 39), (40, 39), (39, 39), (16, 16), (7, 7), (0, 0), (41, 39), (10**30, 39)):
            self.make_rank()
            self.assertEqual(200, self.fetch(remote_num_tokens=told).status)
            self.assertEqual((40 - fetched, 0, fetched), self.by_source(), told)

    def test_in_part(self) -> None:
        """What the other server has not computed takes its own time."""
        self.make_rank("--prefill-time-per-token", "1ms", "--kv-cache-transfer-time-per-token", "100ms", *CONSUMER)
        exchange = self.fetch(remote_num_tokens=10)
        self.clock.advance(1.029)
        self.assertEqual(b"", exchange.raw)
        self.clock.advance(0.002)
        self.assertEqual((200, 1.0), (exchange.status, round(self.value("vllm:nixl_xfer_time_seconds_sum"), 9)))

    def test_no_cache(self) -> None:
        """A server that simulates no KV cache counts what it looked for elsewhere all the same."""
        self.make_rank()
        self.fetch()
        self.complete(IDS, max_tokens=1)
        names = ("queries", "hits")
        self.assertEqual([40, 39], [self.value(f"vllm:external_prefix_cache_{name}_total") for name in names])

    def test_one_token(self) -> None:
        """A prompt of one token is computed in any case."""
        self.make_rank()
        self.assertEqual(200, self.fetch([5]).status)
        self.assertEqual((1, 0, 0), self.by_source())

    def test_stages(self) -> None:
        """While blocks are on their way, the sequence counts as one that waits for them."""
        self.make_rank(*PACE, *CONSUMER)
        exchange = self.fetch()
        self.assertEqual((1, 0), (self.fetching(), self.value("vllm:nixl_xfer_time_seconds_count")))
        self.clock.advance(0.4)
        self.assertEqual(200, exchange.status)
        self.assertEqual((0, 1), (self.fetching(), self.value("vllm:nixl_xfer_time_seconds_count")))
        self.assertEqual(3, self.value("vllm:nixl_num_descriptors_sum"))
        self.assertEqual(0.4, round(self.value("vllm:nixl_xfer_time_seconds_sum"), 9))

    def test_left(self) -> None:
        """A client that leaves meanwhile, and a request that is aborted, leave nothing on its way."""
        self.make_rank(*PACE, *CONSUMER)
        self.fetch().drop()
        self.assertEqual(0, self.fetching())
        exchange = self.fetch()
        self.post("/abort_requests", {"request_ids": []})
        self.assertEqual(("abort", 0), (exchange.json()["choices"][0]["finish_reason"], self.fetching()))
        self.assertIsNone(exchange.json()["kv_transfer_params"])
        self.assertEqual(0, self.value("vllm:nixl_xfer_time_seconds_count"))

    def test_hidden(self) -> None:
        """A server without a connector serves such requests all the same, and shows no metrics of transfers."""
        self.make_rank()
        self.assertEqual(200, self.fetch().status)
        page = self.get("/metrics").body
        self.assertNotIn(b"nixl", page)
        self.assertNotIn(b"kv_fetch_by_stage", page)

    def test_producer(self) -> None:
        """A server that just gives blocks shows what transfers were like, and nobody who waits for one."""
        self.make_rank("--kv-transfer-config", '{"kv_connector": "NixlConnector", "kv_role": "kv_producer"}')
        page = self.get("/metrics").body
        self.assertIn(b"nixl_num_kv_expired_reqs_total", page)
        self.assertNotIn(b"kv_fetch_by_stage", page)

    def test_engine_id(self) -> None:
        """The operator's id for the engine is told everywhere."""
        self.make_rank("--kv-transfer-config.engine_id", "e7")
        told = self.complete(IDS, kv_transfer_params={"do_remote_decode": True}).json()["kv_transfer_params"]
        self.assertEqual(("e7", "e7"), (told["remote_engine_id"], self.get("/query").json()["0"]["engine_id"]))


class CacheTests(TransferTestCase):
    """With KV blocks."""

    def test_blocks(self) -> None:
        """A prefill server names the blocks that it has, which it tells of in its events too."""
        self.make_rank(*CACHE)
        first, again, other = (
            self.complete(ids, max_tokens=1, kv_transfer_params={"do_remote_decode": True}).json()["kv_transfer_params"]
            for ids in (IDS, IDS, [7, *IDS])
        )
        [[*blocks], [*same], [*others]] = (each["remote_block_ids"][0] for each in (first, again, other))
        self.assertEqual((3, 3), (len(set(blocks)), len(set(others))))
        self.assertEqual(blocks[:2], same[:2])
        self.assertEqual(set(), set(blocks[:2]) & set(others))

    def test_stored(self) -> None:
        """What was fetched is found again, without being fetched."""
        self.make_rank(*CACHE, "--enable-prompt-tokens-details")
        remote = {"do_remote_prefill": True, "remote_num_tokens": 40}
        first = self.complete(IDS, max_tokens=1, kv_transfer_params=remote).json()["usage"]["prompt_tokens_details"]
        self.assertEqual((39, 0), (first["cached_tokens"], first["created_cache_tokens"]))
        again = self.complete(IDS, max_tokens=1).json()["usage"]["prompt_tokens_details"]
        self.assertEqual((32, 0), (again["cached_tokens"], again["created_cache_tokens"]))
        self.assertEqual((1 + 8, 32, 39), self.by_source())
        third = self.complete(IDS, max_tokens=1, kv_transfer_params=remote).json()["usage"]["prompt_tokens_details"]
        self.assertEqual((39, (1 + 8 + 1, 64, 46)), (third["cached_tokens"], self.by_source()))
        own = ("vllm:external_prefix_cache_queries_total", "vllm:external_prefix_cache_hits_total")
        self.assertEqual((40 + 8, 39 + 7), tuple(map(self.value, own)))

    def test_several(self) -> None:
        """The usage of several prompts has what all of them found, each once, whole and streamed."""
        self.make_rank(*CACHE, "--enable-prompt-tokens-details")
        asked: dict[str, Any] = {"prompt": [IDS, [7, *IDS], IDS[:20]], "n": 2, "max_tokens": 1}
        for read, created in ((16, 64), (80, 0)):
            usage = self.post("/v1/completions", asked).json()["usage"]
            details = usage["prompt_tokens_details"]
            self.assertEqual((101, 6), (usage["prompt_tokens"], usage["completion_tokens"]))
            self.assertEqual((read, created), (details["cached_tokens"], details["created_cache_tokens"]))
        *_, usage, _ = self.post(
            "/v1/completions", {**asked, "stream": True, "stream_options": {"include_usage": True}}
        ).events()
        self.assertEqual({"cached_tokens": 80, "created_cache_tokens": 0}, usage["usage"]["prompt_tokens_details"])
        batch = {"messages": [[{"role": "user", "content": "one " * count}] for count in (40, 60)], "max_tokens": 1}
        first, again = (
            self.post("/v1/chat/completions/batch", batch).json()["usage"]["prompt_tokens_details"] for _ in range(2)
        )
        self.assertEqual(first["created_cache_tokens"] + first["cached_tokens"], again["cached_tokens"])
        self.assertGreaterEqual(again["cached_tokens"], 80)

    def test_created(self) -> None:
        """Full blocks that were not there count as created, in usage."""
        self.make_rank(*CACHE, "--enable-prompt-tokens-details")
        for ids, cached, created in ((IDS, 0, 32), (IDS, 32, 0), (IDS[:32], 16, 16), ([*IDS, *IDS], 32, 48)):
            details = self.complete(ids, max_tokens=1).json()["usage"]["prompt_tokens_details"]
            self.assertEqual((cached, created), (details["cached_tokens"], details["created_cache_tokens"]))
