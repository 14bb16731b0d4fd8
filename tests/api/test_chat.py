"""The chat dialect, byte for byte."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import CHAT_PROMPT, EOS, HEAD, answer, normal, prompt, recorded, settings, written
from tests.fakes import prefilled
from vllmsim.api.body import Head
from vllmsim.api.chat import ChatDialect
from vllmsim.api.dialect import Call
from vllmsim.errors import InferenceError, InvalidParameter, MalformedRequest, UnknownModel
from vllmsim.inference import Answer, Conversation, Media, Message

HI = [{"role": "user", "content": "hi"}]
ABCD = answer(71, 72, 227, 73, 74, EOS)

RECORDINGS: dict[str, tuple[dict[str, Any], list[Answer]]] = {
    "chat": ({}, [ABCD]),
    "chatstream": ({"stream": True}, [ABCD]),
    "chatstream_usage": ({"stream": True, "stream_options": {"include_usage": True}}, [ABCD]),
    "chatstream_cont": (
        {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        [answer(71, 72, reason="length")],
    ),
    "chatstream_lp_ids": (
        {"stream": True, "logprobs": True, "top_logprobs": 2, "return_token_ids": True},
        [answer(71, 72, reason="length")],
    ),
    "eos_lp": ({"logprobs": True, "return_token_ids": True}, [answer(71, 72, EOS)]),
    "eos_lp_stream": ({"stream": True, "logprobs": True, "return_token_ids": True}, [answer(71, 72, EOS)]),
    "n2": ({"stream": True, "n": 2, "stream_options": {"include_usage": True}}, [answer(71, reason="length")] * 2),
    "stopstr": (
        {"stream": True, "stop": ["cd"], "return_token_ids": True},
        [answer(71, 72, 227, 73, 74, stop="cd", pieces=["", "a", "b", " ", ""])],
    ),
}
"""Requests, and the tokens with which vLLM answered them."""


class RecordingTests(SynchronousTestCase):
    """What vLLM sent."""

    def test_recordings(self) -> None:
        """Every kind of answer has vLLM's bytes: the same keys in the same order, and the same nulls."""
        for name, (fields, answers) in RECORDINGS.items():
            sent = written(ChatDialect(settings()), {"messages": HI, **fields}, [prompt(CHAT_PROMPT)], answers)
            expected = recorded(name)
            self.assertEqual(normal(expected).rstrip(), normal(sent).rstrip(), name)

    def test_many_media(self) -> None:
        """A prompt has at most 999 items of a kind, which is vLLM's default limit."""
        blocks = [{"type": "image_url", "image_url": {"url": "a"}}] * 999
        blocks += [{"type": "video_url", "video_url": {"url": "a"}}]
        dialect = ChatDialect(settings())
        asked = {"messages": [{"role": "user", "content": blocks}]}
        dialect.parse(json.dumps(asked).encode(), HEAD)
        blocks.append(blocks[0])
        error = self.assertRaises(InferenceError, dialect.parse, json.dumps(asked).encode(), HEAD)
        self.assertEqual((400, "At most 999 image(s) may be provided in one prompt."), (error.status, error.message))

    def test_prompt_logprobs(self) -> None:
        """Log probabilities of the prompt are a list of maps by token id, null for the first token."""
        body = {"messages": HI, "prompt_logprobs": 2, "return_token_ids": True, "logprobs": True, "top_logprobs": 2}
        sent = json.loads(written(ChatDialect(settings()), body, [prompt([1, 91, 89])], [answer(71, reason="length")]))
        expected = json.loads(recorded("chat_lp"))
        self.assertEqual(list(expected), list(sent))
        self.assertIsNone(sent["prompt_logprobs"][0])
        self.assertEqual(["91", "92"], list(sent["prompt_logprobs"][1]))
        self.assertEqual(list(expected["prompt_logprobs"][1]["91"]), list(sent["prompt_logprobs"][1]["91"]))


class StreamTests(SynchronousTestCase):
    """What requests and the server's settings change in a stream."""

    def stream(self, body: dict[str, Any], *answers: Answer, **more: Any) -> list[Any]:
        """Write a stream and read its events."""
        dialect = ChatDialect(settings(**more))
        sent = written(dialect, {"messages": HI, "stream": True, **body}, [prompt([1, 2, 3], "the prompt")], [*answers])
        return [json.loads(part[6:]) for part in sent.decode().split("\n\n")[:-2]]

    def test_runs_are_the_same_as_single_tokens(self) -> None:
        """However many tokens come at once, the bytes of the stream are the same."""
        for body in (
            {},
            {"logprobs": True},
            {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        ):
            streams = []
            for step in (1, 2, 3, 6):
                call = ChatDialect(settings()).parse(
                    json.dumps({"messages": HI, "stream": True, **body}).encode(), HEAD
                )
                assert call.stream_encoder is not None
                encoder = call.stream_encoder()
                encoder.opening([prompt([1])], prefilled([prompt([1])]))
                runs = [encoder.tokens(0, ABCD, i, min(i + step, 6)) for i in range(0, 6, step)]
                streams.append(b"".join(runs))
            self.assertEqual(1, len(set(streams)))

    def test_interval(self) -> None:
        """With an interval the first token comes alone, then so many at a time, and the rest with the end."""
        for more, body in (({"stream_interval": 3}, {}), ({}, {"stream_interval": 3})):
            deltas = [e["choices"][0]["delta"]["content"] for e in self.stream(body, ABCD, **more)]
            self.assertEqual(["", "a", "b c", "d"], deltas)

    def test_forced_usage(self) -> None:
        """A server that always sends usage sends it in every chunk and at the end."""
        events = self.stream({}, answer(71, EOS), force_include_usage=True, prompt_tokens_details=True)
        self.assertEqual([0, 1, 2, 2], [event["usage"]["completion_tokens"] for event in events])
        self.assertEqual({"cached_tokens": 0}, events[-1]["usage"]["prompt_tokens_details"])
        self.assertEqual("vllm-0.33.0-88d5fae6", events[-1]["system_fingerprint"])
        events = self.stream({}, answer(71, EOS), force_include_usage=True, fingerprint=None)
        self.assertNotIn("system_fingerprint", events[-1])

    def test_prompt(self) -> None:
        """The role chunk shows the prompt if it is wanted, and the server's name for the answering role."""
        [role, *_] = self.stream(
            {"return_prompt_text": True, "return_token_ids": True}, answer(71, EOS), response_role="bot"
        )
        self.assertEqual(([1, 2, 3], "the prompt"), (role["prompt_token_ids"], role["prompt_text"]))
        self.assertEqual("bot", role["choices"][0]["delta"]["role"])

    def test_echo(self) -> None:
        """An assistant's last message is sent again as a chunk of its own."""
        messages = [{"role": "assistant", "content": "well"}]
        events = self.stream({"messages": messages, "echo": True}, answer(71, EOS))
        self.assertEqual(["", "well", "a", ""], [e["choices"][0]["delta"]["content"] for e in events])
        whole = {"messages": messages, "echo": True}
        sent = json.loads(written(ChatDialect(settings()), whole, [prompt([1])], [answer(71, EOS)]))
        self.assertEqual("wella", sent["choices"][0]["message"]["content"])
        events = self.stream({"echo": True}, answer(71, EOS))
        self.assertEqual(3, len(events))

    def test_tokens_as_ids(self) -> None:
        """Log probabilities show ids instead of texts where the server or the request says so."""
        for more, body in (({"tokens_as_ids": True}, {}), ({}, {"return_tokens_as_token_ids": True})):
            events = self.stream({"logprobs": True, **body}, answer(71, EOS), **more)
            self.assertEqual("token_id:71", events[1]["choices"][0]["logprobs"]["content"][0]["token"])

    def test_failure(self) -> None:
        """An error in mid-stream is an event with the error, and the stream ends as always."""
        call = ChatDialect(settings()).parse(json.dumps({"messages": HI, "stream": True}).encode(), HEAD)
        assert call.stream_encoder is not None
        sent = call.stream_encoder().failure(InferenceError("It broke."))
        self.assertEqual(
            b'data: {"error":{"message":"It broke.","type":"InternalServerError","param":null,"code":500}}\n\n'
            b"data: [DONE]\n\n",
            sent,
        )


class ParseTests(SynchronousTestCase):
    """What a request becomes."""

    def parse(self, head: Head = HEAD, **fields: Any) -> Call:
        """Read a request."""
        return ChatDialect(settings()).parse(json.dumps({"messages": HI, **fields}).encode(), head)

    def test_sampling(self) -> None:
        """Fields become sampling parameters; max_completion_tokens wins over max_tokens; nulls are defaults."""
        sampling = self.parse(
            max_tokens=5, max_completion_tokens=6, stop="x", n="3", seed=7, ignore_eos=True, top_k=4,
            stop_token_ids=[1], min_tokens=2, temperature=0.5, logprobs=True, top_logprobs=3,
        ).request.sampling  # fmt: skip
        self.assertEqual((6, ("x",), 3, 7, True), (sampling.max_tokens, sampling.stop, sampling.n, sampling.seed,
                                                 sampling.ignore_eos))  # fmt: skip
        self.assertEqual((3, (1,), 2, 0.5, 4), (sampling.logprobs, sampling.stop_token_ids, sampling.min_tokens,
                                               sampling.temperature, sampling.top_k))  # fmt: skip
        defaults = self.parse(n=None, stop=None, temperature=None, top_p=None, max_tokens=None).request.sampling
        self.assertEqual((1, (), 1.0, 1.0, None), (defaults.n, defaults.stop, defaults.temperature, defaults.top_p,
                                                  defaults.max_tokens))  # fmt: skip

    def test_content(self) -> None:
        """Content is text or blocks; unknown blocks say nothing; tool calls are written behind."""
        blocks = [
            "plain",
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "u"}},
            {"type": "x"},
        ]
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        messages = [
            {"role": "user", "content": blocks},
            {"role": "assistant", "tool_calls": [call, {"function": {}}]},
            {"role": "tool", "content": "sunny", "tool_call_id": "c"},
        ]
        [prompt] = self.parse(messages=messages).request.prompts
        expected = (
            Message("user", "plain\nsee\nimage: u", media=(Media("image", "u"),)),
            Message("assistant", '[f({"a":1})]'),
            Message("tool", "sunny", "c"),
        )
        self.assertEqual(Conversation(expected), prompt)

    def test_names(self) -> None:
        """The answer's id is the header's, the body's or a new one; the model is the first served name."""
        request = self.parse().request
        self.assertEqual(
            ("0123456789abcdef", False, "m1"), (request.request_id, request.named_by_client, request.model)
        )
        request = self.parse(request_id="mine", model="m2").request
        self.assertEqual(("mine", True, "m1"), (request.request_id, request.named_by_client, request.model))
        request = self.parse(Head("application/json", "header"), request_id="mine").request
        self.assertEqual("header", request.request_id)
        self.assertRaises(UnknownModel, self.parse, model="zzz")

    def test_remote_prefill(self) -> None:
        """A request says when its prompt was computed elsewhere."""
        self.assertTrue(self.parse(kv_transfer_params={"do_remote_prefill": True}).request.remote_prefill)
        self.assertFalse(self.parse(kv_transfer_params={}).request.remote_prefill)

    def test_tools(self) -> None:
        """Tools that need not be called are accepted."""
        tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        for choice in ("auto", "none", None):
            self.parse(tools=tools, tool_choice=choice)
        self.parse(tools=tools)

    def test_many(self) -> None:
        """More messages or tools than any agent has are refused."""
        tool = {"type": "function", "function": {"name": "f"}}
        for name, value in (("messages", HI * 16_385), ("tools", [tool] * 16_385)):
            error = self.assertRaises(MalformedRequest, self.parse, **{name: value})
            self.assertEqual(name, error.param)
            self.assertIn("has 16385 items", error.message)
        self.parse(tools=[tool] * 100)

    def test_surrogates(self) -> None:
        """Half a surrogate pair is replaced: no text can have it on the wire."""
        body = b'{"messages":[{"role":"user","content":"\\ud800x \\ud83d\\ude42"}]}'
        [prompt] = ChatDialect(settings()).parse(body, HEAD).request.prompts
        self.assertEqual(Conversation((Message("user", "\ufffdx \U0001f642"),)), prompt)

    def test_contradictions(self) -> None:
        """Fields that contradict each other are refused before types are looked at."""
        error = self.assertRaises(
            InvalidParameter, self.parse, stream_options={"include_usage": True}, temperature="hot"
        )
        self.assertEqual("stream_options", error.param)
