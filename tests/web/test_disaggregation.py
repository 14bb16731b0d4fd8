"""The routes for servers that share the work, with a whole rank behind them."""

from typing import Any

from twisted.internet.defer import Deferred

from tests.api.test_errors import recordings
from tests.fakes import in_thread
from tests.harness import RankTestCase
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.live import LiveConfiguration
from vllmsim.rank import build_rank

HI = [{"role": "user", "content": "This is a test."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
GATED = (
    "/inference/v1/generate", "/v1/chat/completions/render", "/v1/completions/render", "/v1/chat/completions/derender",
    "/v1/completions/derender", "/v1/messages/render", "/v1/responses/render",
)  # fmt: skip


class GateTests(RankTestCase):
    """Servers that were told not to share."""

    def test_closed(self) -> None:
        """Every one of these routes is closed, whatever is sent there, in vLLM's words."""
        self.make_rank("--no-enable-scale-out")
        for path in GATED:
            exchange = self.post(path, b"{")
            self.assertEqual(recordings()["gen403"], (exchange.status, exchange.body), path)

    def test_tokens_only(self) -> None:
        """A server for tokens alone shares all the same."""
        self.make_rank("--no-enable-scale-out", "--tokens-only")
        self.assertEqual(200, self.post(GATED[0], {"token_ids": [1], "sampling_params": {}}).status)


class GenerateTests(RankTestCase):
    """Token ids in, token ids out."""

    def generate(self, *ids: int, sampling: dict[str, Any] | None = None, **fields: Any) -> Any:
        """Send a generate request."""
        headers = fields.pop("headers", {})
        asked = {"token_ids": list(ids), "sampling_params": sampling or {}, **fields}
        return self.post("/inference/v1/generate", asked, **headers)

    def test_whole(self) -> None:
        """An answer has as many ids as were asked for at most, and names the server."""
        self.make_rank("--pod-name", "p")
        exchange = self.generate(10, 20, 30, 40, sampling={"max_tokens": 5})
        answer = exchange.json()
        self.assertEqual((200, "p"), (exchange.status, exchange.headers["x-inference-pod"]))
        self.assertRegex(answer["request_id"], "^generate-tokens-[0-9a-f]{16}$")
        [choice] = answer["choices"]
        self.assertLessEqual(len(choice["token_ids"]), 5)
        self.assertEqual((4, len(choice["token_ids"])),
                         (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]))  # fmt: skip
        self.assertEqual((None, None), (answer["kv_transfer_params"], answer["ec_transfer_params"]))

    def test_request_id(self) -> None:
        """The client's id becomes part of the answer's."""
        self.make_rank()
        exchange = self.generate(1, sampling={"max_tokens": 1}, headers={"X_Request_Id": "abc"})
        self.assertEqual("generate-tokens-abc", exchange.json()["request_id"])

    def test_echo(self) -> None:
        """Ids that the server has made are known to it as text; others are spelled."""
        self.make_rank("--mode", "echo")
        ids = self.post("/tokenize", {"prompt": "Hello world!"}).json()["tokens"]
        [choice] = self.generate(*ids, output_mode="text").json()["choices"]
        self.assertEqual(("Hello world!", ids), (choice["text"], choice["token_ids"][:-1]))
        self.assertEqual("stop", choice["finish_reason"])

    def test_stream_in_time(self) -> None:
        """The first id comes after the prefill, each further one in its own time."""
        self.make_rank("--mode", "echo", "--time-to-first-token", "100ms", "--inter-token-latency", "20ms")
        exchange = self.generate(1, 2, 3, stream=True, stream_options={"include_usage": True})
        self.clock.advance(0.099)
        self.assertEqual(b"", exchange.raw)
        self.clock.advance(0.001)
        self.assertEqual("text/event-stream; charset=utf-8", exchange.headers["content-type"])
        self.assertEqual([1], exchange.events()[-1]["choices"][0]["token_ids"])
        for _ in range(3):
            self.clock.advance(0.02)
        *chunks, usage, done = exchange.events()
        self.assertEqual([1, 2, 3], [chunk["choices"][0]["token_ids"][0] for chunk in chunks[:3]])
        self.assertEqual([None, None, None, "stop"], [chunk["choices"][0]["finish_reason"] for chunk in chunks])
        self.assertEqual((3, 4, "[DONE]"), (usage["usage"]["prompt_tokens"], usage["usage"]["completion_tokens"], done))

    def test_abort(self) -> None:
        """A router can end a request by the id of its answer; the stream ends with what was said."""
        self.make_rank("--time-to-first-token", "100ms", "--inter-token-latency", "20ms")
        for mode in ("tokens", "text", "derender"):
            exchange = self.generate(1, 2, stream=True, request_id="x", output_mode=mode, sampling={"ignore_eos": True,
                                     "max_tokens": 9})  # fmt: skip
            self.clock.advance(0.1)
            self.assertEqual(
                200, self.post("/inference/v1/abort_requests", {"request_ids": ["generate-tokens-x"]}).status
            )
            first, last, done = exchange.events()
            self.assertIsNone(first["choices"][0]["finish_reason"])
            self.assertEqual(("abort", [], "[DONE]"),
                             (last["choices"][0]["finish_reason"], last["choices"][0]["token_ids"], done))  # fmt: skip
        whole = self.generate(1, 2, request_id="y")
        self.post("/inference/v1/abort_requests", {"request_ids": ["y"]})
        [choice] = whole.json()["choices"]
        self.assertEqual(("abort", [], []), (choice["finish_reason"], choice["token_ids"], choice["weight_versions"]))

    def test_prefill_and_decode(self) -> None:
        """One server computes the prompt and says where its blocks are; another goes on from there, in no prefill."""
        self.make_rank("--time-to-first-token", "1s", "--kv-cache-transfer-latency", "10ms")
        before = {"max_tokens": 1, "extra_args": {"kv_transfer_params": {"do_remote_decode": True}}}
        prefill = self.generate(*range(20), sampling=before)
        self.clock.advance(1)
        handed = prefill.json()["kv_transfer_params"]
        self.assertEqual((True, [[1, 2]]), (handed["do_remote_prefill"], handed["remote_block_ids"]))
        decode = self.generate(*range(20), sampling={"max_tokens": 1}, kv_transfer_params=handed)
        self.clock.advance(0.01)
        self.assertEqual(200, decode.status)

    def test_encoder(self) -> None:
        """An encoder answers with an exclamation mark, and says where the encoding of each image is."""
        self.make_rank("--mm-encoder-only")
        answer = self.generate(1, 2, features={"mm_hashes": {"image": ["a", "b"]}}).json()
        self.assertEqual(["a", "b"], list(answer["ec_transfer_params"]))
        self.assertEqual(([604802540], "length"),
                         (answer["choices"][0]["token_ids"], answer["choices"][0]["finish_reason"]))  # fmt: skip
        self.assertIsNone(self.generate(1, 2).json()["ec_transfer_params"])

    def test_refused(self) -> None:
        """Values beyond the limits of the engine are refused in its words."""
        self.make_rank("--max-model-len", "16")
        for exchange, text in (
            (self.generate(*range(17)), "at least 17 input tokens"),
            (self.generate(*range(16)), "max_tokens must be at least 1, got 0."),
            (self.generate(1, sampling={"max_tokens": 17}), "max_tokens=17 cannot be greater"),
            (self.generate(1, sampling={"temperature": 3}), "temperature must be in [0, 2]"),
            (self.generate(1, sampling={"logprobs": 30}), "Requested sample logprobs of 30"),
            (self.generate(2**32), "Token id 4294967296 is out of vocabulary"),
            (self.generate(*[1] * 1_000_000), "contains 1000000 input tokens"),
        ):
            self.assertEqual(400, exchange.status)
            self.assertIn(text, exchange.json()["error"]["message"])


class RenderTests(RankTestCase):
    """Requests that are shown, not served."""

    def test_completions(self) -> None:
        """Texts become token ids, a list of requests; ids stay as they are."""
        self.make_rank()
        for prompt, expected in (
            ("hello world", [["hello ", "world"]]),
            (["a", "b c"], [["a"], ["b ", "c"]]),
        ):
            shown = self.post("/v1/completions/render", {"prompt": prompt}).json()
            texts = [[self.rank_text(token) for token in each["token_ids"]] for each in shown]
            self.assertEqual((expected, [None] * len(shown)), (texts, [each["features"] for each in shown]))
        for ids in ([[10, 20, 30]], [[1, 2], [3, 4, 5]]):
            shown = self.post("/v1/completions/render", {"prompt": ids if len(ids) > 1 else ids[0]}).json()
            self.assertEqual(ids, [each["token_ids"] for each in shown])
            self.assertEqual({16}, {each["sampling_params"]["max_tokens"] for each in shown})

    def rank_text(self, token: int) -> str:
        """Ask for the text of a token."""
        return str(self.post("/detokenize", {"tokens": [token]}).json()["prompt"])

    def test_chat(self) -> None:
        """A chat becomes one request, whose answer may fill what the context leaves."""
        self.make_rank("--max-model-len", "100")
        exchange = self.post("/v1/chat/completions/render", {"messages": HI})
        shown = exchange.json()
        tokens = self.post("/tokenize", {"messages": HI}).json()["tokens"]
        self.assertEqual((tokens, 90), (shown["token_ids"], shown["sampling_params"]["max_tokens"]))

    def test_messages(self) -> None:
        """Messages become the request that the same chat becomes; errors have the shape of their surface."""
        self.make_rank()
        chat = self.post("/v1/chat/completions/render", {"messages": HI, "max_tokens": 5}).json()
        asked = {"model": "Qwen/Qwen3-0.6B", "messages": HI, "max_tokens": 5}
        shown = self.post("/v1/messages/render", asked).json()
        self.assertEqual({**chat, "request_id": ""}, {**shown, "request_id": ""})
        error = self.post("/v1/messages/render", asked | {"model": "zzz"}).json()
        self.assertEqual(("error", "not_found_error"), (error["type"], error["error"]["type"]))

    def test_responses(self) -> None:
        """Responses become the request that the same chat becomes, and can be generated from."""
        self.make_rank()
        chat = self.post("/v1/chat/completions/render", {"messages": HI, "max_tokens": 5}).json()
        shown = self.post("/v1/responses/render", {"input": HI, "max_output_tokens": 5}).json()
        self.assertEqual({**chat, "request_id": ""}, {**shown, "request_id": ""})
        self.assertEqual(200, self.post("/inference/v1/generate", shown).status)

    def test_nothing_is_served(self) -> None:
        """Rendering takes no slot and no time, even where no slot is free."""
        self.make_rank("--max-num-seqs", "1", "--max-waiting-queue-length", "0", "--time-to-first-token", "1s")
        self.chat()
        self.assertEqual(429, self.chat().status)
        self.assertEqual(200, self.post("/v1/chat/completions/render", {"messages": HI}).status)

    def test_adapters(self) -> None:
        """Requests for an adapter can be rendered too."""
        self.make_rank("--lora-modules", "ad1=/x")
        shown = self.post("/v1/chat/completions/render", {"messages": HI, "model": "ad1"}).json()
        self.assertEqual("ad1", shown["model"])

    def test_refused(self) -> None:
        """What could not be served is not shown."""
        self.make_rank("--max-model-len", "16")
        for path, asked, status in (
            ("/v1/chat/completions/render", {"messages": []}, 400),
            ("/v1/chat/completions/render", {"messages": HI, "model": "zzz"}, 404),
            ("/v1/chat/completions/render", {"messages": HI * 9}, 400),
            ("/v1/chat/completions/render", {"messages": HI, "temperature": 3}, 400),
            ("/v1/completions/render", {"prompt": []}, 400),
            ("/v1/completions/render", {"prompt": [["a"]]}, 400),
        ):
            self.assertEqual(status, self.post(path, asked).status, asked)


class RoundTripTests(RankTestCase):
    """A request goes from server to server, and its answer is the one that a single server would have given."""

    def setUp(self) -> None:
        """Serve a rank that reasons and repeats itself."""
        self.make_rank("--reasoning-parser", "qwen3", "--seed", "3")

    def expected(self, chat: dict[str, Any]) -> Any:
        """Ask for the answer in one step."""
        return self.post("/v1/chat/completions", chat | {"seed": 5}).json()["choices"][0]

    def rendered(self, chat: dict[str, Any]) -> Any:
        """Render a request."""
        return self.post("/v1/chat/completions/render", chat | {"seed": 5}).json()

    def same(self, expected: Any, choice: Any, name: str = "message") -> None:
        """Compare two choices, but for the ids of calls."""
        for message in (expected["message"], choice[name]):
            for call in message.get("tool_calls", ()):
                call["id"] = "ID"
        self.assertEqual(expected["message"], choice[name])
        self.assertEqual(expected["finish_reason"], choice["finish_reason"])

    def test_whole(self) -> None:
        """Render, generate, derender: the message is the same, with reasoning and calls of tools."""
        for fields in ({"max_tokens": 50}, {"tools": [TOOL], "tool_choice": "required"}, {"max_tokens": 4}):
            chat = {"messages": HI, **fields}
            shown = self.rendered(chat)
            generated = self.post("/inference/v1/generate", shown).json()
            asked = {"generate_response": generated, "chat_request": chat, "prompt_tokens": len(shown["token_ids"])}
            answer = self.post("/v1/chat/completions/derender", asked).json()
            self.same(self.expected(chat), answer["choices"][0])
            self.assertEqual(generated["usage"]["total_tokens"], answer["usage"]["total_tokens"])

    def test_derender_at_once(self) -> None:
        """A generate request can have its own answer made into a message."""
        chat = {"messages": HI, "tools": [TOOL], "tool_choice": "required"}
        answer = self.post("/inference/v1/generate", self.rendered(chat) | {"output_mode": "derender"}).json()
        self.same(self.expected(chat), answer["choices"][0])

    def test_stream(self) -> None:
        """Chunk by chunk, the deltas add up to the same message."""
        chat = {"messages": HI, "tools": [TOOL], "tool_choice": "required"}
        exchange = self.post("/inference/v1/generate", self.rendered(chat) | {"stream": True})
        *chunks, done = exchange.events()
        self.assertEqual("[DONE]", done)
        state: Any = None
        message: Any = {"reasoning": "", "arguments": "", "name": ""}
        for chunk in chunks:
            asked = {"stream": True, "generate_chunk": chunk, "stream_state": state, "chat_request": chat}
            answer = self.post("/v1/chat/completions/derender", asked).json()
            state, choice = answer["stream_state"], answer["chunk"]["choices"][0]
            message["reasoning"] += choice["delta"].get("reasoning", "")
            for call in choice["delta"].get("tool_calls", ()):
                message["arguments"] += call["function"].get("arguments", "")
                message["name"] += call["function"].get("name", "")
        expected = self.expected(chat)
        self.assertEqual(expected["finish_reason"], choice["finish_reason"])
        self.assertEqual(expected["message"]["reasoning"], message["reasoning"])
        [call] = expected["message"]["tool_calls"]
        self.assertEqual(call["function"], {"name": message["name"], "arguments": message["arguments"]})

    def test_completions(self) -> None:
        """Completions make the same way, one response for each prompt."""
        prompts = ["one two", "three"]
        shown = self.post("/v1/completions/render", {"prompt": prompts, "seed": 5}).json()
        generated = [self.post("/inference/v1/generate", each).json() for each in shown]
        answer = self.post("/v1/completions/derender", {"generate_responses": generated}).json()
        texts = [self.complete(prompt, seed=5).json()["choices"][0]["text"] for prompt in prompts]
        self.assertEqual(texts, [choice["text"] for choice in answer["choices"]])

    def test_a_loop_of_calls_ends(self) -> None:
        """After a call and its result the model, free to choose, answers in text on this way too."""
        calls = [{"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]
        turns = [*HI, {"role": "assistant", "tool_calls": calls}, {"role": "tool", "tool_call_id": "c", "content": "x"}]
        chat = {"messages": turns, "tools": [TOOL]}
        answer = self.post("/inference/v1/generate", self.rendered(chat) | {"output_mode": "derender"}).json()
        self.assertNotIn("tool_calls", answer["choices"][0]["message"])


class DerenderTests(RankTestCase):
    """Answers that are made of token ids."""

    def test_long(self) -> None:
        """A long request is read and answered in a thread."""
        threads: list[Any] = []

        def count(function: Any, *arguments: Any) -> Deferred[Any]:
            threads.append(function)
            return in_thread(function, *arguments)

        self.make_rank("--max-model-len", "100k")
        rank = build_rank(LiveConfiguration(self.configuration), 0, 7, Clocks.same(self.clock, lambda: 0.0), count)
        self.rank.site.resource = rank.resource
        for length, expected in ((1000, 0), (4000, 1)):
            response = {"request_id": "r", "choices": [{"index": 0, "token_ids": [1] * length}]}
            exchange = self.post("/v1/chat/completions/derender", {"generate_response": response})
            self.assertEqual((200, expected), (exchange.status, len(threads)))

    def test_refused(self) -> None:
        """Errors have the shape of the API."""
        self.make_rank("--max-model-len", "16")
        response = {"request_id": "r", "choices": [{"index": 0, "token_ids": [1] * 17}]}
        for path, asked, status in (
            ("/v1/chat/completions/derender", {}, 400),
            ("/v1/chat/completions/derender", {"generate_response": response}, 400),
            ("/v1/completions/derender", {"generate_responses": []}, 400),
            ("/v1/completions/derender", {"generate_responses": [response], "model": "zzz"}, 404),
        ):
            exchange = self.post(path, asked)
            self.assertEqual((status, status), (exchange.status, exchange.json()["error"]["code"]))
