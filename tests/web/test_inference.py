"""The routes that generate, with a whole rank behind them."""

import json
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred

from tests.fakes import ScriptedSimulator, prefilled, unfailing
from tests.harness import RankTestCase
from vllmsim.api.chat import ChatDialect
from vllmsim.api.chatanswer import ChatStream
from vllmsim.errors import Unavailable
from vllmsim.inference import Answer, InferenceRequest, TextPrompt, TokenizedPrompt
from vllmsim.interfaces import ITokenSink
from vllmsim.web.answering import Answering
from vllmsim.web.inference import InferenceRoutes
from vllmsim.web.root import RankResource

PROMPT = TokenizedPrompt(TextPrompt("x"), "x", [1], ["x"])
LATENCY = ("--time-to-first-token", "100ms", "--inter-token-latency", "20ms")


class ChatTests(RankTestCase):
    """Chat completions over HTTP."""

    def test_whole(self) -> None:
        """A whole answer has text, usage and the server's names."""
        self.make_rank("--mode", "echo", "--model", "m1")
        exchange = self.chat("This is a test.")
        answer = exchange.json()
        self.assertEqual((200, "application/json"), (exchange.status, exchange.headers["content-type"]))
        self.assertEqual("This is a test.", answer["choices"][0]["message"]["content"])
        self.assertEqual(
            {"prompt_tokens": 10, "total_tokens": 16, "completion_tokens": 6, "prompt_tokens_details": None,
             "completion_tokens_details": None},
            answer["usage"],
        )  # fmt: skip
        self.assertEqual(("m1", 1795339833), (answer["model"], answer["created"]))
        self.assertRegex(answer["id"], "^chatcmpl-[0-9a-f]{16}$")
        self.assertRegex(answer["system_fingerprint"], "^vllm-0.33.0-[0-9a-f]{8}$")

    def test_stream_in_time(self) -> None:
        """The status line comes with the first token, each further token in its own time."""
        self.make_rank("--mode", "echo", *LATENCY)
        exchange = self.chat("a b", stream=True)
        self.clock.advance(0.099)
        self.assertEqual(b"", exchange.raw)
        self.clock.advance(0.001)
        self.assertEqual("text/event-stream; charset=utf-8", exchange.headers["content-type"])
        self.assertEqual(2, len(exchange.events()))
        self.clock.advance(0.02)
        self.assertEqual("b", exchange.events()[-1]["choices"][0]["delta"]["content"])
        self.assertFalse(exchange.complete)
        self.clock.advance(0.02)
        self.assertEqual("[DONE]", exchange.events()[-1])
        self.assertTrue(exchange.complete)

    def test_many_choices(self) -> None:
        """Choices are streamed side by side; each has its own end."""
        self.make_rank(*LATENCY)
        exchange = self.chat(n=3, max_tokens=30, stream=True, stream_options={"include_usage": True})
        self.clock.pump([0.02] * 60)
        *chunks, usage, done = exchange.events()
        self.assertEqual("[DONE]", done)
        self.assertEqual([0, 1, 2], [chunk["choices"][0]["index"] for chunk in chunks[:3]])
        for choice in range(3):
            own = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == choice]
            self.assertEqual("assistant", own[0]["delta"]["role"])
            self.assertIsNotNone(own[-1]["finish_reason"])
            self.assertEqual(1, len([c for c in own if c["finish_reason"]]))
        self.assertEqual([], usage["choices"])
        self.assertEqual(len(chunks) - 3, usage["usage"]["completion_tokens"])

    def test_stops(self) -> None:
        """A stop text ends the answer and is reported."""
        self.make_rank("--mode", "echo")
        [choice] = self.chat("one two three", stop=["two"]).json()["choices"]
        self.assertEqual(
            ("one ", "stop", "two"), (choice["message"]["content"], choice["finish_reason"], choice["stop_reason"])
        )

    def test_ids(self) -> None:
        """The client's id is the answer's."""
        self.make_rank("--enable-request-id-headers")
        exchange = self.post(
            "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, X_Request_Id="abc"
        )
        self.assertEqual(("chatcmpl-abc", "abc"), (exchange.json()["id"], exchange.headers["x-request-id"]))

    def test_signature(self) -> None:
        """A server with a name says it with every answer, errors too."""
        self.make_rank("--pod-name", "p", "--pod-namespace", "n", "--port", "8123")
        for exchange in (self.chat(), self.chat(model="nope"), self.complete(stream=True)):
            self.assertEqual(("p", "8123", "n"), tuple(exchange.headers[f"x-inference-{name}"]
                                                       for name in ("pod", "port", "namespace")))  # fmt: skip
        self.assertNotIn("x-inference-pod", self.get("/v1/models").headers)


class LoadReportTests(RankTestCase):
    """Answers that say how much there is to do."""

    def test_report(self) -> None:
        """A chat or a completion in one piece tells a gateway the load, if it asks; a stream does not."""
        self.make_rank("--max-num-seqs", "1", "--time-to-first-token", "1s")
        asked = {"endpoint_load_metrics_format": "TEXT"}
        chat = self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, **asked)
        waiting = [
            self.post("/v1/completions", {"prompt": "hi", "stream": stream}, **asked) for stream in (True, False)
        ]
        report = "TEXT named_metrics.num_requests_waiting={}, named_metrics.kv_cache_usage_perc=0.0"
        name = "endpoint-load-metrics"
        self.clock.advance(1)
        self.assertEqual(report.format("2.0"), chat.headers[name])
        self.clock.pump([1, 1])
        self.assertTrue(all(each.complete for each in waiting))
        self.assertNotIn(name, waiting[0].headers)
        self.assertEqual(report.format("0.0"), waiting[1].headers[name])
        self.assertNotIn(name, self.get("/health", **asked).headers)


class ToolTests(RankTestCase):
    """Tools over HTTP."""

    WEATHER: ClassVar = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "minLength": 3}, "unit": {"enum": ["C", "F"]}},
                "required": ["city", "unit"],
            },
        },
    }

    def test_loop(self) -> None:
        """An agent's loop ends: a call, its result, then text."""
        self.make_rank("--tool-call-extra-call-probability", "100")
        messages: list[Any] = [{"role": "user", "content": "weather?"}]
        first = self.post("/v1/chat/completions", {"messages": messages, "tools": [self.WEATHER]}).json()["choices"][0]
        self.assertEqual("tool_calls", first["finish_reason"])
        [call] = first["message"]["tool_calls"]
        arguments = json.loads(call["function"]["arguments"])
        self.assertIn(arguments["unit"], ("C", "F"))
        self.assertRegex(call["id"], "^chatcmpl-tool-[0-9a-f]{16}$")
        messages += [first["message"], {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
        second = self.post("/v1/chat/completions", {"messages": messages, "tools": [self.WEATHER]}).json()["choices"][0]
        self.assertNotIn("tool_calls", second["message"])
        self.assertTrue(second["message"]["content"])

    def test_stream(self) -> None:
        """Joined, the pieces of a streamed call are its arguments; the tokens are three more and the end."""
        self.make_rank()
        options: Any = {"stream": True, "stream_options": {"include_usage": True}, "tool_choice": "required"}
        *chunks, usage, _ = self.chat(tools=[self.WEATHER], **options).events()
        calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
        self.assertEqual("weather", calls[0]["function"]["name"])
        self.assertEqual({"city", "unit"}, set(json.loads("".join(c["function"].get("arguments", "") for c in calls))))
        self.assertEqual(len(calls) - 1 + 3 + 1, usage["usage"]["completion_tokens"])

    def test_limit(self) -> None:
        """A limit cuts a call short."""
        self.make_rank()
        choice = self.chat(tools=[self.WEATHER], tool_choice="required", max_tokens=4).json()["choices"][0]
        self.assertEqual("length", choice["finish_reason"])

    def test_impossible(self) -> None:
        """Arguments that nothing can be are refused before anything is sent, streamed or not."""
        self.make_rank()
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "not": {}}}}
        for stream in (False, True):
            exchange = self.chat(tools=[tool], tool_choice="required", stream=stream)
            self.assertEqual((400, "BadRequestError"), (exchange.status, exchange.json()["error"]["type"]))
        self.assertEqual(0, self.sample('vllm:num_requests_running{engine="0",model_name="Qwen/Qwen3-0.6B"}'))

    def test_a_plain_vllm(self) -> None:
        """A server without a parser, or that lets the model not decide, refuses as vLLM does."""
        self.make_rank("--no-enable-auto-tool-choice")
        self.assertEqual(400, self.chat(tools=[self.WEATHER]).status)
        self.assertEqual(200, self.chat(tools=[self.WEATHER], tool_choice="required").status)
        self.assertEqual(200, self.chat(tools=[self.WEATHER], tool_choice="none").status)


class StructureTests(RankTestCase):
    """Structured outputs over HTTP."""

    def test_chat(self) -> None:
        """Text is JSON of the schema, one of the choices, or matches the expression."""
        self.make_rank("--mode", "echo")
        schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}}, "required": ["n"]}
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        value = json.loads(self.chat(response_format=form).json()["choices"][0]["message"]["content"])
        self.assertLessEqual(value["n"], 3)
        value = json.loads(
            self.chat(response_format={"type": "json_object"}).json()["choices"][0]["message"]["content"]
        )
        self.assertIsInstance(value, dict)
        chosen = self.chat(structured_outputs={"choice": ["left", "right"]}).json()["choices"][0]["message"]["content"]
        self.assertIn(chosen, ("left", "right"))

    def test_completion(self) -> None:
        """Completions have structure too, streamed as well."""
        self.make_rank()
        events = self.complete(stream=True, max_tokens=50, structured_outputs={"regex": "[ab]{4}"}).events()[:-1]
        self.assertRegex("".join(event["choices"][0]["text"] for event in events), "^[ab]{4}$")

    def test_refused(self) -> None:
        """What is no schema or no expression is refused, and the next request is served."""
        self.make_rank()
        for constraints in ({"regex": "(("}, {"json": {"type": "x"}}, {"json": {"$ref": "http://127.0.0.1:1/x"}}):
            exchange = self.chat(structured_outputs=constraints)
            self.assertEqual((400, 400), (exchange.status, exchange.json()["error"]["code"]), constraints)
        self.assertEqual(200, self.chat().status)


class ReasoningTests(RankTestCase):
    """Reasoning over HTTP."""

    def test_reasoning(self) -> None:
        """With a parser, answers begin with reasoning, which requests can switch off."""
        self.make_rank("--reasoning-parser", "qwen3", "--mode", "echo")
        answer = self.chat("one two three").json()
        message = answer["choices"][0]["message"]
        self.assertEqual("one two three", message["content"])
        self.assertTrue(message["reasoning"])
        self.assertEqual({"reasoning_tokens": 3}, answer["usage"]["completion_tokens_details"])
        for fields in ({"reasoning_effort": "none"}, {"chat_template_kwargs": {"enable_thinking": False}}):
            answer = self.chat("one two three", **fields).json()
            self.assertIsNone(answer["choices"][0]["message"]["reasoning"])
            self.assertEqual({"reasoning_tokens": 0}, answer["usage"]["completion_tokens_details"])

    def test_share(self) -> None:
        """The share of reasoning is the operator's."""
        self.make_rank("--reasoning-parser", "qwen3", "--reasoning-share", "100")
        message = self.chat("x").json()["choices"][0]["message"]
        self.assertEqual((None, True), (message["content"], bool(message["reasoning"])))

    def test_completions_do_not_reason(self) -> None:
        """Completions are raw text."""
        self.make_rank("--reasoning-parser", "qwen3", "--mode", "echo")
        self.assertEqual("a b", self.complete("a b").json()["choices"][0]["text"])


class MediaTests(RankTestCase):
    """Images in prompts and answers."""

    BLOCKS: ClassVar = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
        {"type": "hologram", "hologram": 1},
    ]

    def ask(self, *words: str, **fields: Any) -> Any:
        """Start a rank and send it the blocks."""
        self.make_rank(*words)
        body = {"messages": [{"role": "user", "content": self.BLOCKS}], **fields}
        return self.post("/v1/chat/completions", body)

    def test_echo(self) -> None:
        """Media are accepted, and an image's address is part of the text."""
        message = self.ask("--mode", "echo").json()["choices"][0]["message"]
        self.assertEqual("see\nimage: https://example.com/a.png", message["content"])

    def test_text_model(self) -> None:
        """A text model refuses them in vLLM's words."""
        exchange = self.ask("--language-model-only", "--served-model-name", "m1")
        self.assertEqual((400, "m1 is not a multimodal model"), (exchange.status, exchange.json()["error"]["message"]))

    def test_encoder(self) -> None:
        """An encoder answers with a mark, and tells where the encodings are; without media it tells nothing."""
        answer = self.ask("--mm-encoder-only", max_tokens=3).json()
        self.assertEqual(
            ("!!!", "length"), (answer["choices"][0]["message"]["content"], answer["choices"][0]["finish_reason"])
        )
        names = [name.rsplit("_", 1)[0] for name in answer["ec_transfer_params"]]
        self.assertEqual(["sim_img_0", "sim_audio_0", "sim_video_0"], names)
        self.assertEqual(1234, answer["ec_transfer_params"]["sim_img_0_b813296"]["peer_port"])
        answer = self.chat().json()
        self.assertEqual(("!", "length", None), (answer["choices"][0]["message"]["content"],
                         answer["choices"][0]["finish_reason"], answer["ec_transfer_params"]))  # fmt: skip
        self.assertEqual("!", self.complete().json()["choices"][0]["text"])

    def test_omni(self) -> None:
        """An image comes when the request asks for it, after its time."""
        self.make_rank("--omni", "--time-to-generate-image", "300ms", "--mode", "echo")
        asked = self.connect().send(
            "POST", "/v1/chat/completions", b'{"messages":[{"role":"user","content":"a b"}],"stream":true}',
            Content_Type="application/json", X_Send_Image="true",
        )  # fmt: skip
        self.clock.advance(0)
        self.clock.advance(0.29)
        self.assertEqual(3, len(asked.events()))
        self.clock.advance(0.02)
        self.assertEqual("image", asked.events()[3]["modality"])
        self.assertEqual("[DONE]", asked.events()[-1])
        self.assertIsInstance(self.chat("a b").json()["choices"][0]["message"]["content"], str)


class TransferTests(RankTestCase):
    """What a prefill server hands over."""

    def test_handover(self) -> None:
        """A request that will be decoded elsewhere is told where the blocks are, in every kind of answer."""
        self.make_rank()
        params: Any = {"kv_transfer_params": {"do_remote_decode": True, "remote_block_ids": None}, "max_tokens": 1}
        whole = self.chat("x " * 20, **params).json()["kv_transfer_params"]
        self.assertEqual((True, [[1, 2]]), (whole["do_remote_prefill"], whole["remote_block_ids"]))
        self.assertEqual(
            whole["remote_engine_id"], self.complete(**params).json()["kv_transfer_params"]["remote_engine_id"]
        )
        events = self.chat(stream=True, **params).events()
        self.assertEqual([None, True], [e.get("kv_transfer_params") and True for e in events[:2]])
        self.assertIsNone(self.chat().json()["kv_transfer_params"])


class LatencyTests(RankTestCase):
    """What the latency options do to answers."""

    def test_remote_prefill(self) -> None:
        """A request whose prefill ran elsewhere waits for the transfer of its blocks instead."""
        self.make_rank("--time-to-first-token", "100ms", "--kv-cache-transfer-latency", "300ms")
        local = self.chat(max_tokens=1)
        remote = self.chat(max_tokens=1, kv_transfer_params={"do_remote_prefill": True})
        self.clock.advance(0.101)
        self.assertEqual((200, 0), (local.status, remote.status))
        self.clock.advance(0.2)
        self.assertEqual(200, remote.status)

    def test_load(self) -> None:
        """With all slots busy, gaps are longer by the load factor."""
        words = ("--max-num-seqs", "2", "--inter-token-latency", "100ms", "--time-factor-under-load", "3")
        self.make_rank(*words, "--mode", "echo", "--time-to-first-token", "10ms")
        first, second = (self.complete("a b c", stream=True) for _ in range(2))
        self.clock.pump([0.02, 0.02, 0.26])
        self.assertEqual((1, 1), (len(first.events()), len(second.events())))
        self.clock.advance(0.04)
        self.assertEqual((2, 2), (len(first.events()), len(second.events())))


class CompletionTests(RankTestCase):
    """Completions over HTTP."""

    def test_truncation(self) -> None:
        """A prompt is shortened where the request says so; its end stays unless the other side is asked for."""
        self.make_rank("--mode", "echo", "--max-model-len", "8")
        words = "a b c d e f g h i j k l"
        answer = self.complete(words, truncate_prompt_tokens=4, echo=True, max_tokens=1).json()
        self.assertTrue(answer["choices"][0]["text"].startswith("i j k l"))
        self.assertEqual(4, answer["usage"]["prompt_tokens"])
        answer = self.complete(words, truncate_prompt_tokens=3, truncation_side="right", echo=True, max_tokens=1).json()
        self.assertTrue(answer["choices"][0]["text"].startswith("a b c "))
        self.assertEqual(400, self.complete(words).status)
        refused = self.complete(words, truncate_prompt_tokens=9).json()["error"]
        self.assertEqual("truncate_prompt_tokens", refused["param"])

    def test_old_client(self) -> None:
        """A client of HTTP/1.0 gets its stream without chunks, and the connection closed behind it."""
        self.make_rank("--mode", "echo")
        body = b'{"prompt":"a b","stream":true}'
        head = b"POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        exchange = self.connect().send_bytes(head % len(body) + body)
        self.clock.advance(0)
        self.assertNotIn("transfer-encoding", exchange.headers)
        self.assertEqual("[DONE]", exchange.events()[-1])
        self.assertTrue(exchange.transport.disconnecting)

    def test_prompts(self) -> None:
        """Each prompt is answered n times, in order."""
        self.make_rank("--mode", "echo", "--max-num-seqs", "2")
        exchange = self.complete(["a b", "c"], n=2)
        self.clock.pump([0] * 8)
        answer = exchange.json()
        self.assertEqual(["a b", "a b", "c", "c"], [choice["text"] for choice in answer["choices"]])
        self.assertEqual((3, 10), (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]))

    def test_ids(self) -> None:
        """Ids are prompts too, and what a client tokenized comes back as its text."""
        self.make_rank("--mode", "echo")
        self.assertEqual("1,2,3", self.complete([1, 2, 3]).json()["choices"][0]["text"])
        ids = self.post("/tokenize", {"prompt": "  ja 漢`"}).json()["tokens"]
        self.assertEqual("  ja 漢`", self.complete([ids]).json()["choices"][0]["text"])

    def test_stream(self) -> None:
        """A stream's texts joined are the answer."""
        self.make_rank("--mode", "echo")
        *chunks, done = self.complete("a b c", stream=True).events()
        self.assertEqual(("a b c", "[DONE]"), ("".join(c["choices"][0]["text"] for c in chunks), done))


class AbandonmentTests(RankTestCase):
    """Clients that go away, and what they leave behind."""

    def test_slot_is_free(self) -> None:
        """A stream that its client drops frees its slot at once: the next request is served."""
        self.make_rank("--max-num-seqs", "1", *LATENCY)
        abandoned = self.chat(stream=True, max_tokens=1000, ignore_eos=True)
        self.clock.advance(1)
        waiting = self.chat(max_tokens=1)
        self.clock.advance(1)
        self.assertEqual(0, waiting.status)
        abandoned.drop()
        self.clock.pump([0, 0.1])
        self.assertEqual(200, waiting.status)
        self.assertEqual(0, self.sample('vllm:num_requests_running{engine="0",model_name="Qwen/Qwen3-0.6B"}'))

    def test_waiting_client(self) -> None:
        """A client that drops while its request waits leaves the queue."""
        self.make_rank("--max-num-seqs", "1", "--max-waiting-queue-length", "1", *LATENCY)
        self.chat(max_tokens=1)
        self.chat().drop()
        last = self.chat(max_tokens=1)
        self.assertEqual(0, last.status)
        self.clock.pump([0.1, 0, 0.1])
        self.assertEqual(200, last.status)

    def test_queue_full(self) -> None:
        """A request beyond the queue is refused, streamed or not, before any byte of an answer."""
        self.make_rank("--max-num-seqs", "1", "--max-waiting-queue-length", "0", *LATENCY)
        first = self.chat(max_tokens=1)
        for stream in (False, True):
            exchange = self.chat(stream=stream)
            self.assertEqual((429, "RateLimitError"), (exchange.status, exchange.json()["error"]["type"]))
        self.clock.advance(0.1)
        self.assertEqual(200, first.status)

    def test_draining(self) -> None:
        """A server that stops refuses what comes, and tells those whom it cannot serve to the end."""
        self.make_rank(*LATENCY)
        stream, whole = self.chat(stream=True, ignore_eos=True), self.chat(ignore_eos=True)
        self.clock.advance(0.1)
        self.rank.lifecycle.drain()
        self.assertEqual(503, self.chat().status)
        self.rank.simulator.requests.dismiss()
        self.assertEqual((503, "[DONE]"), (whole.status, stream.events()[-1]))
        self.assertEqual("ServiceUnavailableError", stream.events()[-2]["error"]["type"])
        self.assertTrue(stream.complete)


class ErrorTests(RankTestCase):
    """Errors from below."""

    def setUp(self) -> None:
        """Have a rank."""
        self.make_rank()

    def serve(self, script: Any) -> None:
        """Serve chat completions with a scripted simulator."""
        dialect = ChatDialect(_settings())
        self.deferred: list[Any] = []
        answering = Answering(ScriptedSimulator(script), {}, self.defer, unfailing(self.defer))

        def find() -> Any:
            return dialect

        routes = InferenceRoutes(answering, find, find, find, find, lambda _: b"")
        self.rank.site.resource = RankResource([routes.app])

    def defer(self, function: Any, *arguments: Any) -> Deferred[Any]:
        """Put off what would run in a thread."""
        deferred: Deferred[Any] = Deferred().addCallback(lambda _: function(*arguments))
        self.deferred.append(deferred)
        return deferred

    def test_large_body(self) -> None:
        """A large body is read in a thread, so that nobody waits for it, and refused as any other."""
        served: list[InferenceRequest] = []
        self.serve(lambda request, _: served.append(request))
        for fields, status in (({}, 200), ({"n": "many"}, 400), ({"model": "nope"}, 404)):
            exchange = self.chat("x" * 20_000, stream=True, **fields)
            self.assertEqual(0, exchange.status)
            self.deferred.pop().callback(None)
            self.assertEqual(status, exchange.status)
        self.assertEqual(1, len(served))
        self.chat("x" * 20_000).drop()
        self.deferred.pop().callback(None)
        self.assertEqual(1, len(served))
        self.chat("small", stream=True)
        self.assertEqual(([], 2), (self.deferred, len(served)))

    def test_before_the_stream(self) -> None:
        """An error before the first token has its own status, even of a stream; one of ours is 500."""

        def fail(request: InferenceRequest, _sink: ITokenSink) -> None:
            raise Unavailable("busy") if request.sampling.n == 1 else KeyError("secret")

        self.serve(fail)
        self.assertEqual(503, self.chat(stream=True).status)
        exchange = self.chat(stream=True, n=2)
        self.assertEqual((500, 1), (exchange.status, len(self.flushLoggedErrors(KeyError))))
        self.assertNotIn(b"secret", exchange.body)

    def test_in_the_stream(self) -> None:
        """An error after the first token is an event, and the stream ends as always."""

        def fail(request: InferenceRequest, sink: ITokenSink) -> None:
            sink.started([PROMPT], prefilled([PROMPT]))
            raise Unavailable("busy") if request.sampling.n == 1 else KeyError("secret")

        self.serve(fail)
        _, error, done = self.chat(stream=True).events()
        self.assertEqual(("busy", "[DONE]"), (error["error"]["message"], done))
        *_, error, done = self.chat(stream=True, n=2).events()
        self.assertEqual(500, error["error"]["code"])
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))

    def test_cancelled(self) -> None:
        """The simulator hears at once that a client is gone, and nothing is logged."""
        for stream in (False, True):
            cancelled: list[Deferred[None]] = []
            pending: Deferred[None] = Deferred(cancelled.append)

            def wait(_: InferenceRequest, sink: ITokenSink, pending: Deferred[None] = pending) -> Deferred[None]:
                sink.started([PROMPT], prefilled([PROMPT]))
                return pending

            self.serve(wait)
            self.chat(stream=stream).drop()
            self.assertEqual([pending], cancelled)
            self.assertEqual([], self.flushLoggedErrors())

    def test_cancelled_by_someone_else(self) -> None:
        """A request that is given up while its client is there ends with an error of ours."""

        def give_up(_: InferenceRequest, sink: ITokenSink) -> None:
            sink.started([PROMPT], prefilled([PROMPT]))
            raise CancelledError

        self.serve(give_up)
        self.assertEqual(500, self.chat().status)
        stream = self.chat(stream=True)
        self.assertEqual((500, "[DONE]"), (stream.events()[-2]["error"]["code"], stream.events()[-1]))
        self.assertEqual(2, len(self.flushLoggedErrors(CancelledError)))

    def test_broken_end(self) -> None:
        """A stream whose end cannot be written ends with an error; if that cannot be written either, it is cut off."""
        self.patch(ChatStream, "closing", lambda _: 1 / 0)
        self.serve(lambda _, sink: sink.started([PROMPT], prefilled([PROMPT])))
        stream = self.chat(stream=True)
        self.assertEqual((500, "[DONE]"), (stream.events()[-2]["error"]["code"], stream.events()[-1]))
        self.patch(ChatStream, "failure", lambda *_: 1 / 0)
        stream = self.chat(stream=True)
        self.assertTrue(stream.transport.disconnected)
        self.assertEqual(3, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_long_answers_in_detail(self) -> None:
        """A long answer with log probabilities is written in a thread; its client may go meanwhile."""

        def say(request: InferenceRequest, sink: ITokenSink) -> None:
            sink.started([PROMPT], prefilled([PROMPT]))
            count = request.sampling.max_tokens or 0
            sink.tokens(0, Answer([1] * count, ["x"] * count, ["x"] * count, "length"), 0, count)

        self.serve(say)
        self.assertEqual(200, self.chat(max_tokens=200).status)
        self.assertEqual(200, self.chat(max_tokens=3, logprobs=True).status)
        self.assertEqual([], self.deferred)
        exchange, gone = (self.chat(max_tokens=200, logprobs=True) for _ in range(2))
        self.assertEqual(0, exchange.status)
        self.deferred[0].callback(None)
        self.assertEqual(200, len(exchange.json()["choices"][0]["logprobs"]["content"]))
        gone.drop()
        self.assertEqual([], self.flushLoggedErrors())


def _settings() -> Any:
    from tests.api.golden import settings  # noqa: PLC0415

    return settings()


class MetricsTests(RankTestCase):
    """What the metrics say after some requests."""

    def test_after_requests(self) -> None:
        """Counts in equal counts out, and gauges return to nothing."""
        self.make_rank("--model", "m", "--mode", "echo", *LATENCY)
        labels = '{engine="0",model_name="m"}'
        self.chat("a b c", stream=True, n=2)
        self.complete(["x", "y"], max_tokens=1)
        self.assertEqual(4, self.sample("vllm:num_requests_running" + labels))
        self.clock.pump([0.02] * 20)
        expected = {
            "vllm:num_requests_running": 0,
            "vllm:num_requests_waiting": 0,
            "vllm:prompt_tokens_total": 18,
            "vllm:generation_tokens_total": 10,
            "vllm:time_to_first_token_seconds_count": 4,
            "vllm:inter_token_latency_seconds_count": 6,
            "vllm:e2e_request_latency_seconds_count": 4,
            "vllm:request_params_n_count": 3,
            "vllm:request_params_n_sum": 4,
            "vllm:request_params_max_tokens_count": 4,
            "vllm:request_max_num_generation_tokens_count": 3,
        }
        self.assertEqual(expected, {name: self.sample(name + labels) for name in expected})
        self.assertAlmostEqual(0.4, self.sample("vllm:time_to_first_token_seconds_sum" + labels))
        reasons = [self.sample(f'vllm:request_success_total{{engine="0",finished_reason="{reason}",model_name="m"}}')
                   for reason in ("stop", "length")]  # fmt: skip
        self.assertEqual([2, 2], reasons)

    def test_iterations_sum_up(self) -> None:
        """Iterations have seen every computed prompt token and every generated one."""
        self.make_rank("--model", "m")
        self.chat(max_tokens=50)
        labels = '{engine="0",model_name="m"}'
        total = self.sample("vllm:prompt_tokens_total" + labels) + self.sample("vllm:generation_tokens_total" + labels)
        self.assertEqual(total, self.sample("vllm:iteration_tokens_total_sum" + labels))


class RobustnessTests(RankTestCase):
    """Twenty bad requests, and a good one after each."""

    def test_too_many_tokens(self) -> None:
        """Choices that say more together than can be kept are refused when that is known; one alone is not."""
        self.make_rank("m", "--max-answer-tokens", "100", "--max-model-len", "200", "--mode", "echo")
        text, long = "x " * 39, {"ignore_eos": True}
        for stream in (False, True):
            for refused in (
                self.complete(n=3, max_tokens=40, stream=stream, **long),
                self.chat(n=3, max_tokens=40, min_tokens=40, stream=stream),
                self.complete([text] * 3, max_tokens=50, stream=stream),
                self.chat(text, n=3, stream=stream),
                self.complete(n=2, max_tokens=9, logprobs=5, stream=stream, **long),
                self.complete(text, n=2, max_tokens=1, prompt_logprobs=1),
                self.complete(text, n=3, max_tokens=1, return_token_ids=True, stream=stream),
                self.complete(text, n=3, max_tokens=1, echo=True, stream=stream),
            ):
                self.assertIn(b"more than 100 tokens together", refused.body)
                self.assertTrue(refused.complete)
                self.assertEqual(400 if not stream else refused.status, refused.status)
        self.assertEqual(80, self.complete(text, n=2, max_tokens=40).json()["usage"]["completion_tokens"])
        self.assertEqual(199, self.complete(max_tokens=199, logprobs=5, **long).json()["usage"]["completion_tokens"])
        for gauge in ("running", "waiting"):
            self.assertEqual(0, self.sample(f'vllm:num_requests_{gauge}{{engine="0",model_name="m"}}'))

    def test_bad_requests(self) -> None:
        """Each is answered with a clear JSON error, and the next request is served."""
        self.make_rank("--max-model-len", "4096")
        huge = json.dumps({"messages": [{"role": "user", "content": "x" * (5 * 1024 * 1024)}]}).encode()
        chat: list[tuple[Any, int]] = [
            (b"{", 400), (b"", 400), (b"null", 400), (b"[]", 400), (b"\x00", 400), (b"\xc3(", 400), (huge, 413),
            ({"messages": "x"}, 400), ({"messages": [1]}, 400), ({"messages": [{}]}, 400), ({"messages": []}, 400),
            ({"messages": [{"role": 1}]}, 400), ({"messages": [{"role": "user", "content": 7}]}, 400),
        ]  # fmt: skip
        fields: list[tuple[dict[str, Any], int]] = [
            ({"n": 10**15}, 400), ({"n": 10**20, "stream": True}, 400), ({"n": 300_000_000, "stream": True}, 400),
            ({"allowed_token_ids": []}, 400), ({"logit_bias": {"x": 1}}, 400), ({"logit_bias": {"-1": 1}}, 400),
            ({"n": 5000}, 429), ({"max_tokens": -1}, 400), ({"temperature": float("nan")}, 400),
            ({"model": 7}, 400), ({"stream": "maybe"}, 400), ({"stop": [1]}, 400),
            ({"top_logprobs": 10**15, "logprobs": True}, 400),
            ({"seed": 2**63}, 400), ({"response_format": 7}, 400), ({"stream_options": 7, "stream": True}, 400),
        ]  # fmt: skip
        for body, status in chat:
            self.check(self.post("/v1/chat/completions", body), status)
        for more, status in fields:
            self.check(self.chat(**more), status)
        prompts: tuple[Any, ...] = ({}, 7, [None], [1, "x"], [[1.5]], [-1], [[]], "x " * 5000)
        for prompt in prompts:
            self.check(self.complete(prompt), 400)

    def check(self, exchange: Any, status: int) -> None:
        """Check an error, and that the daemon lives."""
        error = exchange.json()["error"]
        self.assertEqual((status, status), (exchange.status, error["code"]), error)
        self.assertTrue(error["message"])
        self.assertTrue(error["type"])
        self.assertEqual(200, self.chat(max_tokens=2).status)


class BatchTests(RankTestCase):
    """Several conversations at once."""

    def test_batch(self) -> None:
        """Every conversation has an answer of its own, at the same time."""
        self.make_rank("--mode", "echo", "--time-to-first-token", "100ms")
        conversations = [[{"role": "user", "content": text}] for text in ("one", "two", "three")]
        exchange = self.post("/v1/chat/completions/batch", {"messages": conversations})
        self.clock.advance(0.1)
        answer = exchange.json()
        self.assertEqual(["one", "two", "three"], [each["message"]["content"] for each in answer["choices"]])
        alone = self.chat("one")
        self.clock.advance(0.1)
        self.assertEqual(3 * alone.json()["usage"]["total_tokens"], answer["usage"]["total_tokens"])

    def test_too_many(self) -> None:
        """Thousands of conversations are refused at once."""
        self.make_rank()
        exchange = self.post("/v1/chat/completions/batch", {"messages": [[]] * 10_000})
        self.assertEqual(400, exchange.status)
        self.assertIn("At most 1024 conversations", exchange.json()["error"]["message"])

    def test_full_queue(self) -> None:
        """A batch that does not fit into the queue as a whole is refused as a whole."""
        self.make_rank("--max-num-seqs", "1", "--max-waiting-queue-length", "1")
        conversations = [[{"role": "user", "content": "x"}]] * 3
        self.assertEqual(429, self.post("/v1/chat/completions/batch", {"messages": conversations}).status)
