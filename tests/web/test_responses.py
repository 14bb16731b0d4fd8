"""The routes of Responses, with a whole rank behind them."""

from typing import Any

from twisted.internet.defer import Deferred

from tests.api.golden import settings
from tests.fakes import ScriptedSimulator, unfailing
from tests.harness import Exchange, RankTestCase
from vllmsim.api.responses.dialect import ResponsesDialect
from vllmsim.api.responses.store import ResponseStore
from vllmsim.inference import InferenceRequest
from vllmsim.interfaces import ITokenSink
from vllmsim.web.answering import Answering
from vllmsim.web.responses import ResponseRoutes
from vllmsim.web.root import RankResource

LATENCY = ("--time-to-first-token", "100ms", "--inter-token-latency", "20ms")
STORE = ("--enable-responses-store", "--mode", "echo")
RUNNING = 'vllm:num_requests_running{engine="0",model_name="Qwen/Qwen3-0.6B"}'
TOOLS = [
    {"type": "function", "name": name, "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
    for name in ("f", "g")
]


class ResponseTestCase(RankTestCase):
    """Tests that make responses."""

    def create(self, text: Any = "one two three", **fields: Any) -> Exchange:
        """Have a response made."""
        return self.post("/v1/responses", {"input": text, **fields})

    def retrieve(self, name: str, query: str = "") -> Exchange:
        """Look at a response."""
        return self.get(f"/v1/responses/{name}{query}")

    def cancel(self, name: str) -> Exchange:
        """Make an end of a response."""
        return self.connect().send("POST", f"/v1/responses/{name}/cancel", b"")

    def types(self, exchange: Exchange) -> list[str]:
        """List the types of events so far."""
        return [str(event["type"]).removeprefix("response.") for event in exchange.events()]


class CreateTests(ResponseTestCase):
    """Responses that are waited for."""

    def test_whole(self) -> None:
        """A text and items are answered with a message; usage adds up, and instructions count."""
        self.make_rank("--mode", "echo", "--model", "m1", "--pod-name", "pod")
        plain = self.create("This is a test.")
        self.assertEqual((200, "application/json"), (plain.status, plain.headers["content-type"]))
        self.assertEqual("pod", plain.headers["x-inference-pod"])
        response = plain.json()
        self.assertRegex(response["id"], "^resp_[0-9a-f]{16}$")
        self.assertEqual("This is a test.", response["output"][0]["content"][0]["text"])
        usage = response["usage"]
        self.assertEqual((10, 6, 16), (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]))
        items = [{"role": "user", "content": [{"type": "input_text", "text": "This is a test."}]}]
        again = self.create(items, instructions="Be brief.").json()
        self.assertEqual(("Be brief.", 10 + 8), (again["instructions"], again["usage"]["input_tokens"]))

    def test_image(self) -> None:
        """The echo of an image is the line that stands for it."""
        self.make_rank("--mode", "echo")
        parts = [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "http://x/y.png"}]
        response = self.create([{"role": "user", "content": parts}]).json()
        self.assertEqual("see\nimage: http://x/y.png", response["output"][0]["content"][0]["text"])

    def test_limit(self) -> None:
        """An answer that reaches its limit is incomplete."""
        self.make_rank("--mode", "echo")
        response = self.create(max_output_tokens=2).json()
        self.assertEqual(("incomplete", 2), (response["status"], response["usage"]["output_tokens"]))

    def test_stream_in_time(self) -> None:
        """The status line comes with the first token, each further token in its own time, and the end with the last."""
        self.make_rank("--mode", "echo", *LATENCY)
        exchange = self.create("a b", stream=True)
        self.clock.advance(0.099)
        self.assertEqual(b"", exchange.raw)
        self.clock.advance(0.001)
        self.assertEqual("text/event-stream; charset=utf-8", exchange.headers["content-type"])
        head = ["created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"]
        self.assertEqual(head, self.types(exchange))
        self.clock.advance(0.02)
        self.assertEqual([*head, "output_text.delta"], self.types(exchange))
        self.assertFalse(exchange.complete)
        self.clock.advance(0.02)
        self.assertEqual(["output_text.done", "content_part.done", "output_item.done", "completed"],
                         self.types(exchange)[6:])  # fmt: skip
        self.assertTrue(exchange.complete)

    def test_tools(self) -> None:
        """With tools there is a call at least; with the result of one there is a message, and its echo."""
        self.make_rank("--mode", "echo")
        items = self.create(tools=TOOLS).json()["output"]
        self.assertEqual({"function_call"}, {item["type"] for item in items})
        call = items[0]
        history = [
            {"role": "user", "content": "hi"}, call,
            {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"},
        ]  # fmt: skip
        [message] = self.create(history, tools=TOOLS).json()["output"]
        self.assertEqual(("message", "sunny"), (message["type"], message["content"][0]["text"]))

    def test_names(self) -> None:
        """The request's id is the answer's."""
        self.make_rank("--mode", "echo")
        exchange = self.post("/v1/responses", {"input": "hi"}, X_Request_Id="mine")
        self.assertEqual("resp_mine", exchange.json()["id"])

    def test_hang_up(self) -> None:
        """A client that leaves frees the slot, streamed or not, and nothing of its response is kept."""
        self.make_rank(*STORE, *LATENCY)
        for stream in (False, True):
            exchange = self.post("/v1/responses", {"input": "a b c", "stream": stream}, X_Request_Id="mine")
            self.clock.advance(0.1)
            self.assertEqual(1.0, self.sample(RUNNING))
            exchange.drop()
            self.assertEqual(0.0, self.sample(RUNNING))
            self.assertEqual(404, self.retrieve("resp_mine").status)

    def test_abort(self) -> None:
        """An operator aborts responses by their ids: they end with what they have said."""
        self.make_rank("--mode", "echo", *LATENCY)
        for wait, said in ((0, []), (0.12, ["one two "])):
            whole = self.post("/v1/responses", {"input": "one two three"}, X_Request_Id="whole")
            stream = self.post("/v1/responses", {"input": "one two three", "stream": True}, X_Request_Id="stream")
            self.clock.advance(wait)
            self.post("/abort_requests", {"request_ids": ["resp_whole", "resp_stream"]})
            self.assertEqual("incomplete", self.types(stream)[-1])
            for response in (whole.json(), stream.events()[-1]["response"]):
                self.assertEqual("cancelled", response["status"])
                self.assertEqual(said, [item["content"][0]["text"] for item in response["output"]])

    def test_error_in_the_stream(self) -> None:
        """A server that stops in mid-stream says so in an event."""
        rank = self.make_rank("--mode", "echo", *LATENCY)
        exchange = self.create(stream=True)
        self.clock.advance(0.1)
        rank.simulator.requests.dismiss()
        last = exchange.events()[-1]
        self.assertEqual(("error", "The server is shutting down.", 5), (
            last["type"], last["message"], last["sequence_number"]
        ))  # fmt: skip
        self.assertTrue(exchange.complete)

    def test_reasoning(self) -> None:
        """A server that reasons says so before the message, unless the request wants none of it."""
        self.make_rank("--reasoning-parser", "qwen3")
        for body, types in (({}, ["reasoning", "message"]), ({"reasoning": {"effort": "none"}}, ["message"])):
            self.assertEqual(types, [item["type"] for item in self.create(**body).json()["output"]])


class StoreTests(ResponseTestCase):
    """Responses that are kept."""

    def setUp(self) -> None:
        """Keep two responses."""
        self.make_rank(*STORE, "--max-stored-responses", "2")

    def test_retrieve(self) -> None:
        """A response is there again under its id, as it was answered."""
        whole = self.create()
        exchange = self.retrieve(whole.json()["id"])
        self.assertEqual((200, whole.body), (exchange.status, exchange.body))
        streamed = self.create(stream=True).events()[-1]["response"]
        self.assertEqual(streamed, self.retrieve(streamed["id"]).json())

    def test_not_kept(self) -> None:
        """What the client does not want kept is not, and the oldest goes when there are too many."""
        unwanted = self.create(store=False).json()["id"]
        names = [self.create().json()["id"] for _ in range(3)]
        self.assertEqual([404, 404, 200, 200], [self.retrieve(name).status for name in (unwanted, *names)])

    def test_going_on(self) -> None:
        """A response goes on from another one: the prompt has both, and the text is new."""
        first = self.create("one two three").json()
        second = self.create("four", previous_response_id=first["id"]).json()
        turns = [("user", "one two three"), ("assistant", "one two three"), ("user", "four")]
        prompt = "".join(f"### {role}: {text}\n" for role, text in turns)
        tokens = self.post("/tokenize", {"prompt": prompt}).json()["count"]
        self.assertEqual(tokens, second["usage"]["input_tokens"])
        self.assertEqual("four", second["output"][0]["content"][0]["text"])

    def test_wrong_queries(self) -> None:
        """A query that is none is refused; a response that nobody recorded cannot be streamed."""
        name = self.create().json()["id"]
        exchange = self.retrieve(name, "?stream=maybe")
        self.assertEqual((400, "query.stream"), (exchange.status, exchange.json()["error"]["param"]))
        exchange = self.retrieve(name, "?stream=true")
        self.assertEqual((400, "stream"), (exchange.status, exchange.json()["error"]["param"]))
        self.assertEqual(200, self.retrieve(name, "?starting_after=3").status)

    def test_nothing_to_cancel(self) -> None:
        """A response that was waited for cannot be cancelled, and neither can one that is not there."""
        exchange = self.cancel(self.create().json()["id"])
        self.assertEqual(
            {"error": {"message": "Cannot cancel a synchronous response.", "type": "invalid_request_error",
                       "param": "response_id", "code": 400}},
            exchange.json(),
        )  # fmt: skip
        exchange = self.cancel("resp_x")
        self.assertEqual((404, "Response with id 'resp_x' not found."), (
            exchange.status, exchange.json()["error"]["message"]
        ))  # fmt: skip


class BackgroundTests(ResponseTestCase):
    """Responses that nobody waits for."""

    def start(self, name: str = "mine", **fields: Any) -> Exchange:
        """Have a response made in the background, under a given name."""
        body = {"input": "one two three", "background": True, **fields}
        return self.post("/v1/responses", body, X_Request_Id=name)

    def status_of(self, name: str = "mine") -> str:
        """Ask how a response is."""
        return str(self.retrieve(f"resp_{name}").json()["status"])

    def test_progress(self) -> None:
        """It is queued, then in progress, then there with its output; the client need not be."""
        self.make_rank(*STORE, *LATENCY)
        exchange = self.start()
        self.assertEqual((200, "queued", True), (
            exchange.status, exchange.json()["status"], exchange.json()["background"]
        ))  # fmt: skip
        exchange.drop()
        self.assertEqual("queued", self.status_of())
        self.clock.advance(0.1)
        self.assertEqual("in_progress", self.status_of())
        for _ in range(3):
            self.clock.advance(0.02)
        response = self.retrieve("resp_mine").json()
        self.assertEqual(("completed", "one two three"), (
            response["status"], response["output"][0]["content"][0]["text"]
        ))  # fmt: skip
        self.assertEqual(0.0, self.sample(RUNNING))
        self.assertEqual(400, self.cancel("resp_mine").status)

    def test_going_on(self) -> None:
        """Another response goes on from it when it is at its end, and not before."""
        self.make_rank(*STORE, *LATENCY)
        self.start()
        exchange = self.create(previous_response_id="resp_mine")
        self.assertEqual((400, "previous_response_id"), (exchange.status, exchange.json()["error"]["param"]))
        self.clock.pump([0.1, 0.02, 0.02, 0.02])
        exchange = self.create(previous_response_id="resp_mine")
        self.clock.pump([0.1, 0.02, 0.02, 0.02])
        self.assertEqual(200, exchange.status)

    def test_stream(self) -> None:
        """Streamed, its events come as they are made; it goes on when the client leaves."""
        self.make_rank(*STORE, *LATENCY)
        exchange = self.start(stream=True)
        self.assertEqual((200, "text/event-stream; charset=utf-8"), (exchange.status, exchange.headers["content-type"]))
        self.assertEqual([], self.types(exchange))
        self.clock.advance(0.1)
        self.assertEqual("output_text.delta", self.types(exchange)[-1])
        exchange.drop()
        self.clock.pump([0.02, 0.02, 0.02])
        self.assertEqual("completed", self.status_of())

    def test_stream_again(self) -> None:
        """Its events can be asked for again, from any of them on, while it is made and when it is at its end."""
        self.make_rank(*STORE, *LATENCY)
        first = self.start(stream=True)
        second = self.retrieve("resp_mine", "?stream=true")
        self.clock.advance(0.1)
        third = self.retrieve("resp_mine", "?stream=true&starting_after=2")
        self.assertEqual([3, 4], [event["sequence_number"] for event in third.events()])
        self.clock.pump([0.02, 0.02, 0.02])
        for exchange, skipped in (
            (first, 0),
            (second, 0),
            (third, 3),
            (self.retrieve("resp_mine", "?stream=true"), 0),
            (self.retrieve("resp_mine", "?stream=true&starting_after=8"), 9),
            (self.retrieve("resp_mine", "?stream=true&starting_after=999"), 999),
        ):
            self.assertTrue(exchange.complete)
            self.assertEqual(first.events()[skipped:], exchange.events())
        self.assertEqual("completed", self.types(first)[-1])
        self.assertEqual(first.events()[-1]["response"], self.retrieve("resp_mine").json())

    def test_followers_may_leave(self) -> None:
        """A client that follows and leaves is missed by nobody."""
        self.make_rank(*STORE, *LATENCY)
        first = self.start(stream=True)
        second = self.retrieve("resp_mine", "?stream=true")
        self.clock.advance(0.1)
        second.drop()
        self.clock.pump([0.02, 0.02, 0.02])
        self.assertEqual("completed", self.types(first)[-1])

    def test_long_streams(self) -> None:
        """Many events are sent a part at a time, so that others have their turns, and all of them arrive."""
        self.make_rank(*STORE, "--max-model-len", "2000")
        said = "a " * 600
        events = self.start(stream=True, input=said)
        self.clock.pump([0] * 5)
        self.assertTrue(events.complete)
        again = self.retrieve("resp_mine", "?stream=true")
        self.assertFalse(again.complete)
        self.clock.pump([0] * 5)
        self.assertEqual(events.events(), again.events())
        self.assertGreater(len(again.events()), 600)
        half = self.retrieve("resp_mine", "?stream=true")
        half.drop()

    def test_unrecorded(self) -> None:
        """One that was not asked for as a stream cannot be had as one."""
        self.make_rank(*STORE, *LATENCY)
        self.start()
        self.assertEqual(400, self.retrieve("resp_mine", "?stream=true").status)
        self.clock.pump([0.1, 0.02, 0.02, 0.02])
        self.assertEqual(400, self.retrieve("resp_mine", "?stream=true").status)

    def test_cancel(self) -> None:
        """Cancelling it frees its slot at once; it stays cancelled, and those who follow it are told."""
        self.make_rank(*STORE, *LATENCY, "--max-num-seqs", "1")
        for wait in (0, 0.1):
            stream = self.start(stream=True)
            behind = self.start("behind")
            self.clock.advance(wait)
            exchange = self.cancel("resp_mine")
            self.assertEqual((200, "cancelled"), (exchange.status, exchange.json()["status"]))
            last = stream.events()[-1]
            self.assertEqual(("error", "response_cancelled"), (last["type"], last["code"]))
            self.assertTrue(stream.complete)
            self.assertEqual("cancelled", self.status_of())
            self.assertEqual(400, self.cancel("resp_mine").status)
            self.assertEqual(200, behind.status)
            self.clock.pump([0, 0.1, 0.02, 0.02, 0.02])
            self.assertEqual("completed", self.status_of("behind"))
            self.assertEqual(stream.events(), self.retrieve("resp_mine", "?stream=true").events())

    def test_refused(self) -> None:
        """A request that cannot be served is told so at once, and its name is free again."""
        self.make_rank(*STORE, *LATENCY, "--max-num-seqs", "1", "--max-waiting-queue-length", "0")
        exchange = self.start(temperature=3)
        self.assertEqual((400, "temperature"), (exchange.status, exchange.json()["error"]["param"]))
        self.assertEqual(404, self.retrieve("resp_mine").status)
        self.assertEqual(200, self.start().status)
        self.assertEqual(429, self.start("other").status)

    def test_draining(self) -> None:
        """A server that stops makes no more of them."""
        rank = self.make_rank(*STORE)
        self.patch(rank.simulator, "_lifecycle", _Draining())
        self.assertEqual(503, self.start(stream=True).status)
        self.assertEqual(404, self.retrieve("resp_mine").status)

    def test_same_name(self) -> None:
        """While it is made, no other of its name can be; afterwards another takes its place."""
        self.make_rank(*STORE, *LATENCY)
        self.start()
        exchange = self.start()
        self.assertEqual((400, "A response with id 'resp_mine' is in progress."), (
            exchange.status, exchange.json()["error"]["message"]
        ))  # fmt: skip
        self.clock.pump([0.1, 0.02, 0.02, 0.02])
        self.assertEqual(200, self.start(input="other").status)
        self.clock.pump([0.1, 0.02])
        self.assertEqual("other", self.retrieve("resp_mine").json()["output"][0]["content"][0]["text"])

    def test_same_name_beside_it(self) -> None:
        """A response that somebody waits for may have its name, and does not make room for a third."""
        self.make_rank(*STORE, *LATENCY)
        self.start()
        beside = self.post("/v1/responses", {"input": "x", "max_output_tokens": 1}, X_Request_Id="mine")
        self.clock.advance(0.1)
        self.assertEqual((200, "resp_mine"), (beside.status, beside.json()["id"]))
        self.assertEqual("in_progress", self.status_of())
        self.assertEqual(400, self.start().status)
        self.clock.pump([0.02] * 3)
        response = self.retrieve("resp_mine").json()
        self.assertEqual(("completed", "one two three"), (
            response["status"], response["output"][0]["content"][0]["text"]
        ))  # fmt: skip

    def test_shutdown(self) -> None:
        """A server that stops waits for it, and ends it if it takes too long; those who follow it are told."""
        rank = self.make_rank(*STORE, *LATENCY)
        stream = self.start(stream=True)
        drained = rank.simulator.requests.drain()
        self.assertNoResult(drained)
        self.clock.advance(0.1)
        rank.simulator.requests.dismiss()
        self.successResultOf(drained)
        self.assertEqual("failed", self.types(stream)[-1])
        response = self.retrieve("resp_mine").json()
        self.assertEqual(("failed", {"code": "server_error", "message": "The server is shutting down."}), (
            response["status"], response["error"]
        ))  # fmt: skip
        self.assertEqual(400, self.create(previous_response_id="resp_mine").status)

    def test_stop(self) -> None:
        """Whatever is in the making when the rank stops leaves nothing behind."""
        rank = self.make_rank(*STORE, *LATENCY)
        self.start()
        stream = self.start("other", stream=True)
        self.clock.advance(0.1)
        rank.lifecycle.drain()
        rank.stop()
        self.assertEqual("failed", self.types(stream)[-1])
        self.assertEqual(["failed"] * 2, [self.status_of(name) for name in ("mine", "other")])
        self.assertEqual(0, len(rank.simulator.requests))
        rank.lifecycle = _Draining()  # type: ignore[assignment]


class _Draining:
    """A lifecycle at its end."""

    def drain(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def accepting(self) -> bool:
        """Refuse."""
        return False


class BrokenTests(ResponseTestCase):
    """Faults of ours, while nobody waits."""

    def serve(self, script: Any) -> None:
        """Serve responses with a scripted simulator."""
        self.make_rank()
        store = ResponseStore(5)
        answering = Answering(
            ScriptedSimulator(script), {}, lambda function, *arguments: function(*arguments), unfailing()
        )
        dialect = ResponsesDialect(settings(), 256, store)
        routes = ResponseRoutes(answering, lambda: dialect, store, self.clock)
        self.rank.site.resource = RankResource([routes.app])

    def test_at_once(self) -> None:
        """An error of ours is logged, and the client learns no more than that there is one."""

        def fail(_request: InferenceRequest, _sink: ITokenSink) -> None:
            raise KeyError("secret")

        self.serve(fail)
        exchange = self.create(background=True)
        self.assertEqual((500, "Internal server error"), (exchange.status, exchange.json()["error"]["message"]))
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))

    def test_later(self) -> None:
        """The same is so when it comes later: then the response has failed."""
        served: Deferred[None] = Deferred()
        self.serve(lambda _request, _sink: served)
        name = self.create(background=True).json()["id"]
        served.errback(KeyError("secret"))
        response = self.retrieve(name).json()
        self.assertEqual(("failed", "Internal server error"), (response["status"], response["error"]["message"]))
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
