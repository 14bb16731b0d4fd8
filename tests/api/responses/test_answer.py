"""Response objects, byte for byte."""

import json
import re
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import CHAT_PROMPT, EOS, HEAD, answer, normal, prompt, recorded, settings
from tests.fakes import prefilled
from vllmsim.api.body import Head
from vllmsim.api.dialect import Settings
from vllmsim.api.responses.answer import error_code
from vllmsim.api.responses.dialect import ResponseCall, ResponsesDialect
from vllmsim.api.responses.store import ResponseStore
from vllmsim.api.toolcalls import Tooling
from vllmsim.errors import InvalidRequest, QueueFull, Unavailable
from vllmsim.inference import Answer, Part, PartKind, Span, TokenizedPrompt

WEATHER = {
    "type": "function",
    "name": "get_w",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
ARGUMENTS = ['{"', "city", '":', ' "', "S", "F", '"}']
PROMPT = prompt(CHAT_PROMPT)
LONG_PROMPT = prompt(list(range(22)))
ABCD = answer(71, 72, 227, 73, 74, EOS)


def composed(*parts: tuple[PartKind, int, int, list[str], str], reason: str = "stop", more: int = 1) -> Answer:
    """Make an answer of parts: their kind, tokens before and behind their own, their own, and the tool.

    :param more: tokens behind the last part.
    """
    made: list[Part] = []
    pieces: list[str] = []
    for kind, before, behind, own, name in parts:
        start = len(pieces)
        pieces += [""] * before + own + [""] * behind
        first = start + before
        made.append(Part(kind, start, first - 1 if name else first, first, first + len(own), len(pieces), name))
    pieces += [""] * more
    return Answer(range(len(pieces)), pieces, pieces, reason, parts=tuple(made))  # type: ignore[arg-type]


THOUGHT_AND_CALL = composed(("reasoning", 1, 1, ["think", " a"], ""), ("call", 15, 2, ARGUMENTS, "get_w"))
"""What the recorded model said whole: 29 tokens, some of them white space that its parser drops."""


def call(body: dict[str, Any], store: ResponseStore | None = None, head: Head = HEAD, **more: Any) -> ResponseCall:
    """Read a request as a server with the recorded context does."""
    facts: Settings = settings(**more)
    dialect = ResponsesDialect(facts, 256, store or ResponseStore())
    return dialect.parse(json.dumps({"input": "hi", **body}).encode(), head)


def whole(body: dict[str, Any], said: Answer, asked: TokenizedPrompt = PROMPT, cached: int = 0, **more: Any) -> Any:
    """Write a whole response."""
    prefill = prefilled([asked], cached)
    return call(body, **more).whole_encoder().body([asked], prefill, [evolve(said, prefill=prefill)])


def plain(data: bytes) -> bytes:
    """Take out what this server does not say or says better: timings, counted reasoning."""
    data = re.sub(rb',"metrics":\{[^}]*\}', b"", normal(data))
    return re.sub(rb'"reasoning_tokens":\d+', b'"reasoning_tokens":0', data).rstrip()


class RecordingTests(SynchronousTestCase):
    """What vLLM sent."""

    def test_message(self) -> None:
        """A message has vLLM's bytes: the same keys in the same order, and the same nulls."""
        self.assertEqual(plain(recorded("resp")), plain(whole({}, ABCD)))

    def test_incomplete(self) -> None:
        """A message that its limit cut off is incomplete, and so is its response."""
        sent = whole({"max_output_tokens": 1}, answer(71, reason="length"))
        self.assertEqual(plain(recorded("resp_inc")), plain(sent))

    def test_call(self) -> None:
        """A call after reasoning has vLLM's bytes, the tool with all its members."""
        self.assertEqual(29, len(THOUGHT_AND_CALL))
        sent = whole({"tools": [WEATHER]}, THOUGHT_AND_CALL, LONG_PROMPT, 16, reasons=True)
        self.assertEqual(plain(recorded("resp_tool")), plain(sent))


class ObjectTests(SynchronousTestCase):
    """What requests change in the object."""

    def response(self, body: dict[str, Any], said: Answer = ABCD, **more: Any) -> Any:
        """Write a whole response, and read it."""
        return json.loads(whole(body, said, **more))

    def test_echoes(self) -> None:
        """What the request says comes back."""
        asked = {
            "instructions": "Be brief.", "metadata": {"a": "b"}, "max_tool_calls": 3, "user": "me",
            "prompt_cache_key": "k", "prompt_cache_options": {"mode": "x"}, "prompt_cache_retention": "24h",
            "safety_identifier": "s", "service_tier": "flex", "truncation": "auto", "parallel_tool_calls": False,
            "temperature": 0.5, "top_p": 0.25, "presence_penalty": 1.5, "frequency_penalty": -1.5,
        }  # fmt: skip
        response = self.response(asked)
        self.assertEqual(asked, {name: response[name] for name in asked})

    def test_nulls(self) -> None:
        """Nulls are the same as nothing."""
        names = (
            "instructions", "max_output_tokens", "metadata", "background", "store", "stream", "previous_response_id",
            "prompt", "reasoning", "include", "service_tier", "text", "tool_choice", "tools", "parallel_tool_calls",
            "top_logprobs", "truncation", "temperature", "top_p", "presence_penalty", "include_reasoning",
        )  # fmt: skip
        self.assertEqual(self.response({}), self.response(dict.fromkeys(names)))

    def test_limit(self) -> None:
        """The limit shown is the one that holds: the request's, or what the context leaves."""
        for asked, shown in ((None, 240), (7, 7), (250, 240)):
            self.assertEqual(shown, self.response({"max_output_tokens": asked})["max_output_tokens"])

    def test_reasoning(self) -> None:
        """Reasoning is an item that can be left out; its tokens count either way."""
        said = composed(("reasoning", 1, 1, ["think"], ""), ("text", 0, 0, ["a"], ""))
        response = self.response({"reasoning": {"effort": "low"}}, said)
        self.assertEqual(["reasoning", "message"], [item["type"] for item in response["output"]])
        self.assertEqual(
            {"context": None, "effort": "low", "generate_summary": None, "mode": None, "summary": None},
            response["reasoning"],
        )
        hidden = self.response({"include_reasoning": False}, said)
        self.assertEqual(["message"], [item["type"] for item in hidden["output"]])
        for each in (response, hidden):
            self.assertEqual(1, each["usage"]["output_tokens_details"]["reasoning_tokens"])

    def test_calls(self) -> None:
        """Several calls are several items, each with ids of its own."""
        ids = iter(range(100))
        said = composed(("call", 2, 1, ["{}"], "get_w"), ("call", 2, 1, ['{"city', '": 1}'], "get_w"))
        response = self.response({"tools": [WEATHER]}, said, new_id=lambda: f"{next(ids)}")
        calls = response["output"]
        self.assertEqual(["{}", '{"city": 1}'], [item["arguments"] for item in calls])
        self.assertEqual(4, len({item[name] for item in calls for name in ("id", "call_id")}))
        self.assertEqual(["completed"] * 2, [item["status"] for item in calls])

    def test_cut_call(self) -> None:
        """A call that the limit cuts is incomplete, one that is whole before the limit is not."""
        cut = composed(("call", 2, 1, ["{}"], "get_w"), ("call", 2, 0, ['{"ci'], "get_w"), reason="length", more=0)
        response = self.response({"tools": [WEATHER]}, cut)
        self.assertEqual(["completed", "incomplete"], [item["status"] for item in response["output"]])
        self.assertEqual("incomplete", response["status"])

    def test_cut_before_the_name(self) -> None:
        """A call that the limit cuts before anybody learns of it has no item."""
        cut = Answer(range(2), ["", ""], ["", ""], "length", parts=(Part("call", 0, 2, 2, 2, 2, "get_w"),))
        self.assertEqual([], self.response({"tools": [WEATHER]}, cut)["output"])

    def test_whole_before_the_limit(self) -> None:
        """What was said to its end is complete, whether the limit comes with its last tag or in the call behind it."""
        closed = composed(("call", 2, 1, ["{}"], "get_w"), reason="length", more=0)
        followed = composed(("text", 0, 0, ["a"], ""), ("call", 2, 0, ["{"], "get_w"), reason="length", more=0)
        for said, statuses in ((closed, ["completed"]), (followed, ["completed", "incomplete"])):
            response = self.response({"tools": [WEATHER]}, said)
            self.assertEqual(statuses, [item["status"] for item in response["output"]])

    def test_numbered_calls(self) -> None:
        """Where the parser numbers calls, each has a number of its own."""
        said = composed(("call", 2, 1, ["{}"], "get_w"), ("call", 2, 1, ["{}"], "get_w"))
        calls = self.response({"tools": [WEATHER]}, said, tooling=Tooling("kimi_k2"))["output"]
        self.assertEqual(["functions.get_w:0", "functions.get_w:1"], [item["call_id"] for item in calls])

    def test_nothing_said(self) -> None:
        """An answer without text has no item, unless there are log probabilities to be shown."""
        self.assertEqual([], self.response({}, answer(EOS))["output"])
        [item] = self.response({"include": ["message.output_text.logprobs"]}, answer(EOS))["output"]
        self.assertEqual([""], [part["text"] for part in item["content"]])
        self.assertEqual(["<|im_end|>"], [entry["token"] for entry in item["content"][0]["logprobs"]])

    def test_tools(self) -> None:
        """The nested form of a tool is shown flat; other tools are shown as they came."""
        nested = {"type": "function", "function": {"name": "f", "parameters": {}, "description": "does"}}
        search = {"type": "web_search", "filters": {"allowed_domains": ["a"]}}
        response = self.response({"tools": [nested, search]})
        self.assertEqual(
            {"name": "f", "parameters": {}, "strict": None, "type": "function", "allowed_callers": None, "async": None,
             "defer_loading": None, "description": "does", "output_schema": None},
            response["tools"][0],
        )  # fmt: skip
        self.assertEqual(search, response["tools"][1])

    def test_tool_choice(self) -> None:
        """The choice is shown in the form of Responses."""
        allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_w"}]}
        for choice, shown in (
            (None, "auto"),
            ("required", "required"),
            ("none", "none"),
            ({"type": "function", "name": "get_w"}, {"name": "get_w", "type": "function"}),
            ({"type": "function", "function": {"name": "get_w"}}, {"name": "get_w", "type": "function"}),
            (allowed, allowed),
        ):
            response = self.response({"tools": [WEATHER], "tool_choice": choice}, THOUGHT_AND_CALL)
            self.assertEqual(shown, response["tool_choice"])

    def test_text(self) -> None:
        """The format of text is shown with all its members."""
        schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
        for form, shown in (
            ({"type": "text"}, {"type": "text"}),
            ({"type": "json_object"}, {"type": "json_object"}),
            (schema, {**schema, "description": None, "strict": None}),
            (None, None),
        ):
            self.assertEqual(
                {"format": shown, "verbosity": "low"},
                self.response({"text": {"format": form, "verbosity": "low"}})["text"],
            )

    def test_logprobs(self) -> None:
        """Log probabilities come if they are included, for each token of the message, the ending one too."""
        included = {"include": ["message.output_text.logprobs"]}
        for body, count in (({**included, "top_logprobs": 2}, 2), (included, 0)):
            response = self.response(body)
            self.assertEqual(count, response["top_logprobs"])
            logprobs = response["output"][0]["content"][0]["logprobs"]
            self.assertEqual(["a", "b", " ", "c", "d", "<|im_end|>"], [each["token"] for each in logprobs])
            self.assertEqual(["token", "bytes", "logprob", "top_logprobs"], list(logprobs[0]))
            self.assertEqual([count] * 6, [len(each["top_logprobs"]) for each in logprobs])
        self.assertIsNone(self.response({"top_logprobs": 2})["output"][0]["content"][0]["logprobs"])

    def test_raw_messages(self) -> None:
        """The text and tokens of prompt and answer come if they are wanted, but not in the background."""
        response = self.response({"enable_response_messages": True})
        self.assertEqual(
            ([{"message": "", "tokens": CHAT_PROMPT, "type": "raw_message_tokens"}], "ab cd"),
            (response["input_messages"], response["output_messages"][0]["message"]),
        )
        self.assertEqual([71, 72, 227, 73, 74, EOS], response["output_messages"][0]["tokens"])
        store = ResponseStore(1)
        writer = call({"enable_response_messages": True, "background": True}, store).background
        assert writer is not None
        stream = writer(store.keep)
        stream.opening([PROMPT], prefilled([PROMPT]))
        stream.tokens(0, ABCD, 0, len(ABCD))
        [*_, last] = stream.closing().splitlines()[:-1]
        self.assertIsNone(json.loads(last.removeprefix(b"data: "))["response"]["output_messages"])

    def test_handover(self) -> None:
        """A prefill server tells where its blocks are; an encoder tells where its encodings are."""
        response = self.response({"kv_transfer_params": {"do_remote_decode": True}})
        self.assertEqual(("resp_0123456789abcdef", 16), (
            response["kv_transfer_params"]["remote_request_id"], response["kv_transfer_params"]["remote_num_tokens"]
        ))  # fmt: skip
        response = self.response({}, asked=prompt(CHAT_PROMPT, "", Span("a", 0, 3)), encoder_only=True)
        self.assertEqual(["a"], list(response["ec_transfer_params"]))

    def test_cache_writes(self) -> None:
        """Full blocks of the prompt that were not cached are written to the cache."""
        for tokens, cached, written in ((15, 0, 0), (16, 0, 16), (40, 16, 16), (40, 32, 0)):
            response = json.loads(whole({}, ABCD, prompt([1] * tokens), cached))
            details = response["usage"]["input_tokens_details"]
            self.assertEqual((cached, written), (details["cached_tokens"], details["cache_write_tokens"]))


class ErrorCodeTests(SynchronousTestCase):
    """Names of errors."""

    def test_codes(self) -> None:
        """Errors have OpenAI's codes."""
        errors = (Unavailable("x"), QueueFull("x"), InvalidRequest("x"))
        self.assertEqual(["server_error", "rate_limit_exceeded", "invalid_prompt"], list(map(error_code, errors)))
