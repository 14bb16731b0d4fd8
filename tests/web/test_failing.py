"""Requests that fail before they are served."""

import json
from typing import Any

from tests.harness import Exchange, RankTestCase
from vllmsim.failures.injection import FailureInjection
from vllmsim.faults import Facts

HI = [{"role": "user", "content": "hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI},
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"model": "m1", "messages": HI, "max_tokens": 5},
    "/inference/v1/generate": {"token_ids": [1, 2], "sampling_params": {"max_tokens": 5}},
    "/v1/chat/completions/batch": {"messages": [HI]},
    "/generative_scoring": {"query": "a", "items": ["b"], "label_token_ids": [1]},
    "/invocations": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v2/embed": {"texts": ["hi"], "embedding_types": ["float"]},
    "/pooling": {"input": "hi", "task": "classify"},
    "/classify": {"input": "hi"},
    "/score": {"queries": "a", "documents": "b"},
    "/rerank": {"query": "a", "documents": ["b"]},
}
"""A body for each route whose requests may fail."""


class FailingCase(RankTestCase):
    """Ranks with rules."""

    def serve(self, *rules: dict[str, Any], **options: Any) -> None:
        """Have a rank whose requests fail by some rules."""
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        self.make_rank("--model", "m", "--served-model-name", "m1", "m2", "--failure-rules", json.dumps(rules),
                       "--lora-modules", "lora1=/p", "--mode", "echo", *words)  # fmt: skip

    def told(self, exchange: Exchange) -> tuple[int, Any]:
        """Read the status and the message of an error."""
        return exchange.status, exchange.json()["error"]["message"]

    def tallies(self) -> dict[str, tuple[int, int]]:
        """Read the counters of all rules."""
        rules = self.get("/admin/failures").json()["rules"]
        return {rule["name"]: (rule["matched"], rule["failed"]) for rule in rules}


class OrderTests(FailingCase):
    """When it is decided that a request fails."""

    def test_every_route(self) -> None:
        """Whatever costs the model time may fail, in the shape of its route, before its model is looked for."""
        self.serve({"status": 503, "message": "No."})
        for path, body in BODIES.items():
            exchange = self.post(path, {**body, "model": "nope"})
            if path == "/v1/messages":
                expected: Any = {"type": "error", "error": {"type": "overloaded_error", "message": "No."}}
            else:
                expected = {"error": {"message": "No.", "type": "InternalServerError", "param": None, "code": 503}}
            self.assertEqual((503, expected), (exchange.status, exchange.json()), path)
            self.assertNotIn("retry-after", exchange.headers)
        self.assertEqual({"rule-1": (len(BODIES), len(BODIES))}, self.tallies())

    def test_header(self) -> None:
        """A request is answered with the status that it asks for, before its model is looked for."""
        self.serve()
        for path, body in BODIES.items():
            exchange = self.post(path, {**body, "model": "nope"}, X_Return_Error="422")
            self.assertEqual(
                (422, "Simulated error triggered by X-Return-Error header (code 422)"), self.told(exchange), path
            )
        error = self.post("/v1/completions", BODIES["/v1/completions"], X_Return_Error="429").json()["error"]
        self.assertEqual(("RateLimitError", None, 429), (error["type"], error["param"], error["code"]))
        self.assertEqual({"name": "X-Return-Error", "matched": 15, "failed": 15},
                         self.get("/admin/failures").json()["header"])  # fmt: skip

    def test_nothing_to_compute(self) -> None:
        """What costs a model no time never fails, and is counted by no rule."""
        self.serve({"status": 503}, failure_injection_rate=100)
        for path, body in (
            ("/v1/chat/completions/render", {"messages": HI}),
            ("/v1/completions/derender", {"generate_responses": [{"request_id": "a", "choices": []}]}),
            ("/v1/messages/count_tokens", BODIES["/v1/messages"]),
            ("/tokenize", {"prompt": "hi"}),
        ):
            self.assertEqual(200, self.post(path, body, X_Return_Error="422").status, path)
        self.assertEqual({"rule-1": (0, 0)}, self.tallies())

    def test_wrong_header(self) -> None:
        """A header that is no status is told so, on every route."""
        self.serve()
        for path, body in BODIES.items():
            status, message = self.told(self.post(path, body, X_Return_Error="abc"))
            self.assertEqual((400, 'Invalid X-Return-Error header value "abc": must be an integer'), (status, message))

    def test_statuses(self) -> None:
        """A status without a name is sent as well as any, and one without a body has none."""
        self.serve()
        exchange = self.post("/v1/completions", {"prompt": "hi"}, X_Return_Error="599")
        self.assertTrue(exchange.raw.startswith(b"HTTP/1.1 599 Unknown\r\n"))
        self.assertEqual(599, exchange.json()["error"]["code"])
        exchange = self.post("/v1/completions", {"prompt": "hi"}, X_Return_Error="204")
        self.assertEqual((204, b"", False), (exchange.status, exchange.body, "content-length" in exchange.headers))
        exchange.transport.clear()
        exchange.send("POST", "/v1/completions", b'{"prompt":"hi"}', Content_Type="application/json")
        self.clock.advance(0)
        self.assertEqual(200, exchange.status)

    def test_without_journal(self) -> None:
        """Requests fail too where no journal remembers them."""
        self.serve({"status": 503}, journal_size=0)
        self.assertEqual(503, self.complete().status)

    def test_switched_off(self) -> None:
        """The header can be switched off."""
        self.serve(return_error_header="false")
        self.assertEqual(200, self.post("/v1/completions", {"prompt": "hi"}, X_Return_Error="422").status)

    def test_malformed(self) -> None:
        """A body that is none comes before everything, and counts for no rule."""
        self.serve({"status": 503})
        bodies = [*((path, b"{") for path in BODIES), ("/v1/chat/completions", b'{"messages":3}')]
        for path, body in bodies:
            exchange = self.post(path, body, X_Return_Error="422")
            self.assertEqual((400, "Bad Request"), (exchange.status, exchange.json()["error"]["type"]), path)
        self.assertEqual({"rule-1": (0, 0)}, self.tallies())

    def test_invalid(self) -> None:
        """What else is wrong with a request comes after its failure; if it does not fail, it is told that."""
        self.serve({"status": 503, "first": 1}, {"name": "cut", "cut": 0})
        body = {"prompt": "hi", "stream_options": {"include_usage": True}}
        self.assertEqual(503, self.post("/v1/completions", body).status)
        self.assertEqual(400, self.post("/v1/completions", body).status)
        self.assertEqual(404, self.complete(model="nope").status)
        self.assertEqual({"rule-1": (3, 1), "cut": (0, 0)}, self.tallies())

    def test_other_routes(self) -> None:
        """What costs the model nothing does not fail."""
        self.serve({"status": 503})
        for path in ("/v1/models", "/health", "/metrics"):
            self.assertEqual(200, self.get(path, X_Return_Error="422").status)
        self.assertEqual(200, self.post("/tokenize", {"prompt": "hi"}, X_Return_Error="422").status)

    def test_large_bodies(self) -> None:
        """A large body is read in a thread, and its model and its wishes are known all the same."""
        self.serve({"status": 503, "model": "lora1", "stream": True}, {"name": "b", "status": 502, "model": "nope"})
        text = "x " * 20_000
        self.assertEqual(503, self.complete(text, model="lora1", stream=True).status)
        self.assertEqual(502, self.complete(text, model="nope").status)
        self.assertEqual(400, self.complete(text, model="m1").status)


class ChanceTests(FailingCase):
    """Failures by chance."""

    def test_all(self) -> None:
        """With a rate of 100 every request fails as one of the types, of the model's own name."""
        self.serve(failure_injection_rate=100, failure_types="model_not_found")
        for path, body in BODIES.items():
            self.assertEqual((404, "The model 'm-nonexistent' does not exist"), self.told(self.post(path, body)), path)
        self.assertEqual(
            {"name": "failure-injection-rate", "matched": len(BODIES), "failed": len(BODIES)},
            self.get("/admin/failures").json()["chance"],
        )

    def test_once_for_all_choices(self) -> None:
        """A request fails as a whole, however many choices it wants."""
        self.serve(failure_injection_rate=100, failure_types="server_error")
        self.complete(["a", "b", "c"], n=3)
        self.assertEqual(1, self.get("/admin/failures").json()["chance"]["matched"])
        self.assertEqual(
            1.0,
            self.sample('vllmsim:injected_failures_total{engine="0",model_name="m1",rule="",type="server_error"}'),
        )


class MatchTests(FailingCase):
    """What rules know of a request."""

    def facts(self, path: str, body: dict[str, Any], **headers: str) -> Facts:
        """Send a request, and take what is known of it."""
        asked: list[Facts] = []
        self.patch(FailureInjection, "consider", lambda _: asked.append)
        self.post(path, body, **headers)
        return asked[0]

    def test_facts(self) -> None:
        """Route, names, adapter, headers, key and whether it is a stream are those of the request."""
        self.serve({"status": 503, "header": "x-never"})
        facts = self.facts("/v1/completions", {"prompt": "hi", "model": "lora1", "stream": True},
                           Authorization="Bearer sk-1", X_Team="red")  # fmt: skip
        self.assertEqual(
            ("/v1/completions", ("lora1", "lora1"), "lora1", "sk-1", True, True, "red", None),
            (facts.route, facts.models, facts.adapter, facts.api_key, facts.streamed, facts.answerable,
             facts.header("x-TEAM"), facts.header("x-other")),
        )  # fmt: skip

    def test_names(self) -> None:
        """An alias stands for the model that it means; a name that is not served stands for itself."""
        self.serve({"status": 503, "header": "x-never"})
        for said, names in (({"model": "m2"}, ("m2", "m1")), ({}, ("m1",)), ({"model": "nope"}, ("nope",)),
                            ({"model": ""}, ("m1",))):  # fmt: skip
            facts = self.facts("/v1/completions", {"prompt": "hi", **said})
            self.assertEqual((names, None), (facts.models, facts.adapter))
            self.assertEqual(said.get("model") != "nope", facts.answerable)

    def test_anthropic_key(self) -> None:
        """Anthropic's clients send their key in a header of its own."""
        self.serve({"status": 503, "header": "x-never"})
        facts = self.facts("/v1/messages", BODIES["/v1/messages"], x_api_key="sk-ant", Authorization="Basic x")
        self.assertEqual(("sk-ant", False), (facts.api_key, facts.streamed))


class RefusalTests(FailingCase):
    """How requests are refused."""

    def test_retry_after(self) -> None:
        """Clients are told when to try again."""
        self.serve({"type": "rate_limit", "retry-after": 1.5, "times": 1})
        exchange = self.complete()
        self.assertEqual((429, "2", "1500"), (exchange.status, exchange.headers["retry-after"],
                                              exchange.headers["retry-after-ms"]))  # fmt: skip
        self.assertEqual(200, self.complete().status)

    def test_delay(self) -> None:
        """An error may come late; a client that leaves before is not waited for."""
        self.serve({"status": 503, "delay": "2s"})
        exchange, gone = self.complete(), self.complete()
        gone.drop()
        self.clock.advance(1.9)
        self.assertEqual(0, exchange.status)
        self.clock.advance(0.1)
        self.assertEqual((503, b""), (exchange.status, gone.raw))

    def test_reset(self) -> None:
        """A connection is reset before anything is written, at once or late."""
        self.serve({"reset": True, "stream": False}, {"reset": True, "delay": "1s", "name": "late"})
        for exchange, seconds in ((self.complete(), 0), (self.complete(stream=True), 1)):
            self.clock.advance(seconds)
            self.assertEqual((b"", True), (exchange.raw, exchange.transport.disconnected))
        self.assertEqual([], self.flushLoggedErrors())

    def test_connection_stays(self) -> None:
        """After an error the connection serves the next request."""
        self.serve({"status": 503, "first": 1})
        exchange = self.complete()
        exchange.transport.clear()
        exchange.send("POST", "/v1/completions", b'{"prompt":"hi"}', Content_Type="application/json")
        self.clock.advance(0)
        self.assertEqual(200, exchange.status)
