"""Loading and unloading LoRA adapters."""

from pathlib import Path

from attrs import evolve

from tests.harness import RankTestCase


class AdapterTests(RankTestCase):
    """Adapters come and go while the rank serves."""

    def setUp(self) -> None:
        """Serve a model under two names, with one adapter."""
        self.make_rank("--model", "m", "--served-model-name", "a", "b", "--lora-modules", "sql=/loras/sql")

    def cards(self) -> list[tuple[str, str, str | None, int | None]]:
        """List what is served."""
        data = self.get("/v1/models").json()["data"]
        return [(card["id"], card["root"], card["parent"], card["max_model_len"]) for card in data]

    def load(self, **fields: object) -> tuple[int, bytes]:
        """Load an adapter."""
        exchange = self.post("/v1/load_lora_adapter", fields)
        return exchange.status, exchange.body

    def test_from_the_start(self) -> None:
        """An adapter that is configured is listed after the names, and answers under its own."""
        expected = [("a", "m", None, 1024), ("b", "m", None, 1024), ("sql", "/loras/sql", "a", None)]
        self.assertEqual(expected, self.cards())
        self.assertEqual("sql", self.complete(model="sql").json()["model"])
        self.assertEqual("a", self.complete(model="b").json()["model"])

    def test_load_and_unload(self) -> None:
        """An adapter answers while it is loaded, in plain words without a type."""
        self.assertEqual(404, self.chat(model="new").status)
        exchange = self.post("/v1/load_lora_adapter", {"lora_name": "new", "lora_path": "/p"})
        self.assertEqual(b"Success: LoRA adapter 'new' added successfully.", exchange.body)
        self.assertNotIn("content-type", exchange.headers)
        self.assertEqual(("new", "/p", "a", None), self.cards()[-1])
        self.assertEqual("new", self.chat(model="new").json()["model"])
        exchange = self.post("/v1/unload_lora_adapter", {"lora_name": "new"})
        self.assertEqual(b"Success: LoRA adapter 'new' removed successfully.", exchange.body)
        self.assertNotIn("content-type", exchange.headers)
        self.assertEqual((404, 3), (self.chat(model="new").status, len(self.cards())))

    def test_unload_while_in_use(self) -> None:
        """A request for an adapter that is unloaded meanwhile is served to its end."""
        self.make_rank("--lora-modules", "sql=/p", "--time-to-first-token", "1s")
        exchange = self.complete(model="sql")
        self.post("/v1/unload_lora_adapter", {"lora_name": "sql"})
        self.clock.pump([0, 1])
        self.assertEqual((200, "sql"), (exchange.status, exchange.json()["model"]))

    def test_unload_and_load_again(self) -> None:
        """A name that is loaded again while the old adapter still runs means the new one; the old goes to its end."""
        self.make_rank(
            "--lora-modules", "sql=/p", "--time-to-first-token", "1s", "--max-num-seqs", "1", "--max-cpu-loras", "2",
        )  # fmt: skip
        old, waiting = self.complete(model="sql"), self.complete(model="sql")
        self.post("/v1/unload_lora_adapter", {"lora_name": "sql"})
        self.assertEqual(404, self.complete(model="sql").status)
        self.assertEqual(200, self.load(lora_name="sql", lora_path="/q")[0])
        new = self.complete(model="sql")
        self.assertEqual(2, self.adapters("memory"))
        self.clock.pump([0, 1, 0, 1, 0, 1, 0])
        self.assertEqual([200] * 3, [each.status for each in (old, waiting, new)])
        self.assertEqual((1, 1), (self.adapters("gpu"), self.adapters("memory")))

    def adapters(self, place: str) -> float:
        """Count the adapters in a place."""
        return self.sample(f'vllmsim:lora_adapters{{engine="0",model_name="Qwen/Qwen3-0.6B",place="{place}"}}')

    def test_unloaded_for_good(self) -> None:
        """The slot of an adapter that is unloaded is given back when its last sequence ends, or leaves."""
        self.make_rank("--lora-modules", "sql=/p", "--time-to-first-token", "1s", "--max-num-seqs", "1")
        self.complete(model="sql")
        waiting = self.complete(model="sql")
        self.post("/v1/unload_lora_adapter", {"lora_name": "sql"})
        self.clock.pump([0, 0.5])
        self.assertEqual(1, self.adapters("gpu"))
        waiting.drop()
        self.clock.pump([0, 1, 0])
        self.assertEqual((0, 0), (self.adapters("gpu"), self.adapters("memory")))

    def test_load_time(self) -> None:
        """The first answer of an adapter waits until it is read from disk, those that come meanwhile for the rest."""
        self.make_rank(
            "--lora-modules", "a=/a", "b=/b", "--time-to-first-token", "1s", "--lora-load-time", "10s",
            "--max-loras", "2",
        )  # fmt: skip
        first = self.complete(model="a", max_tokens=1)
        self.clock.advance(4)
        base, second = self.complete(max_tokens=1), self.complete(model="a", max_tokens=1)
        self.clock.pump([0.99, 0.01])
        self.assertTrue(base.complete)
        self.clock.pump([5.99])
        self.assertEqual((False, False), (first.complete, second.complete))
        self.clock.pump([0.01, 0])
        self.assertEqual((True, True), (first.complete, second.complete))
        third = self.complete(model="a", max_tokens=1)
        self.clock.pump([0, 1, 0])
        self.assertTrue(third.complete)
        self.assertEqual(1, self.sample('vllmsim:lora_loads_total{engine="0",model_name="Qwen/Qwen3-0.6B"}'))

    def test_load_by_hand(self) -> None:
        """Loading is answered when the adapter is there; who has asked for it meanwhile waits for the rest."""
        self.make_rank("--time-to-first-token", "1s", "--lora-load-time", "10s")
        loading = self.post("/v1/load_lora_adapter", {"lora_name": "new", "lora_path": "/p"})
        self.clock.advance(4)
        asked = self.complete(model="new", max_tokens=1)
        self.clock.pump([5.9])
        self.assertEqual((0, 0), (loading.status, asked.status))
        self.clock.pump([0.1, 0.9])
        self.assertEqual((200, 0), (loading.status, asked.status))
        self.clock.pump([0.1, 0])
        self.assertEqual(200, asked.status)
        again = self.post("/adapters", {"name": "other", "src": "/p"})
        again.drop()
        self.clock.advance(0)
        self.assertEqual(["new", "other"], [card[0] for card in self.cards()[1:]])

    def test_limits_change(self) -> None:
        """When the operator lets more adapters or more sequences run those who wait start at once."""
        self.make_rank(
            "--lora-modules", "a=/a", "b=/b", "--time-to-first-token", "10s", "--max-num-seqs", "2", "--model", "m",
        )  # fmt: skip
        for model in ("a", "b", "m", "m"):
            self.complete(model=model, max_tokens=1)
        self.clock.advance(0)
        self.assertEqual((2, 1, 1), self.counts())
        self.live.swap(evolve(self.live.current, max_num_seqs=4))
        self.clock.advance(0)
        self.assertEqual((3, 0, 1), self.counts())
        self.live.swap(evolve(self.live.current, max_loras=2))
        self.clock.advance(0)
        self.assertEqual((4, 0, 0), self.counts())
        self.live.swap(evolve(self.live.current, max_num_seqs=1, max_waiting_queue_length=0))
        self.assertEqual(429, self.complete(model="m").status)
        self.live.swap(evolve(self.live.current, max_num_queued_reqs=4))
        self.assertEqual(503, self.complete(model="m").status)
        self.live.swap(evolve(self.live.current, max_num_queued_reqs=None, max_num_queued_tokens=1))
        self.assertEqual(503, self.complete(model="m").status)

    def counts(self) -> tuple[float, ...]:
        """Tell how many run, how many wait for a slot, and how many for an adapter."""
        reasons = (
            f'_waiting_by_reason{{engine="0",model_name="m",reason="{each}"}}' for each in ("capacity", "deferred")
        )
        names = ('_running{engine="0",model_name="m"}', *reasons)
        return tuple(self.sample(f"vllm:num_requests{name}") for name in names)

    def test_paths(self) -> None:
        """A server that looks at paths loads what is an adapter, and says of others that they are none."""
        place = Path(self.mktemp())
        self.make_rank("--lora-verify-paths", "--lora-modules", "sql=/nowhere")
        for path in (str(place), "/" + "x" * 300, "\0", "~nobody-of-this-name"):
            error = self.post("/v1/load_lora_adapter", {"lora_name": "new", "lora_path": path}).json()["error"]
            self.assertEqual((404, "NotFoundError", None), (error["code"], error["type"], error["param"]))
            self.assertEqual(f"Loading lora new failed: No adapter found for {path}", error["message"])
        self.assertEqual(404, self.post("/adapters", {"name": "new", "src": str(place)}).status)
        self.assertEqual(400, self.load(lora_name="sql", lora_path=str(place))[0])
        place.mkdir()
        place.joinpath("adapter_config.json").write_text("{}")
        self.assertEqual(200, self.load(lora_name="new", lora_path=str(place))[0])

    def test_closed(self) -> None:
        """A server that is told to has no such routes, as vLLM has none by default, and serves its adapters."""
        self.make_rank("--allow-runtime-lora-updating=false", "--lora-modules", "sql=/p")
        for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters"):
            self.assertEqual((404, {"detail": "Not Found"}), ((e := self.post(path, {})).status, e.json()))
        self.assertEqual(200, self.complete(model="sql").status)

    def test_refused(self) -> None:
        """A name that is taken, and nothing in place of a name or a path, are wrong input, in vLLM's words."""
        taken = (
            "The lora adapter 'sql' has already been loaded. "
            "If you want to load the adapter in place, set 'load_inplace' to True."
        )
        missing = "Both 'lora_name' and 'lora_path' must be provided."
        for name, path, message in (
            ("sql", "/q", taken),
            ("b", "/q", "The lora adapter name 'b' conflicts with a served base model."),
            ("", "/q", missing), ("x", "", missing),
            ("x" * 2000, "/q", "Name and path of a LoRA adapter must have at most 1024 characters."),
        ):  # fmt: skip
            error = self.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}).json()["error"]
            self.assertEqual({"message": message, "type": "InvalidUserInput", "param": None, "code": 400}, error)
        self.assertEqual(3, len(self.cards()))
        self.assertEqual(200, self.load(lora_name="sql", lora_path="/q", load_inplace=True)[0])
        self.assertEqual(("sql", "/q", "a", None), self.cards()[-1])
        for name, status, kind, message in (
            ("x", 404, "NotFoundError", "The lora adapter 'x' cannot be found."),
            ("a", 404, "NotFoundError", "The lora adapter 'a' cannot be found."),
            ("", 400, "InvalidUserInput", "'lora_name' needs to be provided to unload a LoRA adapter."),
        ):
            error = self.post("/v1/unload_lora_adapter", {"lora_name": name}).json()["error"]
            self.assertEqual({"message": message, "type": kind, "param": None, "code": status}, error)
        error = self.complete(model="x").json()["error"]
        self.assertEqual((404, "NotFoundError", "model"), (error["code"], error["type"], error["param"]))
        self.assertEqual("The model `x` does not exist. Valid aliases: a, b.", error["message"])

    def test_bad_bodies(self) -> None:
        """A body without a member, or with one of a wrong type, is refused in vLLM's form."""
        for path, body, param in (
            ("/v1/load_lora_adapter", {"lora_name": "x"}, "body.lora_path"),
            ("/v1/load_lora_adapter", {"lora_name": 1, "lora_path": "/p"}, "body.lora_name"),
            ("/v1/unload_lora_adapter", {}, "body.lora_name"),
            ("/adapters", {"name": "x"}, "body.src"),
            ("/adapters", b"", "body"),
        ):
            error = self.post(path, body).json()["error"]
            self.assertEqual((400, "Bad Request", param), (error["code"], error["type"], error["param"]))
        exchange = self.connect().send("POST", "/v1/load_lora_adapter", b"{}")
        self.assertIn("Only 'application/json' is allowed", exchange.json()["error"]["message"])

    def test_sagemaker(self) -> None:
        """SageMaker has its own way to load and unload, with the name in the path."""
        exchange = self.post("/adapters", {"name": "my adapter", "src": "s3://x"})
        self.assertEqual((200, b"Adapter my adapter registered"), (exchange.status, exchange.body))
        self.assertEqual(("my adapter", "s3://x", "a", None), self.cards()[-1])
        self.assertEqual(400, self.post("/adapters", {"name": "my adapter", "src": "s3://y"}).status)
        exchange = self.connect().send("DELETE", "/adapters/my%20adapter")
        self.assertEqual((200, b"Adapter my adapter unregistered"), (exchange.status, exchange.body))
        exchange = self.connect().send("DELETE", "/adapters/my%20adapter")
        self.assertEqual((404, "NotFoundError"), (exchange.status, exchange.json()["error"]["type"]))
        self.assertEqual(405, self.get("/adapters/x").status)
        counted = 'http_requests_total{handler="/adapters/{adapter_name}",method="DELETE",status="2xx"}'
        self.assertEqual(1, self.sample(counted))
