# -*- test-case-name: tests.grpc.test_engine -*-
"""``VllmEngine.Generate`` with a whole rank behind it."""

import json
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from h2.settings import SettingCodes
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.internet.defer import Deferred

from tests.api.engine.messages import generate
from tests.grpc.calling import Called, call
from tests.harness import RankTestCase
from vllmsim.grpc.status import Code

GENERATE = "/vllm.grpc.engine.VllmEngine/Generate"
IDS = list(range(1, 41))
CACHE = ("--enable-kvcache", "--zmq-endpoint", "")
PACE = ("--mode", "echo", "--time-to-first-token", "10ms", "--inter-token-latency", "10ms")
FOUR = "one two three four"
_GAP = 0.01


class GenerateTestCase(RankTestCase):
    """Ranks that are called."""

    def generate(self, request: Any, **metadata: Any) -> Called:
        """Call, and let an answer that takes no time come back."""
        called = call(self.connect_http2(), GENERATE, pb.GenerateResponse, request, **metadata)
        self.settle(called)
        return called

    def settle(self, called: Called, seconds: float = 0.0) -> Called:
        """Let some time pass, and read what has come."""
        self.clock.advance(seconds)
        called.stream.client.pump()
        return called

    def finish(self, called: Called) -> Called:
        """Let enough time pass for a few tokens."""
        for _ in range(12):
            self.settle(called, _GAP)
        return called

    def ends(self, called: Called) -> list[Any]:
        """Read how the choices of an answer that went well have ended."""
        self.assertEqual((Code.OK, ""), (called.code, called.text))
        return [message.complete for message in called.messages if message.HasField("complete")]

    def chunks(self, called: Called) -> list[Any]:
        """Read the chunks that have come."""
        return [message.chunk for message in called.messages if message.HasField("chunk")]

    def tokens(self, called: Called) -> list[int]:
        """Read the tokens that have come in pieces."""
        return [token for chunk in self.chunks(called) for token in chunk.token_ids]

    def idle(self) -> bool:
        """Tell whether nothing runs."""
        return not self.rank.slots.running and not len(self.rank.simulator.requests)


class AnswerTests(GenerateTestCase):
    """What is answered."""

    def http(self, sampling: dict[str, Any], **fields: Any) -> Any:
        """Ask for the same over HTTP."""
        body = {"token_ids": IDS, "sampling_params": sampling, **fields}
        exchange = self.post("/inference/v1/generate", body)
        self.assertEqual(200, exchange.status, exchange.raw)
        return exchange.json()

    def test_same_as_over_http(self) -> None:
        """The same prompt with the same seed has the same tokens, ends and log probabilities, whole and in pieces."""
        self.make_rank("--enable-scale-out", "--tokenizer", "builtin")
        sampling = {"seed": 5, "n": 2, "max_tokens": 12, "logprobs": 2, "prompt_logprobs": 1}
        told = self.http(sampling)
        whole, pieces = (self.finish(self.generate(generate(sampling, IDS, stream=stream))) for stream in (False, True))
        for choice, complete in zip(told["choices"], self.ends(whole), strict=True):
            self.assertEqual(choice["token_ids"], list(complete.output_ids))
            self.assertEqual(choice["finish_reason"], complete.finish_reason)
            shown = complete.output_logprobs
            for entry, token, value, top in zip(
                choice["logprobs"]["content"], shown.token_ids, shown.token_logprobs, shown.top_logprobs, strict=True
            ):
                self.assertEqual((entry["token_id"], 2), (token, len(top.values)))
                self.assertAlmostEqual(entry["logprob"], value, 5)
            given = complete.input_logprobs
            self.assertEqual(IDS, list(given.token_ids))
            self.assertAlmostEqual(told["prompt_logprobs"][7]["8"]["logprob"], given.token_logprobs[7].value, 5)
            chunks = [chunk for chunk in self.chunks(pieces) if chunk.index == choice["index"]]
            self.assertEqual(choice["token_ids"], [token for chunk in chunks for token in chunk.token_ids])
            shown = [value for chunk in chunks for value in chunk.output_logprobs.token_logprobs]
            self.assertEqual(list(complete.output_logprobs.token_logprobs), shown)
            self.assertEqual(complete.input_logprobs, chunks[0].input_logprobs)
        self.assertEqual([0, 1], sorted(complete.index for complete in self.ends(pieces)))

    def test_pace(self) -> None:
        """Tokens come when they are due; the end comes with the last."""
        self.make_rank(*PACE)
        called = self.generate(generate(text=FOUR, stream=True))
        counts = [len(self.settle(called, _GAP).messages) for _ in range(5)]
        self.assertEqual([1, 2, 3, 4, 6], counts)
        self.assertEqual(Code.OK, called.code)
        self.assertEqual("stop", self.ends(called)[0].finish_reason)

    def test_stops(self) -> None:
        """A stop text, and a stop token, end an answer and are told."""
        self.make_rank("--mode", "echo")
        [stopped] = self.ends(self.generate(generate({"stop": ["three"]}, text=FOUR)))
        told = stopped.finish_reason, stopped.matched_stop_str, stopped.completion_tokens
        self.assertEqual(("stop", "three", 3), told)
        token = stopped.output_ids[1]
        [stopped] = self.ends(self.generate(generate({"stop_token_ids": [token]}, text=FOUR)))
        self.assertEqual((token, 2), (stopped.matched_token_id, stopped.completion_tokens))
        [later] = self.ends(self.generate(generate({"stop_token_ids": [token], "min_tokens": 3}, text=FOUR)))
        self.assertEqual((None, 5), (later.WhichOneof("matched_stop"), later.completion_tokens))

    def test_limits(self) -> None:
        """Limits hold, and what ignores the end of the sequence reaches them."""
        self.make_rank("--mode", "echo")
        for sampling, length in (({"max_tokens": 2}, 2), ({"max_tokens": 9, "ignore_eos": True}, 9)):
            [complete] = self.ends(self.generate(generate(sampling, text=FOUR)))
            self.assertEqual(("length", length), (complete.finish_reason, complete.completion_tokens))

    def test_cut(self) -> None:
        """A prompt may be shortened, from its beginning."""
        self.make_rank("--mode", "echo")
        for request in (generate(text=FOUR), generate(ids=list(IDS))):
            request.sampling_params.truncate_prompt_tokens = 3
            [complete] = self.ends(self.generate(request))
            self.assertEqual(3, complete.prompt_tokens)

    def test_structure(self) -> None:
        """An answer has the structure that is asked for."""
        self.make_rank("--enable-scale-out", "--tokenizer", "builtin")
        for constraint in ({"json_schema": '{"type": "boolean"}'}, {"choice": pb.ChoiceConstraint(choices=["yes"])}):
            [complete] = self.ends(self.generate(generate(constraint)))
            texts = self.post("/detokenize", {"tokens": list(complete.output_ids)}).json()["prompt"]
            self.assertIn(texts.removesuffix("<|im_end|>"), ("true", "false", "yes"))

    def test_cached_tokens(self) -> None:
        """What was computed before is found, and counted in every message."""
        self.make_rank(*CACHE)
        for stream, cached in ((False, 0), (True, 32)):
            called = self.generate(generate({"max_tokens": 2}, IDS, stream=stream))
            told = [getattr(message, str(message.WhichOneof("response"))) for message in called.messages]
            self.assertEqual({(cached, 40)}, {(each.cached_tokens, each.prompt_tokens) for each in told})

    def test_media(self) -> None:
        """Prompts of the same tokens share blocks where their media are the same, and not where they differ."""
        self.make_rank(*CACHE)
        found = []
        for identifier in "aab":
            image = pb.MultimodalInputs(
                pixel_values=pb.TensorData(shape=[3], dtype="uint8", inline=b"xyz"),
                mm_hashes=[identifier],
                mm_placeholders=[pb.PlaceholderRange(offset=20, length=4)],
            )
            [complete] = self.ends(self.generate(generate({"max_tokens": 1}, IDS, mm_inputs=image)))
            found.append(complete.cached_tokens)
        self.assertEqual([0, 32, 16], found)

    def test_hand_over(self) -> None:
        """What one server has computed, another fetches where the first has said it is."""
        self.make_rank(*CACHE)
        asked = generate({"max_tokens": 1}, IDS, kv_transfer_params_json='{"do_remote_decode": true}', request_id="p")
        [complete] = self.ends(self.generate(asked))
        told = json.loads(complete.kv_transfer_params_json)
        self.assertEqual((True, "p", 40), tuple(told[name] for name in
                         ("do_remote_prefill", "remote_request_id", "remote_num_tokens")))  # fmt: skip
        self.assertEqual(told["remote_port"], complete.kv_transfer_params.remote_port)
        self.make_rank("--time-to-first-token", "10s", "--kv-cache-transfer-time-per-token", "1ms", *CACHE)
        asked = generate({"max_tokens": 2}, IDS, kv_transfer_params_json=complete.kv_transfer_params_json)
        called = self.generate(asked)
        self.settle(called, 0.039)
        self.assertEqual([], called.messages)
        self.clock.advance(0.01)
        [decoded] = self.ends(self.settle(called))
        self.assertEqual((39, 2), (decoded.cached_tokens, decoded.completion_tokens))

    def test_models(self) -> None:
        """The metadata name an adapter or an alias; nobody else answers."""
        self.make_rank("--served-model-name", "m1", "m2", "--lora-modules", "poet=/p")
        for name, adapter in (("m2", None), ("poet", "poet")):
            self.ends(self.generate(generate({"max_tokens": 1}), model=name))
            record = self.get("/admin/requests").json()["requests"][-1]
            self.assertEqual((name, adapter), (record["asked"], record["adapter"]))
        refused = self.generate(generate(), model="zzz")
        self.assertEqual((Code.NOT_FOUND, []), (refused.code, refused.messages))
        self.assertIn("The model `zzz` does not exist", refused.text)

    def test_ranks(self) -> None:
        """A request may name its rank, and no other serves it."""
        ranks = self.make_ranks("--data-parallel-size", "2", "--data-parallel-internal-lb")
        self.ends(self.generate(generate({"max_tokens": 1}, data_parallel_rank=1)))
        refused = self.generate(generate(data_parallel_rank=2))
        self.assertEqual(Code.INVALID_ARGUMENT, refused.code)
        self.assertIn("data_parallel_rank 2 is out of range [0, 2).", refused.text)
        self.assertEqual(2, len(ranks))
        self.assertEqual(
            [1], [each["rank"] for each in self.get("/admin/requests?outcome=completed").json()["requests"]]
        )

    def test_metrics(self) -> None:
        """A call counts as any request does, but not among those over HTTP."""
        self.make_rank("--mode", "echo")
        self.generate(generate({"max_tokens": 2}, text=FOUR))
        labels = 'engine="0",model_name="Qwen/Qwen3-0.6B"'
        self.assertEqual(4, self.sample(f"vllm:prompt_tokens_total{{{labels}}}"))
        self.assertEqual(2, self.sample(f"vllm:generation_tokens_total{{{labels}}}"))
        self.assertNotIn("VllmEngine", self.get("/metrics").body.decode())

    def test_journal(self) -> None:
        """The journal has the call under its path and its own id."""
        self.make_rank("--mode", "echo")
        self.generate(generate({"n": 2, "max_tokens": 2, "seed": 1}, text=FOUR, request_id="r", stream=True))
        [record] = self.get("/admin/requests").json()["requests"]
        self.assertEqual(("r", GENERATE, True, 2, "completed"),
                         tuple(record[name] for name in ("id", "route", "stream", "n", "outcome")))  # fmt: skip


class RefusalTests(GenerateTestCase):
    """What is refused."""

    def refused(self, request: Any, code: Code, text: str, **metadata: str) -> None:
        """Make a call that is refused before any message."""
        called = self.generate(request, **metadata)
        self.assertEqual((code, []), (called.code, called.messages))
        self.assertIn(text, called.text)

    def test_refusals(self) -> None:
        """What cannot be served is told as over HTTP."""
        self.make_rank("--max-model-len", "64")
        invalid = Code.INVALID_ARGUMENT
        for request, text in (
            (generate(ids=[1] * 65), "This model's maximum context length is 64 tokens."),
            (generate(text="a " * 70), "This model's maximum context length is 64 tokens."),
            (pb.GenerateRequest(), "The decoder prompt cannot be empty"),
            (generate(ids=[]), "The decoder prompt cannot be empty"),
            (generate({"max_tokens": 0}), "max_tokens must be at least 1, got 0."),
            (generate({"n": 20000}), "n must be at most 16384, got 20000."),
            (generate({"temperature": -1}), "temperature must be non-negative"),
            (generate({"logprobs": 21}), "Requested sample logprobs of 21, which is greater than max allowed: 20"),
            (generate({"prompt_logprobs": 21}, stream=True), "Requested prompt logprobs of 21"),
            (generate({"logit_bias": {-1: 1.0}}), "out-of-vocab token ids"),
            (generate({"stop": [""]}), "stop cannot contain an empty string."),
            (generate({"min_tokens": 9, "max_tokens": 3}), "min_tokens must be less than or equal to max_tokens=3"),
            (generate({"truncate_prompt_tokens": 65}), "truncate_prompt_tokens value (65) is greater"),
            (generate(kv_transfer_params_json="x"), "Invalid kv_transfer_params_json"),
            (generate({"grammar": "root ::= x"}), "Grammars are not simulated"),
        ):
            self.refused(request, invalid, text)
        self.assertTrue(self.idle())

    def test_no_message(self) -> None:
        """What is no message of the method is refused as grpcio does."""
        self.make_rank()
        self.refused(b"\x00\x00\x00\x00\x01\xff", Code.INTERNAL, "Exception deserializing request!")

    def test_full(self) -> None:
        """When the queue is full, the call is told to come again."""
        self.make_rank(*PACE, "--max-num-seqs", "1", "--max-waiting-queue-length", "1")
        client = self.connect_http2()
        calls = [call(client, GENERATE, pb.GenerateResponse, generate(text=FOUR, stream=True)) for _ in range(3)]
        self.settle(calls[2])
        self.assertEqual([None, None, Code.RESOURCE_EXHAUSTED], [each.code for each in calls])

    def test_large(self) -> None:
        """A large message is read in a thread, and others are served meanwhile."""
        waiting: list[tuple[Deferred[Any], Callable[..., Any], Any]] = []

        def threads(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            waiting.append((Deferred(), function, arguments))
            return waiting[-1][0]

        self.make_rank("--max-model-len", "1M", "--mode", "echo", "--tokenizer", "builtin", threads=threads)
        while waiting:
            # HTTP/2 is learned in a thread, too.
            done, function, arguments = waiting.pop()
            done.callback(function(*arguments))
        client = self.connect_http2()
        while waiting:
            done, function, arguments = waiting.pop()
            done.callback(function(*arguments))
        large = call(client, GENERATE, pb.GenerateResponse, generate({"max_tokens": 1}, [1] * 20000))
        [(done, function, arguments)] = waiting
        small = call(client, GENERATE, pb.GenerateResponse, generate({"max_tokens": 1}))
        self.settle(small)
        self.assertEqual((Code.OK, None), (small.code, large.code))
        done.callback(function(*arguments))
        for _ in range(3):
            self.settle(large)
        self.assertEqual(20000, self.ends(large)[0].prompt_tokens)


class LeavingTests(GenerateTestCase):
    """Calls that end before their answers."""

    def test_cancel(self) -> None:
        """A client that cancels frees the slot at once, and others of its connection go on."""
        self.make_rank(*PACE)
        client = self.connect_http2()
        one, other = (call(client, GENERATE, pb.GenerateResponse, generate(text=FOUR, stream=True)) for _ in range(2))
        self.settle(one, _GAP)
        self.assertEqual((2, 1), (self.rank.slots.running, len(one.messages)))
        one.stream.cancel()
        self.assertEqual(1, self.rank.slots.running)
        self.finish(other)
        self.assertEqual((1, Code.OK), (len(one.messages), other.code))
        self.assertTrue(self.idle())

    def test_cancel_in_queue(self) -> None:
        """One that waits leaves the queue."""
        self.make_rank(*PACE, "--max-num-seqs", "1")
        client = self.connect_http2()
        one, other = (call(client, GENERATE, pb.GenerateResponse, generate(text=FOUR)) for _ in range(2))
        other.stream.cancel()
        self.finish(one)
        self.assertEqual(Code.OK, one.code)
        self.assertTrue(self.idle())

    def test_just_in_time(self) -> None:
        """Of tokens that are due when the deadline is over, none is sent, whether the answer has begun or not."""
        self.make_rank(*PACE)
        for seconds in ("10m", "20m"):
            for choices in (1, 3):
                request = generate({"n": choices}, text=FOUR, stream=True)
                called = self.generate(request, grpc_timeout=seconds)
                for _ in range(2):
                    self.settle(called, _GAP)
                self.assertEqual(Code.DEADLINE_EXCEEDED, called.code)
                self.assertEqual(choices if seconds == "20m" else 0, len(called.messages))
                self.settle(called)
                self.assertTrue(self.idle())

    def test_deadline(self) -> None:
        """A deadline ends the call and frees the slot."""
        self.make_rank(*PACE)
        called = self.generate(generate(text=FOUR, stream=True), grpc_timeout="25m")
        self.settle(called, 0.02)
        self.settle(called, 0.01)
        self.assertEqual((Code.DEADLINE_EXCEEDED, 2), (called.code, len(called.messages)))
        self.clock.advance(0)
        self.assertTrue(self.idle())

    def test_abort(self) -> None:
        """A request that is aborted by its id ends with what it has said."""
        self.make_rank(*PACE, "--server-dev-mode")
        for stream in (False, True):
            called = self.generate(generate(text=FOUR, stream=stream, request_id="r"))
            self.settle(called, 0.02)
            told = self.post("/abort_requests", {"request_ids": ["r"]}).json()
            self.settle(called)
            [complete] = self.ends(called)
            said = len(self.tokens(called)) if stream else len(complete.output_ids)
            self.assertEqual(("abort", 2, 1), (complete.finish_reason, said, told["aborted"]))
        self.assertTrue(self.idle())

    def test_same_id(self) -> None:
        """Two requests of one id are both answered; who aborts it ends both."""
        self.make_rank(*PACE, "--server-dev-mode")
        client, request = self.connect_http2(), generate(text=FOUR, request_id="r")
        calls = [call(client, GENERATE, pb.GenerateResponse, request) for _ in range(4)]
        for called in calls[:2]:
            self.finish(called)
        self.assertEqual(["stop"] * 4, [self.ends(called)[0].finish_reason for called in calls])
        calls = [call(client, GENERATE, pb.GenerateResponse, request) for _ in range(2)]
        self.settle(calls[0], _GAP)
        self.assertEqual(2, self.post("/abort_requests", {"request_ids": ["r"]}).json()["aborted"])
        self.settle(calls[0])
        self.assertEqual(["abort"] * 2, [self.ends(called)[0].finish_reason for called in calls])

    def test_slow_reader(self) -> None:
        """A client that reads late gets every token, and holds up nobody."""
        self.make_rank("--mode", "echo")
        client = self.connect_http2(reads=False, settings={SettingCodes.INITIAL_WINDOW_SIZE: 64})
        called = call(client, GENERATE, pb.GenerateResponse, generate(text="word" + " word" * 199, stream=True))
        self.settle(called)
        self.assertTrue(self.idle())
        for _ in range(400):
            called.stream.read()
            self.settle(called)
        self.assertEqual((201, Code.OK), (len(self.tokens(called)), called.code))


class PreparedTests(GenerateTestCase):
    """Streams that tell of long prompts."""

    def test_thread(self) -> None:
        """What takes long is done in a thread; the tokens wait for it, and none is lost."""
        waiting: list[Any] = []

        def threads(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            waiting.append((Deferred(), function, arguments))
            return waiting[-1][0]  # type: ignore[no-any-return]

        def work() -> None:
            while waiting:
                done, function, arguments = waiting.pop(0)
                done.callback(function(*arguments))

        self.make_rank("--mode", "echo", "--tokenizer", "builtin", threads=threads)
        client = self.connect_http2()
        work()
        called = call(client, GENERATE, pb.GenerateResponse, generate({"prompt_logprobs": 0}, text=FOUR, stream=True))
        self.settle(called)
        self.assertEqual((200, []), (called.stream.status, called.messages))
        work()
        for _ in range(3):
            self.settle(called)
        self.assertEqual((5, Code.OK), (len(self.tokens(called)), called.code))
        self.assertEqual(4, len(self.chunks(called)[0].input_logprobs.token_ids))


class FailureTests(GenerateTestCase):
    """Calls that fail on purpose."""

    def serve(self, *rules: dict[str, Any]) -> None:
        """Have a rank whose requests fail by some rules."""
        self.make_rank("--model", "m", "--served-model-name", "m1", "m2", "--failure-rules", json.dumps(rules),
                       "--lora-modules", "poet=/p", *PACE)  # fmt: skip

    def call(self, *, stream: bool = True, **metadata: Any) -> Called:
        """Ask for an answer, and wait for its end."""
        return self.finish(self.generate(generate(text=FOUR, stream=stream), **metadata))

    def test_statuses(self) -> None:
        """Refusals have the status that means the same, and their headers are metadata."""
        for rule, code in (
            ({"status": 503, "message": "No."}, Code.UNAVAILABLE),
            ({"status": 418, "message": "No."}, Code.UNKNOWN),
            ({"status": 429, "message": "No.", "retry-after": 7}, Code.RESOURCE_EXHAUSTED),
            ({"type": "invalid_api_key"}, Code.UNAUTHENTICATED),
            ({"type": "model_not_found"}, Code.NOT_FOUND),
            ({"type": "context_length"}, Code.INVALID_ARGUMENT),
        ):
            self.serve(rule)
            called = self.call()
            self.assertEqual((code, [], True), (called.code, called.messages, called.stream.ended), rule)
            self.assertIn(rule.get("message", ""), called.text)
            self.assertEqual(str(rule["retry-after"]) if "retry-after" in rule else None,
                             called.metadata.get("retry-after"))  # fmt: skip
            self.assertEqual(1, self.get("/admin/failures").json()["rules"][0]["failed"])

    def test_asked_for(self) -> None:
        """A call asks for an error in its metadata."""
        self.make_rank()
        called = self.generate(generate(), x_return_error="404")
        self.assertEqual((Code.NOT_FOUND, []), (called.code, called.messages))
        wrong = self.generate(generate(), x_return_error="many")
        self.assertEqual(Code.INVALID_ARGUMENT, wrong.code)

    def test_chosen(self) -> None:
        """Rules know the path, the model of the metadata, and whether a stream is asked for."""
        cases: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
            ({"model": "m2"}, {"model": "m2"}, {}),
            ({"adapter": "poet"}, {"model": "poet"}, {"model": "m2"}),
            ({"header": {"x-mine": "y*"}}, {"x_mine": "yes"}, {"x_mine": "no"}),
            ({"api-key": "k1"}, {"authorization": "Bearer k1"}, {"authorization": "Bearer k2"}),
        ]
        for rule, failing, other in cases:
            self.serve({**rule, "status": 503})
            self.assertEqual((Code.UNAVAILABLE, Code.OK), (self.call(**failing).code, self.call(**other).code), rule)
        self.serve({"route": GENERATE, "stream": True, "status": 503})
        self.assertEqual(Code.UNAVAILABLE, self.call(stream=True).code)
        self.assertEqual(Code.OK, self.call(stream=False).code)
        self.serve({"route": "/v1/*", "status": 503})
        self.assertEqual(Code.OK, self.call().code)

    def test_order(self) -> None:
        """What would be refused in any case fails before that; what is no message never does."""
        self.serve({"status": 503})
        self.assertEqual(Code.UNAVAILABLE, self.call(model="zzz").code)
        self.assertEqual(Code.INTERNAL, self.generate(b"\x00\x00\x00\x00\x01\xff").code)
        self.assertEqual(1, self.get("/admin/failures").json()["rules"][0]["matched"])

    def test_reset(self) -> None:
        """A call is reset as if its connection were; others of the connection are not."""
        self.serve({"reset": True, "header": "x-spoil"})
        client = self.connect_http2()
        spoilt = call(client, GENERATE, pb.GenerateResponse, generate(text=FOUR), x_spoil="yes")
        other = call(client, GENERATE, pb.GenerateResponse, generate(text=FOUR))
        self.finish(other)
        self.assertEqual((Code.UNAVAILABLE, [], Code.OK), (spoilt.code, spoilt.messages, other.code))

    def test_delay(self) -> None:
        """A refusal may take its time."""
        self.serve({"status": 503, "delay": "1s"})
        called = self.call()
        self.assertIsNone(called.code)
        self.assertEqual(Code.UNAVAILABLE, self.settle(called, 1.0).code)

    def test_cut(self) -> None:
        """Behind some tokens there is no end but that the connection is gone."""
        self.serve({"cut": 2})
        called = self.call()
        self.assertEqual((2, Code.UNAVAILABLE), (len(called.messages), called.code))
        self.assertTrue(self.idle())
        whole = self.call(stream=False)
        self.assertEqual((0, Code.UNAVAILABLE), (len(whole.messages), whole.code))

    def test_truncated(self) -> None:
        """A message breaks off in its middle, with an end behind it or without."""
        for then, code in (("close", Code.UNAVAILABLE), ("end", Code.OK)):
            self.serve({"truncate": {"tokens": 2, "then": then}})
            for stream in (True, False):
                called = self.call(stream=stream)
                whole = responses_so_far(called)
                self.assertEqual((2 if stream else 0, code), (len(whole), called.code), then)
                self.assertGreater(len(called.stream.body), 5)
                self.assertTrue(self.idle())

    def test_malformed(self) -> None:
        """A message in its frame is none, and those after it are."""
        self.serve({"malformed": 2})
        called = self.call()
        wrong = 0
        for message in frames(called):
            try:
                pb.GenerateResponse.FromString(message)
            except DecodeError:
                wrong += 1
        self.assertEqual((1, 6, Code.OK), (wrong, len(frames(called)), called.code))
        [message] = frames(self.call(stream=False))
        self.assertRaises(DecodeError, pb.GenerateResponse.FromString, message)

    def test_done(self) -> None:
        """The message that ends a stream is missing, or comes twice; an answer in one piece is as it should be."""
        for done, ends in (("missing", 0), ("twice", 2)):
            self.serve({"done": done})
            called = self.call()
            self.assertEqual((5, ends), (len(self.tokens(called)), len(self.ends(called))))
            self.assertEqual(1, len(self.ends(self.call(stream=False))))

    def test_time(self) -> None:
        """What begins late or stalls does so over gRPC too; who leaves frees the slot."""
        self.serve({"first-token": "1s"})
        called = self.call()
        self.assertEqual([], called.messages)
        self.settle(called, 1.0)
        self.assertEqual(6, len(called.messages))
        self.serve({"stall": 2})
        called = self.call()
        self.assertEqual((2, None), (len(called.messages), called.code))
        called.stream.cancel()
        self.assertTrue(self.idle())


def frames(called: Called) -> list[bytes]:
    """Take the messages that have come out of their frames, whatever is in them."""
    data, found = called.stream.body, []
    while len(data) >= 5 and len(data) >= 5 + (length := int.from_bytes(data[1:5], "big")):
        found.append(data[5 : 5 + length])
        data = data[5 + length :]
    return found


def responses_so_far(called: Called) -> list[Any]:
    """Read the messages that are complete."""
    return [pb.GenerateResponse.FromString(message) for message in frames(called)]
