"""Loading and unloading LoRA adapters."""

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

    def test_refused(self) -> None:
        """A name that is taken, and nothing in place of a name or a path, are wrong input."""
        for fields in (
            {"lora_name": "sql", "lora_path": "/q"}, {"lora_name": "b", "lora_path": "/q"},
            {"lora_name": "", "lora_path": "/q"}, {"lora_name": "x", "lora_path": ""},
            {"lora_name": "x" * 2000, "lora_path": "/q"},
        ):  # fmt: skip
            error = self.post("/v1/load_lora_adapter", fields).json()["error"]
            self.assertEqual((400, "InvalidUserInput", None), (error["code"], error["type"], error["param"]))
        self.assertEqual(3, len(self.cards()))
        self.assertEqual(200, self.load(lora_name="sql", lora_path="/q", load_inplace=True)[0])
        self.assertEqual(("sql", "/q", "a", None), self.cards()[-1])
        error = self.post("/v1/unload_lora_adapter", {"lora_name": "x"}).json()["error"]
        self.assertEqual((404, "NotFoundError", None), (error["code"], error["type"], error["param"]))

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
