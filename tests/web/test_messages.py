"""Anthropic's routes, with a whole rank behind them."""

import json
from typing import Any

from tests.fakes import ScriptedSimulator, in_thread, prefilled, unfailing
from tests.harness import Exchange, RankTestCase
from vllmsim.api.messages.dialect import MessagesDialect
from vllmsim.errors import Unavailable
from vllmsim.inference import InferenceRequest, TextPrompt, TokenizedPrompt
from vllmsim.interfaces import ITokenSink
from vllmsim.web.answering import Answering
from vllmsim.web.inference import InferenceRoutes
from vllmsim.web.root import RankResource

LATENCY = ("--time-to-first-token", "100ms", "--inter-token-latency", "20ms")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "get_w", "description": "Weather", "input_schema": SCHEMA}


class MessagesTestCase(RankTestCase):
    """Tests that send Messages requests."""

    def ask(self, content: Any = "one two three", **fields: Any) -> Exchange:
        """Send a request; a field that is None is left out."""
        body = {"model": "m1", "max_tokens": 50, "messages": [{"role": "user", "content": content}], **fields}
        return self.post("/v1/messages", {name: value for name, value in body.items() if value is not None})

    def count(self, **fields: Any) -> Exchange:
        """Send a request to count tokens."""
        return self.post("/v1/messages/count_tokens", {"model": "m1", **fields})

    def read(self, exchange: Exchange) -> list[dict[str, Any]]:
        """Read the events of a stream so far."""
        lines = exchange.body.decode().split("\n")
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


class AnswerTests(MessagesTestCase):
    """Messages over HTTP."""

    def test_whole(self) -> None:
        """A whole answer has text, the reason of its end and the usage; headers of Anthropic's clients mean nothing."""
        self.make_rank("--mode", "echo", "--model", "m1", "--pod-name", "p")
        body = {"model": "m1", "max_tokens": 50, "messages": [{"role": "user", "content": "This is a test."}]}
        exchange = self.post("/v1/messages", body, anthropic_version="2023-06-01", x_api_key="k", X_Request_Id="abc")
        self.assertEqual((200, "application/json"), (exchange.status, exchange.headers["content-type"]))
        expected = {
            "id": "chatcmpl-abc", "type": "message", "role": "assistant",
            "content": [{"type": "text", "text": "This is a test."}], "model": "m1", "stop_reason": "end_turn",
            "usage": {"input_tokens": 10, "output_tokens": 6},
        }  # fmt: skip
        self.assertEqual(expected, exchange.json())
        self.assertEqual("p", exchange.headers["x-inference-pod"])
        self.assertNotIn("request-id", exchange.headers)

    def test_stream_in_time(self) -> None:
        """The message starts with the first token, and each delta comes in its own time."""
        self.make_rank("--mode", "echo", "--model", "m1", *LATENCY)
        exchange = self.ask("a b", stream=True)
        self.clock.advance(0.099)
        self.assertEqual(b"", exchange.raw)
        self.clock.advance(0.001)
        self.assertEqual("text/event-stream; charset=utf-8", exchange.headers["content-type"])
        self.assertEqual(
            ["message_start", "content_block_start", "content_block_delta"],
            [event["type"] for event in self.read(exchange)],
        )
        self.clock.advance(0.02)
        self.assertEqual("b", self.read(exchange)[-1]["delta"]["text"])
        self.assertFalse(exchange.complete)
        self.clock.advance(0.02)
        self.assertEqual(
            ["content_block_stop", "message_delta", "message_stop"],
            [event["type"] for event in self.read(exchange)[-3:]],
        )
        self.assertTrue(exchange.complete)

    def test_conversation(self) -> None:
        """The whole conversation is the prompt, and the last turn is what is answered: here the result of a call."""
        self.make_rank("--mode", "echo", "--model", "m1")
        messages = [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "get_w", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "It is sunny."}]},
        ]
        answer = self.ask(messages=messages, system="Be brief.", tools=[TOOL]).json()
        self.assertEqual([{"type": "text", "text": "It is sunny."}], answer["content"])
        counted = self.count(messages=messages, system="Be brief.", tools=[TOOL]).json()
        self.assertEqual(answer["usage"]["input_tokens"], counted["input_tokens"])
        self.assertGreater(counted["input_tokens"], self.count(messages=messages).json()["input_tokens"])

    def test_calls(self) -> None:
        """A model that must call a tool calls it, whole or streamed; one that is free does when it draws so."""
        self.make_rank("--model", "m1", "--tool-call-extra-call-probability", "100")
        for choice in (None, {"type": "any"}, {"type": "tool", "name": "get_w"}):
            answer = self.ask(tools=[TOOL], tool_choice=choice).json()
            [block] = answer["content"]
            self.assertEqual(("tool_use", "get_w", ["city"]), (block["type"], block["name"], list(block["input"])))
            self.assertRegex(block["id"], "^chatcmpl-tool-[0-9a-f]{16}$")
            ends = "end_turn" if choice and "name" in choice else "tool_use"
            self.assertEqual(ends, answer["stop_reason"])
            events = self.read(self.ask(tools=[TOOL], tool_choice=choice, stream=True))
            said = "".join(event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta")
            self.assertEqual(["city"], list(json.loads(said)))
            self.assertEqual(ends, events[-2]["delta"]["stop_reason"])

    def test_reasoning(self) -> None:
        """A server that reasons does so first, within the budget, unless it is told not to."""
        self.make_rank("--model", "m1", "--mode", "echo", "--reasoning-parser", "qwen3")
        for fields, kinds in (({}, ["thinking", "text"]), ({"thinking": {"type": "disabled"}}, ["text"])):
            content = self.ask(**fields).json()["content"]
            self.assertEqual(kinds, [block["type"] for block in content])
            self.assertEqual("one two three", content[-1]["text"])

    def test_images_take_their_time(self) -> None:
        """An answer with an image behind it takes the image's time, and shows none."""
        self.make_rank("--model", "m1", "--mode", "echo", "--omni", "--time-to-generate-image", "1s")
        body = {"model": "m1", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]}
        exchange = self.post("/v1/messages", body, X_Send_Image="true")
        self.assertEqual(0, exchange.status)
        self.clock.advance(1)
        self.assertEqual([{"type": "text", "text": "a"}], exchange.json()["content"])

    def test_aborted(self) -> None:
        """An answer that is aborted ends with what it has said, and without a reason."""
        self.make_rank("--model", "m1", "--mode", "echo", *LATENCY)
        streamed, whole = self.ask("a b c", stream=True), self.ask("a b c")
        self.clock.advance(0.12)
        self.post("/abort_requests", {})
        events = self.read(streamed)
        self.assertEqual(["a ", "b "], [event["delta"]["text"] for event in events if "text" in event.get("delta", {})])
        self.assertEqual({"stop_reason": None, "stop_sequence": None}, events[-2]["delta"])
        self.assertEqual([{"type": "text", "text": "a b "}], whole.json()["content"])
        self.assertNotIn("stop_reason", whole.json())
        self.assertTrue(streamed.complete)

    def test_abandoned(self) -> None:
        """A stream that its client drops frees its slot."""
        self.make_rank("--model", "m1", "--max-num-seqs", "1", *LATENCY)
        abandoned = self.ask(stream=True, ignore_eos=True)
        self.clock.advance(0.1)
        waiting = self.ask(max_tokens=1)
        abandoned.drop()
        self.clock.pump([0, 0.1])
        self.assertEqual(200, waiting.status)


class ErrorTests(MessagesTestCase):
    """Errors in Anthropic's shape."""

    def check(self, status: int, kind: str, exchange: Exchange) -> None:
        """Check an error of the API."""
        answer = exchange.json()
        self.assertEqual((status, ["type", "error"], "error"), (exchange.status, list(answer), answer["type"]), answer)
        self.assertEqual((kind, ["type", "message"]), (answer["error"]["type"], list(answer["error"])))
        self.assertTrue(answer["error"]["message"])

    def test_requests(self) -> None:
        """A request that cannot be served is refused before it is streamed."""
        self.make_rank("--model", "m1", "--max-model-len", "100", "--language-model-only")
        image = [{"type": "image", "source": {"type": "url", "url": "http://x"}}]
        refused: list[dict[str, Any]] = [
            {"content": "a " * 200}, {"max_tokens": 101}, {"temperature": 3}, {"stop_sequences": [""]},
            {"messages": []}, {"content": image}, {"tool_choice": {"type": "any"}},
        ]  # fmt: skip
        for stream in (False, True):
            for fields in refused:
                self.check(400, "invalid_request_error", self.ask(stream=stream, **fields))
            self.check(404, "not_found_error", self.ask(stream=stream, model="zz"))
        messages = [{"role": "user", "content": "a " * 200}]
        self.check(404, "not_found_error", self.count(model="zz", messages=messages))
        self.check(400, "invalid_request_error", self.count(messages=[]))
        self.assertEqual(205, self.count(messages=messages).json()["input_tokens"])

    def test_forms(self) -> None:
        """A body that is not what the route takes is refused in the shape of every route."""
        self.make_rank("--model", "m1")
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            for body in (b"", b"{", b"[]", b'{"model":"m1","messages":7,"max_tokens":5}'):
                exchange = self.post(path, body)
                self.assertEqual((400, "Bad Request"), (exchange.status, exchange.json()["error"]["type"]))
            exchange = self.connect().send("POST", path, b"{}", Content_Type="text/plain")
            self.assertIn("Unsupported Media Type", exchange.json()["error"]["message"])

    def test_large_bodies(self) -> None:
        """A body that is too large is refused; on other routes in their own shape."""
        self.make_rank("--model", "m1", "--max-request-body-size-mb", "1")
        huge = b"x" * ((1 << 20) + 1)
        self.check(413, "request_too_large", self.post("/v1/messages", huge))
        self.check(413, "request_too_large", self.post("/v1/messages/count_tokens", huge))
        self.assertEqual(413, self.post("/v1/chat/completions", huge).json()["error"]["code"])

    def test_queue_full(self) -> None:
        """A request beyond the queue is told to slow down."""
        self.make_rank("--model", "m1", "--max-num-seqs", "1", "--max-waiting-queue-length", "0", *LATENCY)
        self.ask(max_tokens=1)
        for stream in (False, True):
            self.check(429, "rate_limit_error", self.ask(stream=stream))
        self.clock.advance(0.1)

    def test_stopping(self) -> None:
        """A server that stops refuses what comes, and tells a stream by an event, which is its last."""
        self.make_rank("--model", "m1", *LATENCY)
        stream = self.ask(stream=True, ignore_eos=True)
        self.clock.advance(0.1)
        self.rank.lifecycle.drain()
        self.check(503, "overloaded_error", self.ask())
        self.rank.simulator.requests.dismiss()
        self.assertEqual(b"error", stream.body.rpartition(b"event: ")[2].partition(b"\n")[0])
        last = self.read(stream)[-1]
        self.assertEqual(("error", "overloaded_error"), (last["type"], last["error"]["type"]))
        self.assertTrue(stream.complete)

    def test_faults(self) -> None:
        """A fault of ours is told as one, and no more of it."""
        self.make_rank("--model", "m1")

        def fail(request: InferenceRequest, sink: ITokenSink) -> None:
            if request.sampling.max_tokens == 1:
                prompts = [TokenizedPrompt(TextPrompt("x"), "x", [1], ["x"])]
                sink.started(prompts, prefilled(prompts))
            raise Unavailable("busy") if request.sampling.top_k else KeyError("secret")

        dialect = MessagesDialect(_settings())
        answering = Answering(ScriptedSimulator(fail), {}, in_thread, unfailing())

        def find() -> Any:
            return dialect

        routes = InferenceRoutes(answering, find, find, find, find, lambda _: b"")
        self.rank.site.resource = RankResource([routes.app])
        self.check(500, "api_error", self.ask())
        self.check(500, "api_error", self.ask(stream=True))
        self.check(503, "overloaded_error", self.ask(stream=True, top_k=1))
        for top_k, kind in ((0, "api_error"), (1, "overloaded_error")):
            exchange = self.ask(stream=True, max_tokens=1, top_k=top_k)
            self.assertNotIn(b"secret", exchange.body)
            self.assertEqual((200, kind), (exchange.status, self.read(exchange)[-1]["error"]["type"]))
        self.assertEqual(3, len(self.flushLoggedErrors(KeyError)))

    def test_hostile_bodies(self) -> None:
        """Whatever a body has, the answer is an answer or says what is wrong with it, and the server goes on."""
        self.make_rank("--model", "m1", "--reasoning-parser", "qwen3")
        deep: Any = {"type": "object"}
        for _ in range(400):
            deep = {"type": "object", "properties": {"a": deep}, "required": ["a"]}
        huge: Any = {"a": 10**40, "b": [1e308 * 10], "c": "\ud800"}
        call = {"type": "tool_use", "id": "c", "name": "f"}
        contents: list[Any] = [
            [call | {"input": deep}], [call | {"input": huge}], [call | {"name": "\udfff"}], [{"type": "\ud800"}],
            [{"type": "image", "source": {"type": "base64", "data": 7}}], [{"type": "image", "source": "x"}],
            [{"type": "tool_result", "content": [{"type": "image", "source": 7}]}],
            [{"type": "tool_result", "content": [{}, {"type": []}, {"type": "text", "text": {}}]}],
            [{"type": {}}], [{"type": "text", "text": None}], [None], [[]], {}, 7, "\x00",
        ]  # fmt: skip
        for content in contents:
            self._survive(self.ask(content))
            self._survive(self.count(messages=[{"role": "user", "content": content}]))
        refused: list[dict[str, Any]] = [
            {"tools": [{"name": "f", "input_schema": deep}], "tool_choice": {"type": "any"}},
            {"tools": [{"name": "f", "input_schema": {"const": 10**40}}], "tool_choice": {"type": "any"}},
            {"tools": [{"name": "f", "input_schema": {"type": "string"}}], "tool_choice": {"type": "any"}},
            {"tools": [{"name": "f", "input_schema": {"$schema": "http://x"}}]}, {"tools": [{}]}, {"tools": {}},
            {"tools": [{"name": "f", "input_schema": {}}] * 2000, "tool_choice": {"type": "any"}},
            {"tools": [{"type": [], "name": "f"}]}, {"tools": [{"type": "custom"}]},
            {"output_config": {"format": {"schema": deep}}}, {"output_config": {"format": {"schema": {"type": 7}}}},
            {"max_tokens": 10**40}, {"max_tokens": 1e400}, {"top_k": 10**30}, {"temperature": "nan"},
            {"thinking": {"type": "enabled", "budget_tokens": 10**30}}, {"thinking": []}, {"system": [7]},
            {"chat_template_kwargs": {"enable_thinking": []}}, {"kv_transfer_params": {"do_remote_decode": deep}},
            {"stop_sequences": ["x" * 100_000]}, {"model": 7}, {"stream": "maybe"}, {"metadata": deep},
        ]  # fmt: skip
        for fields in refused:
            self._survive(self.ask(**fields))
            self._survive(self.ask(stream=True, **fields) if "stream" not in fields else self.ask())

    def _survive(self, exchange: Exchange) -> None:
        self.clock.advance(0)
        self.assertIn(exchange.status, (200, 400), exchange.body[:500])
        self.assertTrue(exchange.complete)
        self.assertEqual(200, self.ask(max_tokens=1).status)


def _settings() -> Any:
    from tests.api.golden import settings  # noqa: PLC0415

    return settings()
