"""Faults 18 to 40: answers over HTTP that were wrong, or missing."""

import json
from typing import Any

from tests.catalogue.case import CHAT, COMPLETIONS, MESSAGES, RESPONSES
from tests.harness import Exchange, RankTestCase

PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FUNCTION = {"name": "f", "description": "d", "parameters": PARAMETERS}
TOOL = {"type": "function", "function": FUNCTION}


def turn(content: Any) -> list[dict[str, Any]]:
    """Make a conversation of one message."""
    return [{"role": "user", "content": content}]


SURFACES: tuple[tuple[str, dict[str, Any], Any], ...] = (
    (CHAT, {"messages": turn("x")}, TOOL),
    (RESPONSES, {"input": "x"}, {"type": "function", **FUNCTION}),
    (MESSAGES, {"model": "m", "messages": turn("x"), "max_tokens": 50}, {"name": "f", "input_schema": PARAMETERS}),
)
"""Each surface that calls tools, a body for it, and its form of a tool."""
ABSENT = (
    *("GET /version", "GET /ping", "POST /ping", "POST /v1/score", "POST /score", "POST /rerank", "POST /v1/rerank"),
    *(
        "POST /v2/rerank",
        "POST /pooling",
        "POST /classify",
        "GET /server_info",
        "POST /reset_prefix_cache",
        "GET /load",
    ),
    *("POST /abort_requests", "POST /v1/messages/count_tokens", "POST /detokenize"),
)
"""Routes that vLLM has and the original had not."""
NEITHER = ("/v1/models/m", "/v1/audio/transcriptions", "/v1/audio/translations")
"""Paths that a vLLM which serves a language model has not either."""


class ToolTests(RankTestCase):
    """Tools that are none, and the ends of calls."""

    def test_no_choice(self) -> None:
        """20: A choice of tools that is null is none, and an empty list of tools is no fault of the server's."""
        self.make_rank("m")
        for path, body, tool in SURFACES:
            for more in ({"tools": [tool], "tool_choice": None}, {"tools": None}, {"tools": None, "tool_choice": None}):
                self.assertEqual(200, self.post(path, {**body, **more}).status, (path, more))
            empty = self.post(path, {**body, "tools": []})
            if path == CHAT:
                self.assertEqual((400, "tools"), (empty.status, empty.json()["error"]["param"]))
            else:
                self.assertEqual(200, empty.status, path)

    def test_one_end(self) -> None:
        """21: A stream of several calls says once why it ended: in the last chunk of its choice."""
        self.make_rank("m", "--tool-call-extra-call-probability", "100")
        tools = [{"type": "function", "function": {**FUNCTION, "name": name}} for name in "fgh"]
        *chunks, _ = self.chat(tools=tools, tool_choice="required", stream=True).events()
        calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
        self.assertEqual({0, 1, 2}, {call["index"] for call in calls})
        ends = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
        self.assertEqual([None] * (len(chunks) - 1) + ["tool_calls"], ends)

    def test_no_arguments(self) -> None:
        """30: A call without arguments has an input that is empty, and not none."""
        self.make_rank("m")
        path, body, _ = SURFACES[2]
        tool = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
        answer = self.post(path, {**body, "tools": [tool], "tool_choice": {"type": "any"}}).json()
        self.assertEqual({}, answer["content"][0]["input"])


class ChoiceTests(RankTestCase):
    """Streams of several choices."""

    def test_ends(self) -> None:
        """22: Each choice of a stream has its own end, and all chunks have the one id of the answer."""
        self.make_rank("m", "--inter-token-latency", "10ms")
        for path, body in ((CHAT, {"messages": turn("x")}), (COMPLETIONS, {"prompt": ["x", "y"]})):
            asked = {**body, "n": 12, "max_tokens": 12, "stream": True, "seed": 3}
            exchange = self.post(path, asked)
            self.clock.pump([0.01] * 99)
            *chunks, done = exchange.events()
            self.assertEqual(("[DONE]", 1), (done, len({chunk["id"] for chunk in chunks})))
            ends = {
                choice["index"]: choice["finish_reason"]
                for chunk in chunks
                for choice in chunk["choices"]
                if choice["finish_reason"]
            }
            whole = self.post(path, {**asked, "stream": False})
            self.clock.pump([0.01] * 99)
            self.assertEqual({each["index"]: each["finish_reason"] for each in whole.json()["choices"]}, ends)
            self.assertEqual({"stop", "length"}, set(ends.values()))

    def test_refused(self) -> None:
        """23: A stream of choices of which too little is cached ends each of them, then with usage and [DONE]."""
        self.make_rank("m", "--enable-kvcache", "--zmq-endpoint", "")
        prompt = "x " * 50
        for path, body, count in ((CHAT, {"messages": turn(prompt)}, 3), (COMPLETIONS, {"prompt": [prompt] * 2}, 6)):
            usage = {"stream": True, "stream_options": {"include_usage": True}}
            *chunks, last, done = self.post(path, {**body, **usage, "n": 3, "cache_hit_threshold": 1.0}).events()
            ends = [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"][0]["finish_reason"]]
            self.assertEqual(["cache_threshold"] * count, ends)
            self.assertEqual(([], 0, "[DONE]"), (last["choices"], last["usage"]["completion_tokens"], done))

    def test_nothing_to_say(self) -> None:
        """24: An echo of nothing is an empty answer, whole and streamed, on every surface."""
        self.make_rank("m", "--mode", "echo")
        contents: tuple[Any, ...] = ("", None, [])
        for content in contents:
            chat = {"messages": turn(content)}
            self.assertEqual("", self.post(CHAT, chat).json()["choices"][0]["message"]["content"])
            *_, last, done = self.post(CHAT, {**chat, "stream": True}).events()
            self.assertEqual(("stop", "[DONE]"), (last["choices"][0]["finish_reason"], done))
        for path, body, end in (
            (RESPONSES, {"input": ""}, "response.completed"),
            (MESSAGES, {"model": "m", "max_tokens": 5, "messages": turn("")}, "message_stop"),
        ):
            self.assertEqual(200, self.post(path, body).status)
            self.assertIn(f"event: {end}\n", self.post(path, {**body, "stream": True}).body.decode())


class RouteTests(RankTestCase):
    """Routes and their state."""

    def test_absent(self) -> None:
        """35: Every route is there that vLLM has for a language model, and none that it has not."""
        self.make_rank("m")
        paths = dict(self.rank.resource.paths())
        for route in ABSENT:
            method, _, path = route.partition(" ")
            self.assertIn(method, paths[path], path)
        for path in NEITHER:
            self.assertEqual(404, self.get(path).status, path)

    def test_adapters_in_order(self) -> None:
        """39: Adapters are listed in the order in which they came, the same each time, and there is an end to them."""
        self.make_rank("m", "--lora-modules", "zeta=/z", "alpha=/a")
        for name in ("mu", "beta"):
            self.load(name)
        self.post("/v1/unload_lora_adapter", {"lora_name": "alpha"})
        self.load("alpha")
        for _ in range(3):
            names = [each["id"] for each in self.get("/v1/models").json()["data"]]
            self.assertEqual(["m", "zeta", "mu", "beta", "alpha"], names)
        statuses = [self.load(f"more{number}").status for number in range(997)]
        self.assertEqual([200] * 996 + [400], statuses)
        self.assertEqual(400, self.load("x" * 2000).status)

    def load(self, name: str) -> Exchange:
        """Load an adapter."""
        return self.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": f"/{name}"})

    def test_block_ids(self) -> None:
        """40: Ids of blocks may be integers, texts, lists, groups of them, or nothing: who hands them over knows."""
        self.make_rank("m")
        for ids in ([1, 2], ["1"], [[1, 2]], [[], [3]], 7, "x", None, [2**64]):
            params = {"do_remote_prefill": True, "remote_block_ids": ids, "remote_host": "h", "remote_port": 1}
            for path, body, _ in SURFACES:
                answer = self.post(path, {**body, "kv_transfer_params": params})
                self.assertEqual(200, answer.status, (path, ids, answer.body))

    def test_result_of_parts(self) -> None:
        """29: The result of a call may be a text or parts."""
        self.make_rank("m", "--mode", "echo")
        call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
        for output in ("sunny", [{"type": "input_text", "text": "sunny"}]):
            result = {"type": "function_call_output", "call_id": "c", "output": output}
            answer = self.post(RESPONSES, {"input": [call, result]}).json()
            self.assertEqual("sunny", answer["output"][0]["content"][0]["text"])


class LeavingTests(RankTestCase):
    """Clients that leave."""

    def test_everywhere(self) -> None:
        """19: Whatever a client has asked for, and whenever it leaves, nothing of it goes on or counts as a success."""
        words = ("--max-num-seqs", "2", "--time-to-first-token", "1s", "--inter-token-latency", "1s", "--mode", "echo")
        self.make_rank("m", *words, "--enable-kvcache", "--zmq-endpoint", "")
        text = "x " * 40
        generating: list[tuple[str, dict[str, Any]]] = [
            (CHAT, {"messages": turn(text), "n": 3}),
            (COMPLETIONS, {"prompt": [text] * 3, "max_tokens": 9}),
            (RESPONSES, {"input": text}),
            (MESSAGES, {"model": "m", "messages": turn(text), "max_tokens": 9}),
            ("/inference/v1/generate", {"token_ids": [*range(40)], "sampling_params": {"n": 3, "max_tokens": 9}}),
        ]
        others: list[tuple[str, dict[str, Any]]] = [
            ("/v1/chat/completions/batch", {"messages": [turn(text)] * 3}),
            ("/generative_scoring", {"query": "q", "items": ["a", "b", "c"], "label_token_ids": [1, 2]}),
            ("/v1/embeddings", {"input": ["a", "b", "c"]}),
            ("/rerank", {"query": "a", "documents": ["a", "b", "c"]}),
        ]
        for path, body in [*generating, *others, *((path, {**body, "stream": True}) for path, body in generating)]:
            # Of others some sequences have ended well after a second.
            for seconds in (0, 0.5) if (path, body) in others else (0, 0.5, 1.5, 3.5):
                asked = self.post(path, body)
                self.clock.pump([0.25] * int(seconds * 4))
                self.assertFalse(asked.complete, (path, asked.raw))
                asked.drop()
                self.clock.advance(0)
                self.assertEqual([], self.busy(), (path, seconds))
                self.clock.advance(60)

    def busy(self) -> list[str]:
        """List the metrics of sequences that are not 0."""
        names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "request_success_total")
        lines = self.get("/metrics").body.decode().splitlines()
        begins = tuple(f"vllm:{name}{{" for name in names)
        return [line for line in lines if line.startswith(begins) and not line.endswith(" 0.0")]


class HeadTests(RankTestCase):
    """Requests that are too large, or none at all."""

    def test_never_silence(self) -> None:
        """18: What is too large or malformed is answered with an error that says so, never with 200 and nothing."""
        self.make_rank("m", "--max-request-body-size-mb", "1")
        large = json.dumps({"prompt": "x" * (2 << 20)}).encode()
        refused = self.post(COMPLETIONS, large)
        self.assertEqual(413, refused.status)
        self.assertIn("larger than 1048576 bytes", refused.json()["error"]["message"])
        for head in (
            b"GET\r\n\r\n",
            b"\0\r\n\r\n",
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: " + b"b" * (5 << 20) + b"\r\n\r\n",
        ):
            exchange = self.connect().send_bytes(head)
            self.assertIn(exchange.status, {400, 413, 431}, head[:60])
            self.assertTrue(exchange.body, head[:60])
        self.assertEqual(200, self.complete().status)
