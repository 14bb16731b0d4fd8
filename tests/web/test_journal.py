"""What the journal tells of requests, over HTTP."""

import gc
from itertools import pairwise
from sys import getsizeof
from typing import Any

from tests.harness import EPOCH, Exchange, RankTestCase
from tests.web.test_delivery import Narrow
from vllmsim import turns

HI = {"messages": [{"role": "user", "content": "one two three"}]}


class JournalTestCase(RankTestCase):
    """A rank of two slots, whose tokens come 125 ms apart, the first after a second."""

    words: tuple[str, ...] = ()

    def setUp(self) -> None:
        """Start the rank."""
        self.make_rank(
            "--max-num-seqs", "2", "--time-to-first-token", "1s", "--inter-token-latency", "125ms", "--mode", "echo",
            *self.words,
        )  # fmt: skip

    def requests(self, query: str = "") -> list[dict[str, Any]]:
        """List the requests that pass some filters."""
        exchange = self.get(f"/admin/requests?{query}")
        self.assertEqual(200, exchange.status, exchange.body)
        listed: list[dict[str, Any]] = exchange.json()["requests"]
        return listed

    def only(self, query: str = "") -> dict[str, Any]:
        """Look at the only request that passes some filters."""
        [request] = self.requests(query)
        return request

    def outcomes(self, query: str = "") -> list[tuple[str, str | None, int | None]]:
        """List routes, outcomes and statuses."""
        return [(each["route"], each["outcome"], each["status"]) for each in self.requests(query)]

    def advance(self, seconds: float) -> None:
        """Let time pass in steps, so that all that is due happens when it is."""
        self.clock.pump([0.125] * round(seconds * 8))


class RememberedTests(JournalTestCase):
    """Which requests are remembered, and what of them."""

    words = ("--enable-responses-store", "--lora-modules", '{"name": "poet", "path": "/p"}')

    def test_whole(self) -> None:
        """A request that is answered in one piece is remembered with all that became of it."""
        self.clock.advance(5)
        sent = self.chat(
            "one two three", n=2, temperature=0.3, Authorization="x", model="Qwen/Qwen3-0.6B", user="u",
        )  # fmt: skip
        self.advance(1.375)
        self.assertEqual(200, sent.status)
        answer = sent.json()
        request = self.only("bodies=1")
        self.assertEqual(
            (answer["id"], answer["id"].partition("-")[2], [answer["id"]]),
            (request["id"], request["request_id"], request["engine_ids"]),
        )
        self.assertEqual(
            ("done", "completed", 200, None), tuple(request[n] for n in ("state", "outcome", "status", "error"))
        )
        usage = answer["usage"]
        self.assertEqual(
            (usage["prompt_tokens"], usage["completion_tokens"]),
            (request["prompt_tokens"], request["generated_tokens"]),
        )
        self.assertEqual(
            [{"index": index, "tokens": 4, "finish_reason": "stop"} for index in (0, 1)], request["choices"]
        )
        self.assertEqual({"n": 2, "temperature": 0.3}, request["sampling"])
        times = {"queued": 0.0, "started": 0.0, "first_token": 1.0, "last_token": 1.375, "finished": 1.375}
        self.assertEqual((EPOCH, times), (request["arrived"], request["times"]))
        self.assertEqual((False, 1.0), (request["stream"], request["planned_time_to_first_token"]))
        self.assertEqual("u", request["body"]["user"])

    def test_states(self) -> None:
        """A request is seen where it is, with its sequences; a stream has its status while it runs."""
        stream, _ = self.chat("one two three", stream=True, n=2), self.chat("four")
        counted = [(each["state"], each["waiting"], each["running"], each["status"]) for each in self.requests()]
        self.assertEqual([("running", 0, 2, None), ("waiting", 1, 0, None)], counted)
        self.advance(1.125)
        self.assertEqual(("running", 200), tuple(self.requests()[0][name] for name in ("state", "status")))
        self.advance(0.25)
        self.assertTrue(stream.complete)
        self.assertEqual(
            [("done", 0, 0), ("running", 0, 1)], [(r["state"], r["waiting"], r["running"]) for r in self.requests()]
        )
        self.assertEqual(1.375, self.requests()[1]["times"]["started"])

    def test_sequences(self) -> None:
        """Beside requests it says how many sequences wait and run, of each model, whatever the filters pass."""
        self.chat(n=2)
        self.chat(model="poet")
        counts = {"Qwen/Qwen3-0.6B": {"waiting": 0, "running": 2}, "poet": {"waiting": 1, "running": 0}}
        self.assertEqual(counts, self.get("/admin/requests?limit=0").json()["sequences"])
        self.advance(3)
        self.assertEqual({}, self.get("/admin/requests").json()["sequences"])

    def test_client_left(self) -> None:
        """A client that leaves is known, with what it got; so is one that leaves the queue."""
        stream, _, waiting = self.chat("one two three", stream=True), self.chat("x"), self.chat("y")
        waiting.drop()
        self.advance(1.25)
        stream.drop()
        first = self.requests()[0]
        self.assertEqual(
            ("disconnected", 200, 3), tuple(first[name] for name in ("outcome", "status", "generated_tokens"))
        )
        self.assertEqual([{"index": 0, "tokens": 3, "finish_reason": None}], first["choices"])
        self.assertEqual((0, 0), (first["waiting"], first["running"]))
        last = self.requests()[2]
        self.assertEqual(
            ("disconnected", None, 0, [], 0, 0),
            tuple(last[name] for name in ("outcome", "status", "generated_tokens", "choices", "waiting", "running")),
        )

    def test_aborted(self) -> None:
        """What an operator ends is known, also of a request that waited."""
        for text in ("one two three", "x", "y"):
            self.chat(text)
        self.advance(1.125)
        self.post("/abort_requests", {})
        aborted = [(each["outcome"], each["choices"]) for each in self.requests()]
        expected = [("aborted", [{"index": 0, "tokens": tokens, "finish_reason": "abort"}]) for tokens in (2, 2, 0)]
        self.assertEqual(expected[:1] + expected[2:], aborted[:1] + aborted[2:])

    def test_refused(self) -> None:
        """Requests that were wrong or found no room are remembered with what their clients were told."""
        self.post("/v1/chat/completions", b"{")
        self.post("/v1/chat/completions", {"messages": "x"})
        self.post("/v1/completions", {"prompt": "x", "model": "nix"})
        self.post("/v1/embeddings", {"input": "x", "model": "nix"})
        self.complete("x", max_tokens=-5)
        self.post("/pause", b"")
        self.complete("x")
        self.post("/v1/decisions", {"x": 1})
        told = [(each["outcome"], each["status"], each["error"]["type"], each["asked"]) for each in self.requests()]
        expected = [
            ("invalid", 400, "Bad Request", None), ("invalid", 400, "Bad Request", None),
            ("invalid", 404, "NotFoundError", "nix"), ("invalid", 404, "NotFoundError", "nix"),
            ("invalid", 400, "BadRequestError", None), ("refused", 503, "ServiceUnavailableError", None),
            ("failed", 501, "NotImplementedError", None),
        ]  # fmt: skip
        self.assertEqual(expected, told)

    def test_stray(self) -> None:
        """What is sent to a path that is none, or with a slash too many, is remembered; looking around is not."""
        self.post("/chat/completions", HI)
        self.post("/v1/chat/completions/", HI)
        self.get("/chat/completions")
        self.get("/v1/chat/completions")
        self.assertEqual([("none", "completed", 404), ("/v1/chat/completions/", "completed", 307)], self.outcomes())
        self.assertEqual("/chat/completions", self.requests()[0]["path"])

    def test_others(self) -> None:
        """Requests for tokens and vectors are remembered; those of operators, probes and readers are not."""
        for path in ("/health", "/metrics", "/v1/models", "/version", "/openapi.json", "/docs", "/admin/requests"):
            self.get(path)
        for path, value in (
            ("/tokenize", {"prompt": "one two", "model": "Qwen/Qwen3-0.6B"}), ("/detokenize", {"tokens": [1]}),
            ("/v1/messages/count_tokens", {"model": "poet", **HI}), ("/v1/chat/completions/render", HI),
            ("/v1/embeddings", {"input": ["one", "two three"]}), ("/abort_requests", {}),
            ("/inference/v1/abort_requests", {"request_ids": ["x"]}), ("/sleep", {}), ("/wake_up", {}),
            ("/v1/load_lora_adapter", {"lora_name": "x", "lora_path": "y"}),
        ):  # fmt: skip
            self.post(path, value)
        self.advance(1)
        routes = [
            "/tokenize",
            "/detokenize",
            "/v1/messages/count_tokens",
            "/v1/chat/completions/render",
            "/v1/embeddings",
        ]
        self.assertEqual([(route, "completed", 200) for route in routes], self.outcomes())
        embeddings = self.requests()[-1]
        self.assertEqual((2, 3, "embd-"), (embeddings["prompts"], embeddings["prompt_tokens"], embeddings["id"][:5]))
        self.assertEqual(["Qwen/Qwen3-0.6B", "poet"], [each["asked"] for each in self.requests() if each["asked"]])
        self.assertEqual(2, self.requests("route=/tokenize")[0]["prompt_tokens"])

    def test_pooling_waits(self) -> None:
        """A request for vectors is seen while it takes its time, though its inputs are no sequences."""
        for _ in range(3):
            self.post("/v1/embeddings", {"input": "x"})
        self.assertEqual(["running", "running", "waiting"], [each["state"] for each in self.requests()])
        self.assertEqual([0] * 3, [each["running"] + each["waiting"] for each in self.requests()])
        self.advance(2)
        self.assertEqual([1.0, 1.0, 2.0], [each["times"]["finished"] for each in self.requests()])

    def test_adapter(self) -> None:
        """An adapter that answers is named."""
        self.complete("x", model="poet")
        self.assertEqual(("poet", "poet", "poet"), tuple(self.only()[name] for name in ("model", "asked", "adapter")))
        self.assertEqual([], self.requests("adapter="))

    def test_background(self) -> None:
        """A response in the background is remembered until its end, not its client's."""
        started = self.post("/v1/responses", {"input": "one two three", "background": True, "store": True})
        self.assertEqual(200, started.status)
        self.assertEqual(("running", 200), tuple(self.only()[name] for name in ("state", "status")))
        started.drop()
        self.advance(1.375)
        done = self.only()
        self.assertEqual(
            ("done", "completed", 4, started.json()["id"]),
            tuple(done[name] for name in ("state", "outcome", "generated_tokens", "id")),
        )
        self.assertEqual(1.375, done["times"]["finished"])

    def test_background_cancelled(self) -> None:
        """One that a client cancels is aborted, and frees its slot."""
        started = self.post("/v1/responses", {"input": "one two three", "background": True, "store": True})
        self.advance(1.125)
        self.post(f"/v1/responses/{started.json()['id']}/cancel", b"")
        done = self.only()
        self.assertEqual(("aborted", 2, 0), tuple(done[name] for name in ("outcome", "generated_tokens", "running")))

    def test_background_refused(self) -> None:
        """One that is refused ends with its client's exchange."""
        self.post("/pause", b"")
        refused = self.post("/v1/responses", {"input": "x", "background": True, "store": True})
        self.assertEqual((503, [("/v1/responses", "refused", 503)]), (refused.status, self.outcomes()))

    def test_broken(self) -> None:
        """An error after the first token is a failure, though the status is 200."""
        self.chat("one two three", stream=True)
        self.advance(1)
        self.rank.simulator.requests.dismiss()
        self.assertEqual([("/v1/chat/completions", "failed", 200)], self.outcomes())
        self.assertEqual("ServiceUnavailableError", self.only()["error"]["type"])

    def test_ours(self) -> None:
        """An error of ours is a failure."""
        self.patch(type(self.rank.simulator), "submit", lambda *_: 1 // 0)
        self.chat("x")
        self.assertEqual([("/v1/chat/completions", "failed", 500)], self.outcomes())
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_unfinished(self) -> None:
        """Requests that are under way when the rank stops for good have an end too."""
        self.chat("x")
        self.rank.journal.stop()
        self.assertEqual([("/v1/chat/completions", "unfinished", None)], self.outcomes())


class LimitTests(JournalTestCase):
    """Bodies that are too large."""

    words = ("--max-request-body-size-mb", "1", "--journal-body-bytes", "5")

    def test_cut(self) -> None:
        """As much of a body is kept as the operator wants, and how long it was."""
        self.complete("x")
        request = self.only("bodies=true")
        self.assertEqual(('{"pro', 15), (request["body"], request["body_bytes"]))

    def test_refused(self) -> None:
        """A body that is thrown away is counted, and one that is never sent is none."""
        self.post("/v1/completions", b" " * ((1 << 20) + 1))
        self.connect().send_bytes(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n"
        )
        shown = [(each["status"], each["body_bytes"], each["body"]) for each in self.requests("bodies=true")]
        self.assertEqual([(413, (1 << 20) + 1, None), (413, 0, None)], shown)


class MemoryTests(JournalTestCase):
    """What a request leaves behind."""

    words = ("--max-model-len", "1M", "--journal-body-bytes", "100")

    def test_small(self) -> None:
        """A prompt of hundreds of thousands of words, and long lists beside it, leave a record of some kilobytes."""
        fields = {"stop_token_ids": list(range(50_000)), "temperature": 0.5, "user": "u" * 100_000}
        for stream in (False, True):
            sent = self.chat("word " * 200_000, max_tokens=3, stream=stream, **fields)
            self.advance(3)
            self.assertEqual(200, sent.status)
        self.post("/v1/chat/completions", {"model": "x" * 500_000, **HI})
        self.post("/v1/embeddings", {"input": ["word " * 1000] * 200, "model": "nix"})
        for record in self.rank.journal.records():
            self.assertLess(sum(map(getsizeof, reachable(record))), 10_000)


def reachable(value: object) -> list[object]:
    """Find everything that a value keeps."""
    found: dict[int, object] = {}
    new = [value]
    while new:
        each = new.pop()
        if id(each) not in found and not isinstance(each, type):
            found[id(each)] = each
            new += gc.get_referents(each)
    return list(found.values())


class LookingTests(JournalTestCase):
    """How requests are looked at."""

    def send(self, count: int) -> list[Exchange]:
        """Send requests that are refused at once."""
        return [self.post("/v1/completions", {"prompt": f"prompt {number}", "model": "nix"}) for number in range(count)]

    def test_order(self) -> None:
        """The newest is last, or first if asked for, and no more are shown than are wanted; all are counted."""
        self.send(3)
        orders = []
        for query in ("", "order=desc", "limit=2", "order=desc&limit=1", "limit=0"):
            answer = self.get(f"/admin/requests?{query}").json()
            orders.append([each["number"] for each in answer["requests"]])
            self.assertEqual((3, 0), (answer["total"], answer["dropped"]))
        self.assertEqual([[1, 2, 3], [3, 2, 1], [1, 2], [3], []], orders)

    def test_one(self) -> None:
        """One request is shown with its body, by its id or its number."""
        sent = self.complete("x", request_id="mine")
        for name in ("1", "mine", "cmpl-mine", "cmpl-mine-0"):
            shown = self.get(f"/admin/requests/{name}").json()
            self.assertEqual(("cmpl-mine", "x"), (shown["id"], shown["body"]["prompt"]))
        missing = self.get("/admin/requests/2")
        self.assertEqual((404, "NotFoundError"), (missing.status, missing.json()["error"]["type"]))
        sent.drop()

    def test_forget(self) -> None:
        """What has ended is forgotten when that is wanted."""
        self.send(2)
        self.complete("x")
        self.assertEqual({"forgotten": 2}, self.connect().send("DELETE", "/admin/requests").json())
        self.assertEqual([3], [each["number"] for each in self.requests()])

    def test_wrong(self) -> None:
        """An unknown filter is refused, with the names of those that there are."""
        refused = self.get("/admin/requests?statis=1")
        self.assertEqual(400, refused.status)
        self.assertIn("there are id, model,", refused.json()["error"]["message"])

    def test_wait(self) -> None:
        """Who waits for requests of a kind gets them when the last has ended."""
        waiting = self.get("/admin/requests?wait_for=2&timeout=5&outcome=completed")
        self.send(2)
        self.complete("x")
        self.advance(1.5)
        self.complete("x")
        self.assertEqual(0, waiting.status)
        self.advance(1.5)
        answer = waiting.json()
        self.assertEqual([3, 4], [each["number"] for each in answer["requests"]])

    def test_wait_in_vain(self) -> None:
        """Who waits too long gets what there is."""
        waiting = self.get("/admin/requests?wait_for=2&timeout=5")
        self.send(1)
        self.advance(5)
        self.assertEqual((200, 1), (waiting.status, waiting.json()["total"]))

    def test_leaves(self) -> None:
        """Who waits and leaves is forgotten."""
        waiting = self.get("/admin/requests?wait_for=2&timeout=5")
        waiting.drop()
        self.send(2)
        self.assertEqual(2, len(self.requests()))

    def test_large(self) -> None:
        """A thousand requests with their bodies are written as fast as the client reads."""
        for _ in range(1000):
            self.post("/v1/completions", {"prompt": "x " * 1500, "model": "nix"})
        exchange = self.get("/admin/requests?bodies=true")
        self.assertEqual((1000, True), (len(exchange.json()["requests"]), exchange.complete))
        self.assertGreater(len(exchange.body), 3_000_000)

    def test_slow_reader(self) -> None:
        """A client that reads slowly has no more written than it takes."""
        for _ in range(100):
            self.post("/v1/completions", {"prompt": "x " * 1500, "model": "nix"})
        exchange = Exchange(self.rank.site, Narrow())
        self.exchanges.append(exchange)
        exchange.send("GET", "/admin/requests?bodies=true")
        lengths = []
        while not exchange.complete:
            lengths.append(len(exchange.raw))
            exchange.transport.producer.resumeProducing()  # type: ignore[union-attr]
        self.assertEqual(100, len(exchange.json()["requests"]))
        self.assertTrue(all(after - before < 80_000 for before, after in pairwise([0, *lengths])), lengths)
        self.assertGreater(len(lengths), 4)

    def test_turns(self) -> None:
        """While requests are written others have their turns."""
        self.send(3)
        self.patch(turns, "TURN", -1.0)
        exchange = self.get("/admin/requests")
        self.assertEqual(0, exchange.status)
        self.clock.advance(0)
        self.assertEqual(3, len(exchange.json()["requests"]))


class OffTests(JournalTestCase):
    """A rank without a journal."""

    words = ("--journal-size", "0")

    def test_off(self) -> None:
        """Nothing is remembered."""
        self.complete("x")
        self.advance(1)
        self.assertEqual(
            {"requests": [], "total": 0, "dropped": 0, "sequences": {}}, self.get("/admin/requests").json()
        )


class ElsewhereTests(JournalTestCase):
    """Administrators who have a port of their own."""

    words = ("--admin-endpoint", "tcp:9999")

    def test_elsewhere(self) -> None:
        """They see what clients send, and what they send themselves is not remembered."""
        self.complete("x", model="nix")
        assert self.rank.admin is not None
        exchange = Exchange(self.rank.admin)
        self.exchanges.append(exchange)
        exchange.send("POST", "/nowhere", b"{}")
        self.assertEqual(404, exchange.status)
        exchange.transport.clear()
        routes = [each["route"] for each in exchange.send("GET", "/admin/requests").json()["requests"]]
        self.assertEqual((["/v1/completions"], 404), (routes, self.get("/admin/requests").status))
