"""What operators may do to a rank, as clients and metrics see it."""

import json
from typing import Any

from tests.harness import Exchange, RankTestCase

PAUSED = (
    b'{"error":{"message":"Generation is paused. Please retry after it resumes.",'
    b'"type":"ServiceUnavailableError","param":null,"code":503}}'
)
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
LABELS = '{engine="0",model_name="Qwen/Qwen3-0.6B"}'


class ControlTestCase(RankTestCase):
    """A rank of one slot, whose tokens come 100 ms apart, the first after a second."""

    def setUp(self) -> None:
        """Start the rank."""
        self.make_rank(
            "--max-num-seqs", "1", "--time-to-first-token", "1s", "--inter-token-latency", "100ms", "--mode", "echo",
            "--enable-sleep-mode", "--enable-server-load-tracking",
        )  # fmt: skip

    def counts(self) -> tuple[float, float, float]:
        """Tell what runs, waits, and is counted by /load."""
        return self.sample(RUNNING + LABELS), self.sample(WAITING + LABELS), self.get("/load").json()["server_load"]

    def put(self, path: str) -> Any:
        """Send an empty request and read the answer."""
        exchange = self.post(path, b"")
        self.assertEqual((200, "application/json"), (exchange.status, exchange.headers["content-type"]))
        return exchange.json()

    def finished(self, exchange: Exchange) -> tuple[int, str, str]:
        """Tell status, text and finish reason of a whole answer or a stream of one choice."""
        if "text/event-stream" not in exchange.headers["content-type"]:
            [choice] = exchange.json()["choices"]
            return (
                exchange.status,
                choice.get("text", choice.get("message", {}).get("content")),
                choice["finish_reason"],
            )
        *events, done = exchange.events()
        self.assertEqual(("[DONE]", True), (done, exchange.complete))
        choices = [choice for event in events for choice in event["choices"]]
        text = "".join(each["text"] if "text" in each else each["delta"]["content"] for each in choices)
        return exchange.status, text, choices[-1]["finish_reason"]


class AbortTests(ControlTestCase):
    """Requests end with what they have said."""

    def start_all(self) -> list[Exchange]:
        """Start each kind of request, and one that waits behind each."""
        words, more = "one two three four", {"stream_options": {"include_usage": True}}
        return [
            self.complete(words),
            self.complete(words, stream=True),
            self.complete(words, stream=True, **more, return_token_ids=True, logprobs=1),
            self.chat(words),
            self.chat(words, stream=True),
            self.chat(words, stream=True, **more, stream_interval=3, logprobs=True),
        ]

    def test_decoding(self) -> None:
        """What was said stays said: two tokens, the reason, and the end of the stream."""
        for number in range(6):
            exchange = self.start_all()[number]
            self.clock.advance(0)
            for other in self.exchanges:
                if other is not exchange and not other.complete:
                    other.drop()
            self.clock.pump([0, 1, 0.1])
            self.assertEqual({"status": "aborted", "aborted": 1}, self.put("/abort_requests"))
            self.assertEqual((200, "one two ", "abort"), self.finished(exchange), number)
            self.assertEqual((0, 0, 0), self.counts())

    def test_waiting_and_prefill(self) -> None:
        """What has said nothing says nothing, and the queue is empty at once."""
        exchanges = self.start_all()
        self.clock.advance(0.5)
        self.assertEqual((1, 5, 6), self.counts())
        self.assertEqual({"status": "aborted", "aborted": 6}, self.put("/abort_requests"))
        for exchange in exchanges:
            self.assertEqual((200, "", "abort"), self.finished(exchange))
        self.assertEqual((0, 0, 0), self.counts())
        success = 'vllm:request_success_total{engine="0",finished_reason="%s",model_name="Qwen/Qwen3-0.6B"}'
        self.assertEqual([0, 0], [self.sample(success % reason) for reason in ("abort", "stop")])
        self.assertEqual(0, self.sample("vllm:request_params_n_count" + LABELS))

    def test_chunks(self) -> None:
        """The last chunk of a stream has an empty text, the reason, and everything else that vLLM's last chunk has."""
        exchange = self.chat("one two three", stream=True)
        self.clock.pump([0, 1, 0.1])
        self.put("/abort_requests")
        *_, last, _ = exchange.events()
        choice = {
            "index": 0,
            "delta": {"content": ""},
            "logprobs": None,
            "finish_reason": "abort",
            "stop_reason": None,
            "token_ids": None,
            "weight_versions": None,
        }
        self.assertEqual([choice], last["choices"])
        self.assertEqual(["system_fingerprint", "kv_transfer_params"], list(last)[5:])

    def test_usage(self) -> None:
        """Usage counts the tokens that were said, also those that a stream had not sent yet."""
        whole = self.complete("one two three", max_tokens=9)
        stream = self.complete("one two", stream=True, stream_interval=9, stream_options={"include_usage": True})
        self.clock.pump([0, 1, 0.1])
        self.put("/abort_requests")
        usage = whole.json()["usage"]
        self.assertEqual((3, 2, 5), (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]))
        self.assertEqual(0, stream.events()[-2]["usage"]["completion_tokens"])
        stream = self.complete("one two three", stream=True, stream_interval=9, stream_options={"include_usage": True})
        self.clock.pump([0, 1, 0.1, 0.1])
        self.put("/abort_requests")
        events = stream.events()
        self.assertEqual(["one ", "two three"], [event["choices"][0]["text"] for event in events[:-2]])
        self.assertEqual(3, events[-2]["usage"]["completion_tokens"])

    def test_ids(self) -> None:
        """Requests go by their answer's id, by the part behind the prefix, and by their prompt's number."""
        for ids, counts in (
            (["chatcmpl-a"], "abort stop stop"),
            (["a"], "abort abort stop"),
            (["cmpl-a-1", "nobody", "cmpl-"], "stop stop,abort stop"),
            (["cmpl-b-0", "b"], "stop stop abort"),
        ):
            exchanges = [
                self.post(path, {**body, "request_id": name})
                for path, name, body in (
                    ("/v1/chat/completions", "a", {"messages": [{"role": "user", "content": "x"}]}),
                    ("/v1/completions", "a", {"prompt": ["x", "y"] if "," in counts else "x"}),
                    ("/v1/completions", "b", {"prompt": "x"}),
                )
            ]
            answer = self.post("/abort_requests", {"request_ids": ids}).json()
            self.assertEqual(counts.count("abort"), answer["aborted"])
            self.clock.pump([0, *[1, 0.1, 0] * 5])
            reasons = [",".join(c["finish_reason"] for c in each.json()["choices"]) for each in exchanges]
            self.assertEqual(counts, " ".join(reasons))

    def test_the_next_one_runs(self) -> None:
        """The slot of an aborted request is free for the next."""
        first, second = self.complete("one", request_id="a"), self.complete("two")
        self.clock.advance(0.5)
        self.post("/abort_requests", {"request_ids": ["cmpl-a"]})
        self.clock.advance(0)
        self.assertEqual((1, 0, 1), self.counts())
        self.clock.pump([1, 0.1])
        self.assertEqual(((200, "", "abort"), (200, "two", "stop")), (self.finished(first), self.finished(second)))

    def test_choices(self) -> None:
        """A request of several choices that is aborted ends each of them, whether it runs or waits."""
        exchange = self.complete(["one two", "three"], n=2, stream=True, request_id="a")
        self.clock.pump([0, 1])
        self.assertEqual(1, self.post("/abort_requests", {"request_ids": ["a"]}).json()["aborted"])
        ends = {c["index"]: c["finish_reason"] for e in exchange.events()[:-1] for c in e["choices"]}
        self.assertEqual(dict.fromkeys(range(4), "abort"), ends)

    def test_parts(self) -> None:
        """Calls, reasoning, images and messages may be aborted at any token: what was said is there, and no more."""
        user = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 99}
        tool = {
            "name": "f",
            "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        }
        call = {"tools": [{"type": "function", "function": tool}], "tool_choice": "required"}
        for words, fields, headers in (
            (["--tool-call-parser", "hermes"], call, {}),
            (["--reasoning-parser", "qwen3"], {}, {}),
            (["--omni"], {}, {"X_Send_Image": "true"}),
        ):
            for tokens in range(1, 6):
                # Equal seeds say the same.
                self.make_rank("--max-num-seqs", "9", "--inter-token-latency", "1s", "--model", "m", *words)
                body = {**user, **fields, "seed": 1, "ignore_eos": not fields}
                whole = self.post("/v1/chat/completions", body, **headers)
                stream = self.post("/v1/chat/completions", {**body, "stream": True}, **headers)
                message = self.post("/v1/messages", {**user, "model": "m", "stream": True})
                self.clock.pump([0, *[1] * (tokens - 1)])
                self.assertEqual(3, self.put("/abort_requests")["aborted"])
                [choice] = whole.json()["choices"]
                self.assertEqual(
                    ("abort", tokens), (choice["finish_reason"], whole.json()["usage"]["completion_tokens"])
                )
                choices = [event["choices"][0] for event in stream.events()[:-1]]
                self.assertEqual([None] * (len(choices) - 1) + ["abort"], [each["finish_reason"] for each in choices])
                said = json.dumps([choice["message"], *choices])
                self.assertNotIn("image_url", said)
                text = self.joined([choice["message"]])
                self.assertEqual(text, self.joined([each["delta"] for each in choices]))
                self.assertEqual(tokens > 1 or not words[0].endswith("parser"), bool(text))
                self.assertTrue(message.complete)
                self.assertIn(b"message_stop", message.body)

    def joined(self, deltas: list[Any]) -> str:
        """Join everything that deltas, or a message, say."""
        text = ""
        for delta in deltas:
            content = delta.get("content") or ""
            text += content if isinstance(content, str) else "".join(block["text"] for block in content)
            text += delta.get("reasoning") or ""
            functions = [call["function"] for call in delta.get("tool_calls") or []]
            text += "".join(each.get("name", "") + each.get("arguments", "") for each in functions)
        return text

    def test_bad_bodies(self) -> None:
        """A body that names no requests is refused in vLLM's form, and nothing is aborted."""
        exchange = self.complete("one")
        for body, param in (
            (b"[]", "body"), (b"{", "body.1"), (b'{"request_ids":"a"}', "body.request_ids"),
            (b'{"request_ids":[1]}', "body.request_ids.0"),
        ):  # fmt: skip
            answer = self.post("/abort_requests", body)
            self.assertEqual((400, "Bad Request"), (answer.status, answer.json()["error"]["type"]))
            self.assertEqual(param, answer.json()["error"]["param"])
        self.clock.pump([0, 1, 0.1])
        self.assertEqual((200, "one", "stop"), self.finished(exchange))

    def test_no_content_type(self) -> None:
        """The body counts whatever its type is said to be."""
        exchange = self.connect().send("POST", "/abort_requests", b'{"request_ids":["a"]}')
        self.assertEqual((200, 0), (exchange.status, exchange.json()["aborted"]))


class PauseTests(ControlTestCase):
    """A rank that is paused lets no request in."""

    def test_abort(self) -> None:
        """By default a pause ends what runs and what waits."""
        exchanges = [self.complete("one"), self.chat("two", stream=True)]
        self.clock.advance(0.5)
        self.assertEqual({"is_paused": False}, self.get("/is_paused").json())
        self.assertEqual({"status": "paused"}, self.put("/pause"))
        self.assertEqual({"is_paused": True}, self.get("/is_paused").json())
        self.assertEqual(["abort"] * 2, [self.finished(each)[2] for each in exchanges])
        refused = self.complete("one", stream=True)
        self.assertEqual((503, PAUSED), (refused.status, refused.body))
        self.assertEqual({"status": "resumed"}, self.put("/resume"))
        served = self.complete("one")
        self.clock.pump([0, 1, 0.1])
        self.assertEqual((200, "one", "stop"), self.finished(served))

    def test_refusals_come_after_checks(self) -> None:
        """A request that would not be served anyway is told why, and other routes answer."""
        self.put("/pause")
        self.assertEqual([400, 404, 503], [self.complete(**f).status for f in ({"temperature": 3}, {"model": "x"}, {})])
        self.assertEqual(200, self.get("/health").status)
        self.assertEqual(200, self.post("/tokenize", {"prompt": "a"}).status)

    def test_keep(self) -> None:
        """What runs stands still: after the resume its tokens come at their own pace, and not all at once."""
        exchange = self.complete("one two three four", stream=True)
        waiting = self.complete("five", stream=True)
        self.clock.pump([0, 1, 0.05])
        self.assertEqual({"status": "paused"}, self.put("/pause?mode=keep&clear_cache=false"))
        self.clock.pump([5] * 12)
        self.assertEqual((1, 503), (len(exchange.events()), self.complete("one").status))
        self.put("/resume")
        for tokens, seconds in ((1, 0.049), (2, 0.002), (2, 0.098), (3, 0.002)):
            self.clock.advance(seconds)
            self.assertEqual(tokens, len(exchange.events()))
        self.clock.pump([0.1, 0.1])
        self.assertEqual((200, "one two three four", "stop"), self.finished(exchange))
        self.clock.pump([0, 1, 0.1])
        self.assertEqual((200, "five", "stop"), self.finished(waiting))
        self.assertEqual((0, 0, 0), self.counts())

    def test_keep_in_prefill(self) -> None:
        """A sequence before its first token stands still too."""
        exchange = self.complete("one")
        self.clock.advance(0.9)
        self.put("/pause?mode=keep")
        self.clock.advance(60)
        self.put("/resume")
        self.clock.advance(0.09)
        self.assertFalse(exchange.complete)
        self.clock.pump([0.02, 0.1])
        self.assertEqual((200, "one", "stop"), self.finished(exchange))

    def test_keep_twice(self) -> None:
        """To pause again changes nothing, nor does it to resume again."""
        exchange = self.complete("one two")
        self.clock.advance(0.5)
        for _ in range(2):
            self.put("/pause?mode=keep")
            self.clock.advance(1)
        for _ in range(2):
            self.put("/resume")
        self.clock.advance(0.49)
        self.assertFalse(exchange.complete)
        self.clock.pump([0.02, 0.1, 0.1])
        self.assertEqual((200, "one two", "stop"), self.finished(exchange))

    def test_keep_then_abort(self) -> None:
        """What stands still can be aborted, and its client can leave."""
        exchange, leaving = self.complete("one two", request_id="a"), self.complete("three")
        self.clock.pump([0, 1])
        self.put("/pause?mode=keep")
        self.assertEqual(1, self.post("/abort_requests", {"request_ids": ["a"]}).json()["aborted"])
        self.assertEqual((200, "one ", "abort"), self.finished(exchange))
        leaving.drop()
        self.assertEqual((0, 0, 0), self.counts())

    def test_wait(self) -> None:
        """A pause that waits is answered when the last request is, and meanwhile none is let in."""
        exchanges = [self.complete("one"), self.complete("two")]
        self.clock.advance(0)
        pause = self.post("/pause?mode=wait", b"")
        self.assertEqual((0, 503), (pause.status, self.complete("three").status))
        self.clock.pump([1, 0.1, 0, 1])
        self.assertEqual(0, pause.status)
        self.clock.advance(0.1)
        self.assertEqual({"status": "paused"}, pause.json())
        self.assertEqual([(200, "one", "stop"), (200, "two", "stop")], [self.finished(each) for each in exchanges])
        self.assertEqual({"status": "paused"}, self.put("/pause?mode=wait"))

    def test_wait_after_keep(self) -> None:
        """A pause that waits takes the place of one that keeps: what stood still comes to its end."""
        exchange = self.complete("one")
        self.clock.advance(0.5)
        self.put("/pause?mode=keep")
        self.clock.advance(10)
        pause = self.post("/pause?mode=wait", b"")
        self.clock.pump([0.5, 0.1])
        self.assertEqual((200, 200), (exchange.status, pause.status))

    def test_the_operator_leaves(self) -> None:
        """The rank stays paused when the client that waits for it leaves."""
        exchange = self.complete("one")
        self.clock.advance(0)
        self.post("/pause?mode=wait", b"").drop()
        self.assertEqual(503, self.complete("two").status)
        self.clock.pump([1, 0.1])
        self.assertEqual((200, "one", "stop"), self.finished(exchange))

    def test_bad_arguments(self) -> None:
        """Arguments that are none are refused in vLLM's form; of one that is there twice the last counts."""
        for query, param in (("mode=x", "query.mode"), ("clear_cache=x", "query.clear_cache"), ("mode=", "query.mode")):
            exchange = self.post(f"/pause?{query}", b"")
            error = exchange.json()["error"]
            self.assertEqual((400, "Bad Request", param), (exchange.status, error["type"], error["param"]))
            self.assertTrue(error["message"].startswith("1 validation error:\n  {'type': "), error)
        self.assertEqual({"is_paused": False}, self.get("/is_paused").json())
        self.assertEqual({"status": "paused"}, self.put("/pause?mode=x&mode=keep&more=1"))


class SleepTests(ControlTestCase):
    """A rank that sleeps lets no request in."""

    def state(self) -> tuple[bool, list[float]]:
        """Tell whether it sleeps, and what the metrics say."""
        name = 'vllm:engine_sleep_state{engine="0",model_name="Qwen/Qwen3-0.6B",sleep_state="%s"}'
        states = [self.sample(name % state) for state in ("awake", "weights_offloaded", "discard_all")]
        return self.get("/is_sleeping").json()["is_sleeping"], states

    def test_levels(self) -> None:
        """It sleeps as deep as it is told to, and metrics follow."""
        self.assertEqual((False, [1, 0, 0]), self.state())
        for query, level, states in (("", 1, [0, 1, 0]), ("?level=2", 2, [0, 0, 1]), ("?level=0", 0, [0, 0, 0])):
            self.assertEqual({"status": "sleeping", "level": level}, self.put(f"/sleep{query}"))
            self.assertEqual((True, states), self.state())
            refused = self.chat("a")
            self.assertEqual((503, PAUSED), (refused.status, refused.body))
        self.assertEqual({"status": "awake", "tags": None}, self.put("/wake_up"))
        self.assertEqual((False, [1, 0, 0]), self.state())
        self.assertEqual({"status": "awake", "tags": None}, self.put("/wake_up"))

    def test_tags(self) -> None:
        """It is awake when everything has been brought back."""
        self.put("/sleep")
        self.assertEqual({"status": "sleeping", "tags": ["weights"]}, self.put("/wake_up?tags=weights"))
        self.assertEqual((True, [0, 1, 0]), self.state())
        self.assertEqual(503, self.complete("one").status)
        self.assertEqual({"status": "sleeping", "tags": ["weights"]}, self.put("/wake_up?tags=weights"))
        self.assertEqual({"status": "awake", "tags": ["kv_cache"]}, self.put("/wake_up?tags=kv_cache"))
        self.assertEqual((False, [1, 0, 0]), self.state())
        self.put("/sleep")
        both = self.put("/wake_up?tags=weights&tags=kv_cache")
        self.assertEqual({"status": "awake", "tags": ["weights", "kv_cache"]}, both)

    def test_modes(self) -> None:
        """What runs is ended, waited for, or kept."""
        ended = self.complete("one")
        self.clock.advance(0)
        self.put("/sleep")
        self.assertEqual((200, "", "abort"), self.finished(ended))
        self.put("/wake_up")
        kept = self.complete("one")
        self.clock.advance(0.5)
        self.put("/sleep?mode=keep")
        self.clock.advance(9)
        self.put("/wake_up?tags=kv_cache")
        self.clock.advance(9)
        self.put("/wake_up?tags=weights")
        self.clock.pump([0.5, 0.09])
        self.assertFalse(kept.complete)
        sleep = self.post("/sleep?mode=wait&level=2", b"")
        self.assertEqual(0, sleep.status)
        self.clock.advance(0.01)
        self.assertEqual((200, "one", "stop"), self.finished(kept))
        self.assertEqual({"status": "sleeping", "level": 2}, sleep.json())

    def test_woken_while_it_waits(self) -> None:
        """Who is woken before it slept says so."""
        exchange = self.complete("one")
        self.clock.advance(0)
        sleep = self.post("/sleep?mode=wait", b"")
        self.put("/wake_up")
        self.clock.pump([1, 0.1])
        self.assertEqual((200, {"status": "awake", "level": 1}), (exchange.status, sleep.json()))

    def test_pause_and_sleep(self) -> None:
        """A rank that was paused before it slept is so when it wakes, and what is kept by either stands still."""
        exchange = self.complete("one")
        self.clock.advance(0.5)
        self.put("/pause?mode=keep")
        self.put("/sleep?mode=keep")
        self.put("/wake_up")
        self.clock.advance(10)
        self.assertEqual((0, 503), (exchange.status, self.complete("two").status))
        self.put("/sleep?mode=keep")
        self.put("/resume")
        self.clock.advance(10)
        self.assertEqual((0, 503), (exchange.status, self.complete("two").status))
        self.put("/wake_up")
        self.clock.pump([0.5, 0.1])
        self.assertEqual((200, "one", "stop"), self.finished(exchange))

    def test_bad_arguments(self) -> None:
        """Levels, modes and tags that are none are refused in vLLM's form, with the argument's name."""
        self.put("/sleep")
        for path, param in (
            ("/sleep?level=x", "query.level"), ("/sleep?level=3", "query.level"), ("/sleep?level=-1", "query.level"),
            ("/sleep?mode=x", "query.mode"), ("/wake_up?tags=x", "query.tags.0"), ("/wake_up?tags=", "query.tags.0"),
            ("/wake_up?" + "&".join(["tags=weights"] * 99), "query.tags"),
        ):  # fmt: skip
            exchange = self.post(path, b"")
            error = exchange.json()["error"]
            self.assertEqual((400, "Bad Request", param), (exchange.status, error["type"], error["param"]))
        self.assertEqual((True, [0, 1, 0]), self.state())
        message = self.post("/sleep?level=x", b"").json()["error"]["message"]
        self.assertEqual(
            "1 validation error:\n  {'type': 'int_parsing', 'loc': 'query.level', 'msg': 'Input should be a valid "
            "integer, unable to parse string as an integer', 'input': 'x'}",
            message,
        )


class GateTests(RankTestCase):
    """Which of the routes there are."""

    def test_no_sleep_mode(self) -> None:
        """Without sleep mode a rank stays awake, says so, and serves."""
        self.make_rank()
        exchange = self.post("/sleep?level=2", b"")
        self.assertEqual((200, {"status": "awake", "level": 2}), (exchange.status, exchange.json()))
        self.assertEqual({"is_sleeping": False}, self.get("/is_sleeping").json())
        self.assertEqual(200, self.complete().status)
        self.assertEqual(400, self.post("/sleep?level=9", b"").status)

    def test_no_development(self) -> None:
        """Without the development mode there are none of its routes."""
        self.make_rank("--no-server-dev-mode")
        for path in ("/pause", "/resume", "/sleep", "/wake_up", "/abort_requests", "/reset_prefix_cache"):
            self.assertEqual(404, self.post(path, b"").status)
        self.assertEqual([404] * 2, [self.get(path).status for path in ("/is_paused", "/server_info")])

    def test_tokens_only(self) -> None:
        """A server of tokens alone has the abort route without that mode."""
        self.make_rank("--no-server-dev-mode", "--tokens-only")
        self.assertEqual([200, 404], [self.post(path, b"").status for path in ("/abort_requests", "/pause")])
