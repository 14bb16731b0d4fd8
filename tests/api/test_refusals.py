"""Answers to requests that are refused for how little of their prompt is cached, in every dialect."""

import json
from typing import Any

from anthropic.types import Message
from attrs import evolve
from openai.types.responses import Response
from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import HEAD, answer, prompt, settings
from vllmsim.api.batch import BatchDialect
from vllmsim.api.chat import ChatDialect
from vllmsim.api.completions import CompletionDialect
from vllmsim.api.dialect import Dialect
from vllmsim.api.messages.dialect import MessagesDialect
from vllmsim.api.responses.dialect import ResponsesDialect
from vllmsim.api.responses.store import ResponseStore
from vllmsim.api.scaleout.generate import GenerateDialect
from vllmsim.inference import NOT_CACHED, Answer, Prefill, TokenizedPrompt

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PROMPT = prompt([1, 2, 3], "hi")
PREFILL = Prefill(3, cached=2)
DETAILED = {"logprobs": True, "top_logprobs": 2, "return_token_ids": True, "prompt_logprobs": 1}
HANDED_OVER = {"kv_transfer_params": {"do_remote_decode": True}}


class RefusalTestCase(SynchronousTestCase):
    """Writes answers of requests that were refused."""

    def setUp(self) -> None:
        """Have a server that tells of cached tokens."""
        facts = settings(prompt_tokens_details=True, reasons=True)
        self.chat, self.completions, self.batch = ChatDialect(facts), CompletionDialect(facts), BatchDialect(facts)
        self.messages, self.generate = MessagesDialect(facts), GenerateDialect(facts, 100)
        self.responses = ResponsesDialect(facts, 100, ResponseStore(0))

    def whole(self, dialect: Dialect, body: Any, *answers: Answer, prompts: list[TokenizedPrompt] | None = None) -> Any:
        """Write an answer in one piece, by default one that is refused."""
        call = dialect.parse(json.dumps(body).encode(), HEAD)
        return json.loads(call.whole_encoder().body(prompts or [PROMPT], PREFILL, answers or [NOT_CACHED]))

    def stream(self, dialect: Dialect, body: Any, *answers: Answer) -> list[Any]:
        """Write it as a stream."""
        call = dialect.parse(json.dumps({**body, "stream": True}).encode(), HEAD)
        assert call.stream_encoder is not None
        encoder = call.stream_encoder()
        written = encoder.opening([PROMPT], PREFILL)
        for choice, each in enumerate(answers or [NOT_CACHED]):
            written += encoder.tokens(choice, evolve(each, prefill=PREFILL), 0, len(each))
        written += encoder.closing()
        texts = [part.partition("data: ")[2] for part in written.decode().split("\n\n") if part]
        return [text if text == "[DONE]" else json.loads(text) for text in texts]


class WholeTests(RefusalTestCase):
    """In one piece."""

    def test_chat(self) -> None:
        """A chat answer is empty and says why; nothing is shown in detail, and nothing is handed over."""
        for more in ({}, DETAILED, {"tools": [TOOL], "tool_choice": "required"}, HANDED_OVER,
                     {"response_format": {"type": "json_object"}}):  # fmt: skip
            sent = self.whole(self.chat, {"messages": HI, **more})
            [choice] = sent["choices"]
            self.assertEqual(
                ("cache_threshold", "", None),
                (choice["finish_reason"], choice["message"]["content"], choice["logprobs"]),
            )
            self.assertNotIn("tool_calls", choice["message"])
            self.assertEqual((None, None, None), (
                sent["prompt_logprobs"], sent["kv_transfer_params"], sent["usage"]["prompt_tokens_details"]
            ))  # fmt: skip
            self.assertEqual((3, 0), (sent["usage"]["prompt_tokens"], sent["usage"]["completion_tokens"]))

    def test_some_served(self) -> None:
        """Where other choices are served, the usage is theirs."""
        said = evolve(answer(71), prefill=PREFILL)
        sent = self.whole(self.completions, {"prompt": ["a", "b"]}, NOT_CACHED, said, prompts=[PROMPT, PROMPT])
        self.assertEqual(
            [("", "cache_threshold"), ("a", "stop")], [(c["text"], c["finish_reason"]) for c in sent["choices"]]
        )
        self.assertEqual((1, 2), (
            sent["usage"]["completion_tokens"], sent["usage"]["prompt_tokens_details"]["cached_tokens"]
        ))  # fmt: skip

    def test_completions(self) -> None:
        """A completion is empty, but for the prompt if that is wanted back."""
        for more, text in (({}, ""), ({"echo": True}, "hi")):
            [choice] = self.whole(self.completions, {"prompt": "hi", "logprobs": 1, "prompt_logprobs": 1, **more})[
                "choices"
            ]
            self.assertEqual(("cache_threshold", text), (choice["finish_reason"], choice["text"]))
            self.assertEqual((None, None), (choice["logprobs"], choice["prompt_logprobs"]))

    def test_batch(self) -> None:
        """Each conversation of a batch has its own fate."""
        given = [prompt([1]), prompt([2])]
        asked = {"messages": [HI, HI]}
        sent = self.whole(self.batch, asked, NOT_CACHED, answer(71), prompts=given)
        self.assertEqual(["cache_threshold", "stop"], [choice["finish_reason"] for choice in sent["choices"]])
        sent = self.whole(self.batch, asked, NOT_CACHED, NOT_CACHED, prompts=given)
        self.assertIsNone(sent["usage"]["prompt_tokens_details"])

    def test_generate(self) -> None:
        """An answer to token ids has none."""
        for mode in ("tokens", "text", "derender"):
            asked = {"token_ids": [1], "sampling_params": {"logprobs": 1, "prompt_logprobs": 1}, "output_mode": mode}
            sent = self.whole(self.generate, {**asked, **HANDED_OVER})
            [choice] = sent["choices"]
            self.assertEqual(
                ("cache_threshold", [], None), (choice["finish_reason"], choice["token_ids"], choice["logprobs"])
            )
            self.assertEqual((None, None, None), (
                sent["prompt_logprobs"], sent["kv_transfer_params"], sent["usage"]["prompt_tokens_details"]
            ))  # fmt: skip

    def test_messages(self) -> None:
        """A message has no text, and ends as one that may have no tokens, since Anthropic has no word for it."""
        sent = self.whole(self.messages, {"model": "m1", "max_tokens": 5, "messages": HI, **HANDED_OVER})
        self.assertEqual(("max_tokens", [{"type": "text", "text": ""}]), (sent["stop_reason"], sent["content"]))
        self.assertEqual({"input_tokens": 3, "output_tokens": 0}, sent["usage"])
        self.assertNotIn("kv_transfer_params", sent)
        self.assertEqual("max_tokens", Message.model_validate(sent, strict=True).stop_reason)

    def test_responses(self) -> None:
        """A response has no items and is incomplete, for the reason that clients know."""
        sent = self.whole(self.responses, {"input": "hi", **HANDED_OVER})
        self.assertEqual(("incomplete", {"reason": "max_output_tokens"}, []), (
            sent["status"], sent["incomplete_details"], sent["output"]
        ))  # fmt: skip
        self.assertEqual(
            (0, 0), (sent["usage"]["output_tokens"], sent["usage"]["input_tokens_details"]["cache_write_tokens"])
        )
        self.assertIsNone(sent["kv_transfer_params"])
        read = Response.model_validate(sent)
        assert read.incomplete_details is not None
        self.assertEqual("max_output_tokens", read.incomplete_details.reason)


class StreamTests(RefusalTestCase):
    """As a stream."""

    USAGE = {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0}

    def test_chat(self) -> None:
        """Each choice has its role and its end, and the usage follows."""
        for more in ({}, {"logprobs": True, "top_logprobs": 1}, {"tools": [TOOL], "tool_choice": "required"},
                     {"return_token_ids": True}, {"stream_interval": 3}):  # fmt: skip
            asked = {"messages": HI, "n": 2, "stream_options": {"include_usage": True}, **HANDED_OVER, **more}
            *roles, first, second, usage, done = self.stream(self.chat, asked, NOT_CACHED, NOT_CACHED)
            self.assertEqual(["assistant"] * 2, [chunk["choices"][0]["delta"]["role"] for chunk in roles])
            for index, chunk in enumerate((first, second)):
                [choice] = chunk["choices"]
                self.assertEqual((index, {"content": ""}, "cache_threshold", None), (
                    choice["index"], choice["delta"], choice["finish_reason"], choice["logprobs"]
                ))  # fmt: skip
                self.assertIsNone(chunk["kv_transfer_params"])
            details = {"completion_tokens_details": {"reasoning_tokens": 0}}
            self.assertEqual((self.USAGE | details, "[DONE]"), (usage["usage"], done))

    def test_completions(self) -> None:
        """A completion's one chunk has no text."""
        asked = {"prompt": "hi", "logprobs": 1, "stream_options": {"include_usage": True}}
        chunk, usage, done = self.stream(self.completions, asked)
        [choice] = chunk["choices"]
        self.assertEqual(("", "cache_threshold", None), (choice["text"], choice["finish_reason"], choice["logprobs"]))
        self.assertEqual((self.USAGE, "[DONE]"), (usage["usage"], done))

    def test_generate(self) -> None:
        """One chunk has no token ids."""
        for mode in ("tokens", "text", "derender"):
            asked = {"token_ids": [1], "sampling_params": {"logprobs": 1}, "output_mode": mode, **HANDED_OVER}
            chunk, usage, done = self.stream(self.generate, {**asked, "stream_options": {"include_usage": True}})
            [choice] = chunk["choices"]
            self.assertEqual(
                ([], "cache_threshold", None), (choice["token_ids"], choice["finish_reason"], choice["logprobs"])
            )
            self.assertNotIn("kv_transfer_params", chunk)
            self.assertEqual((self.USAGE, "[DONE]"), (usage["usage"], done))

    def test_messages(self) -> None:
        """A message begins and ends without a block."""
        sent = self.stream(self.messages, {"model": "m1", "max_tokens": 5, "messages": HI})
        self.assertEqual(["message_start", "message_delta", "message_stop"], [event["type"] for event in sent])
        self.assertEqual("max_tokens", sent[1]["delta"]["stop_reason"])
        self.assertEqual({"input_tokens": 3, "output_tokens": 0}, sent[1]["usage"])

    def test_responses(self) -> None:
        """A response is incomplete without an item."""
        sent = self.stream(self.responses, {"input": "hi"})
        self.assertEqual(
            ["response.created", "response.in_progress", "response.incomplete"], [event["type"] for event in sent]
        )
        self.assertEqual([0, 1, 2], [event["sequence_number"] for event in sent])
        self.assertEqual([], sent[-1]["response"]["output"])


class HandoverTests(RefusalTestCase):
    """Streams of a prefill server, where a request is served."""

    def test_generate(self) -> None:
        """The chunk that ends the choice says where the blocks are; so does its usage what was cached."""
        asked = {"token_ids": [1], "sampling_params": {}, "stream_options": {"include_usage": True}, **HANDED_OVER}
        for mode in ("tokens", "text", "derender"):
            first, last, usage, _ = self.stream(self.generate, {**asked, "output_mode": mode}, answer(71, 72))
            self.assertNotIn("kv_transfer_params", first)
            self.assertEqual(3, last["kv_transfer_params"]["remote_num_tokens"])
            self.assertEqual({"cached_tokens": 2}, usage["usage"]["prompt_tokens_details"])

    def test_messages(self) -> None:
        """The event that tells why a message ends says so too."""
        sent = self.stream(
            self.messages, {"model": "m1", "max_tokens": 5, "messages": HI, **HANDED_OVER}, answer(71, reason="length")
        )
        self.assertEqual([3], [e["kv_transfer_params"]["remote_num_tokens"] for e in sent if "kv_transfer_params" in e])
        self.assertEqual("message_delta", sent[-2]["type"])
        self.assertEqual((1, 2), (sent[-2]["usage"]["input_tokens"], sent[-2]["usage"]["cache_read_input_tokens"]))
