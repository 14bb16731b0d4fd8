"""Streams of token ids become streams of answers, chunk by chunk."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import HEAD, settings
from tests.api.scaleout.vocabulary import BOUNDS, Vocabulary
from vllmsim.api.scaleout.derender import ChatDerenderer, CompletionDerenderer, DerenderDialect
from vllmsim.errors import InvalidRequest, MalformedRequest, UnknownModel

TOOL = {"type": "function", "function": {"name": "f"}}
CHAT = {"messages": [{"role": "user", "content": "hi"}], "tools": [TOOL]}


def chunk(*ids: int, **fields: Any) -> dict[str, Any]:
    """Make a chunk of a generate stream."""
    return {"request_id": "generate-tokens-1", "choices": [{"index": 0, "token_ids": list(ids), **fields}]}


class ChunkTestCase(SynchronousTestCase):
    """Tests that send one chunk after the other."""

    def setUp(self) -> None:
        """Have a vocabulary."""
        self.vocabulary = Vocabulary()
        self.state: Any = None

    def read(self, dialect: DerenderDialect, asked: dict[str, Any]) -> Any:
        """Send a chunk."""
        return json.loads(dialect.answer(json.dumps({"stream": True, **asked}).encode(), HEAD))

    def send(self, dialect: DerenderDialect, *chunks: dict[str, Any], **fields: Any) -> list[Any]:
        """Send chunks, each with the state of the one before."""
        state: Any = None
        sent = []
        for each in chunks:
            answer = self.read(dialect, {"generate_chunk": each, "stream_state": state, **fields})
            state = answer["stream_state"]
            sent.append(answer["chunk"])
        self.state = state
        return sent


class ChatTests(ChunkTestCase):
    """Chat completions."""

    def dialect(self, **more: Any) -> ChatDerenderer:
        """Make what reads the chunks."""
        return ChatDerenderer(settings(**more), self.vocabulary.words, BOUNDS)

    def test_text(self) -> None:
        """The first chunk says whose turn it is, the last one why it ended; nothing but that is carried."""
        a, b = self.vocabulary.ids("a ", "b")
        last = chunk(self.vocabulary.eos, finish_reason="stop", stop_reason=None)
        chunks = self.send(self.dialect(), chunk(a), chunk(b), last)
        self.assertEqual(
            [{"role": "assistant", "content": "a "}, {"content": "b"}, {"content": ""}],
            [each["choices"][0]["delta"] for each in chunks],
        )
        self.assertEqual([None, None, "stop"], [each["choices"][0]["finish_reason"] for each in chunks])
        self.assertEqual(["id", "object", "created", "model", "choices", "kv_transfer_params"], list(chunks[0]))
        self.assertEqual([], self.state["output_token_ids"])

    def test_parts(self) -> None:
        """With the request, deltas have reasoning and calls, whose ids stay the same."""
        texts = ("<think>", "x", "</think>", "t", "<tool_call>", "f", "{", "}", "</tool_call>")
        ids = self.vocabulary.ids(*texts)
        last = chunk(self.vocabulary.eos, finish_reason="stop")
        chunks = self.send(self.dialect(reasons=True), *map(chunk, ids), last, chat_request=CHAT)
        deltas = [each["choices"][0]["delta"] for each in chunks]
        self.assertEqual([{"role": "assistant"}, {"reasoning": "x"}, {}, {"content": "t"}, {}], deltas[:5])
        self.assertEqual({"name": "f"}, deltas[5]["tool_calls"][0]["function"])
        self.assertEqual(["{", "}"], [delta["tool_calls"][0]["function"]["arguments"] for delta in deltas[6:8]])
        self.assertEqual("tool_calls", chunks[-1]["choices"][0]["finish_reason"])
        self.assertEqual([deltas[5]["tool_calls"][0]["id"]], self.state["last_tool_call_ids"])
        self.assertEqual([1] * 10, self.state["output_chunk_lens"])

    def test_several_tokens(self) -> None:
        """A chunk of several tokens has one delta for all that they say."""
        texts = ("<think>", "x", "</think>", "t", "u", "<tool_call>", "f", "{}", "</tool_call>")
        [sent] = self.send(self.dialect(reasons=True), chunk(*self.vocabulary.ids(*texts)), chat_request=CHAT)
        delta = sent["choices"][0]["delta"]
        self.assertEqual(("x", "tu"), (delta["reasoning"], delta["content"]))
        self.assertEqual({"name": "f", "arguments": "{}"}, delta["tool_calls"][0]["function"])

    def test_hidden_reasoning(self) -> None:
        """Reasoning that the client does not want is not sent."""
        chat = CHAT | {"include_reasoning": False}
        [sent] = self.send(self.dialect(reasons=True), chunk(*self.vocabulary.ids("<think>", "x")), chat_request=chat)
        self.assertEqual({"role": "assistant"}, sent["choices"][0]["delta"])

    def test_the_end_alone(self) -> None:
        """A chunk without tokens may end a choice."""
        [sent] = self.send(self.dialect(), chunk(finish_reason="abort"))
        self.assertEqual("abort", sent["choices"][0]["finish_reason"])

    def test_usage(self) -> None:
        """A chunk without choices becomes the usage; what the request says of the prompt counts."""
        usage = {"request_id": "r", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
        for fields, expected in (({}, 5), ({"prompt_tokens": 9}, 9)):
            [sent] = self.send(self.dialect(), usage, **fields)
            self.assertEqual((expected, 2), (sent["usage"]["prompt_tokens"], sent["usage"]["completion_tokens"]))
        [sent] = self.send(self.dialect(), {"request_id": "r", "choices": []})
        self.assertEqual(0, sent["usage"]["total_tokens"])

    def test_logprobs(self) -> None:
        """Log probabilities are shown with their texts."""
        [a] = self.vocabulary.ids("a")
        [sent] = self.send(self.dialect(), chunk(a, logprobs={"content": [{"token_id": a, "logprob": -1}]}))
        self.assertEqual("a", sent["choices"][0]["logprobs"]["content"][0]["token"])

    def test_refused(self) -> None:
        """States that do not add up, several choices, and too many tokens are refused."""
        two = {"request_id": "r", "choices": [chunk(1)["choices"][0]] * 2}
        long = {"output_token_ids": [1] * 20, "output_chunk_lens": [20]}
        for asked, kind, text in (
            ({}, MalformedRequest, "'loc': 'body.generate_chunk'"),
            ({"generate_chunk": two}, InvalidRequest, "2 choices of the chunk; at most 1"),
            ({"generate_chunk": chunk(1), "stream_state": long}, InvalidRequest, "21 output tokens; at most 20"),
            ({"generate_chunk": chunk(1), "stream_state": {"output_token_ids": [1]}}, MalformedRequest, "must sum to"),
            ({"generate_chunk": chunk(1), "stream_state": {"prev_tokens": [""] * 1025}}, MalformedRequest, "1024"),
            ({"generate_chunk": chunk(1), "model": "zzz"}, UnknownModel, "zzz"),
        ):
            error = self.assertRaises(kind, self.read, self.dialect(), asked)
            self.assertIn(text, error.message)


class CompletionTests(ChunkTestCase):
    """Completions."""

    def test_chunks(self) -> None:
        """Texts come as they are, and offsets go on through the stream."""
        dialect = CompletionDerenderer(settings(), self.vocabulary.words, BOUNDS)
        a, b = self.vocabulary.ids("ab ", "c")
        entries = [{"content": [{"token_id": token, "logprob": -1}]} for token in (a, b)]
        chunks = self.send(
            dialect, chunk(a, logprobs=entries[0]), chunk(b, logprobs=entries[1], finish_reason="length")
        )
        choices = [each["choices"][0] for each in chunks]
        self.assertEqual([("ab ", None), ("c", "length")], [(each["text"], each["finish_reason"]) for each in choices])
        self.assertEqual([[0], [3]], [each["logprobs"]["text_offset"] for each in choices])
        [sent] = self.send(dialect, {"request_id": "r", "choices": []}, prompt_tokens=4)
        self.assertEqual((4, []), (sent["usage"]["prompt_tokens"], sent["choices"]))
