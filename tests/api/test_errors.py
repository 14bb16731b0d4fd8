"""vLLM's error answers: status, type, parameter and text, as they were recorded."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import FOLDER
from tests.harness import RankTestCase
from vllmsim.api.errorbody import anthropic_error_body, error_body
from vllmsim.errors import InferenceError, MalformedRequest

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CHAT: dict[str, Any] = {
    "malformed": b'{"model":',
    "empty": b"",
    "notobj": b"[1]",
    "missing": b'{"model":"m1"}',
    "wrongtype": {"messages": "x"},
    "badtemp_type": {"messages": HI, "temperature": "hot"},
    "unknown_model": {"messages": HI, "model": "zzz"},
    "empty_msgs": {"messages": []},
    "temp3": {"messages": HI, "temperature": 3},
    "tempneg": {"messages": HI, "temperature": -1},
    "topp2": {"messages": HI, "top_p": 2},
    "topp0": {"messages": HI, "top_p": 0},
    "topk": {"messages": HI, "top_k": -5},
    "minp": {"messages": HI, "min_p": 2},
    "rep0": {"messages": HI, "repetition_penalty": 0},
    "pp": {"messages": HI, "presence_penalty": 3},
    "fp": {"messages": HI, "frequency_penalty": -3},
    "n0": {"messages": HI, "n": 0},
    "nbig": {"messages": HI, "n": 20000},
    "ngreedy": {"messages": HI, "n": 2, "temperature": 0},
    "mt0": {"messages": HI, "max_tokens": 0},
    "mtneg": {"messages": HI, "max_tokens": -1},
    "mtbig": {"messages": HI, "max_tokens": 300},
    "mintok": {"messages": HI, "min_tokens": 3, "max_tokens": 2},
    "seedbig": {"messages": HI, "seed": 99999999999999999999},
    "stop5": {"messages": HI, "stop": ["a", "b", "c", "d", "e"]},
    "stopempty": {"messages": HI, "stop": [""]},
    "toplp": {"messages": HI, "top_logprobs": 2},
    "toplp30": {"messages": HI, "logprobs": True, "top_logprobs": 30},
    "toplpneg": {"messages": HI, "logprobs": True, "top_logprobs": -2},
    "promptlpstream": {"messages": HI, "prompt_logprobs": 1, "stream": True},
    "so_nostream": {"messages": HI, "stream_options": {"include_usage": True}},
    "tc_notools": {"messages": HI, "tool_choice": "auto"},
    "tools_empty": {"messages": HI, "tools": []},
    "tc_bad": {"messages": HI, "tools": [TOOL], "tool_choice": "foo"},
    "tc_unknown": {"messages": HI, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
    "salt": {"messages": HI, "cache_salt": "a@b"},
    "saltlong": {"messages": HI, "cache_salt": ""},
    "tmpl": {"messages": HI, "chat_template": "x"},
    "agp": {"messages": HI, "continue_final_message": True, "add_generation_prompt": True},
    "rf": {"messages": HI, "response_format": {"type": "json_schema"}},
    "rfbad": {"messages": HI, "response_format": {"type": "foo"}},
    "effort": {"messages": HI, "reasoning_effort": "huge"},
    "so_two": {"messages": HI, "structured_outputs": {"regex": "a", "choice": ["a"]}},
    "allowed": {"messages": HI, "allowed_token_ids": []},
    "trunc": {"messages": HI, "truncate_prompt_tokens": -2},
    "beamstream": {"messages": HI, "use_beam_search": True, "stream": True},
    "nstr": {"messages": HI, "n": "x"},
    "ctxchat": {"messages": [{"role": "user", "content": "a " * 300}]},
}
COMPLETIONS: dict[str, Any] = {
    "noprompt": {"model": "m1"},
    "emptyprompt": {"prompt": ""},
    "emptylist": {"prompt": []},
    "suffix": {"prompt": "a", "suffix": "b"},
    "lp30": {"prompt": "a", "logprobs": 30},
    "lpneg": {"prompt": "a", "logprobs": -2},
    "ctx257": {"prompt": "a " * 300},
    "ctx300": {"prompt": list(range(300))},
    "ctx256": {"prompt": list(range(256))},
}
MESSAGES: dict[str, Any] = {
    "msg_model": {"model": "zz", "max_tokens": 5, "messages": HI},
    "msg_missing": {"model": "m1", "messages": HI},
    "msg_mt0": {"model": "m1", "max_tokens": 0, "messages": HI},
    "msg_ctx": {"model": "m1", "max_tokens": 5, "messages": [{"role": "user", "content": "a " * 300}]},
}
RESPONSES: dict[str, Any] = {
    "resp_model": {"input": "hi", "model": "zz"},
    "resp_noinput": {"model": "m1", "stream": False},
    "resp_bg": {"input": "hi", "background": True},
    "resp_prev": {"input": "hi", "previous_response_id": "resp_x"},
}
RETRIEVALS = {"resp_get": "/v1/responses/foo"}
OTHERS: dict[str, tuple[str, Any]] = {
    "tok_bad": ("/tokenize", {"model": "m1"}),
    "tok_model": ("/tokenize", {"prompt": "a", "model": "zz"}),
    "detok_bad": ("/detokenize", {"tokens": [-1]}),
    "scale": ("/scale_elastic_ep", {}),
    "inv": ("/invocations", {"text": "x"}),
    "decisions": ("/v1/decisions", {"input": "x", "questions": []}),
    "systemone": ("/v1/systemone", {"state": "x", "questions": {}}),
}
PLAIN: dict[str, Any] = {
    "tools_auto": {"messages": HI, "tools": [TOOL]},
    "tools_req": {"messages": HI, "tools": [TOOL], "tool_choice": "required"},
    "image": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
}
"""What a vLLM without flags for it refuses, and this server does unless it is told not to."""
VOCABULARY: dict[str, tuple[str, Any]] = {
    "lbias": ("/v1/chat/completions", {"messages": HI, "logit_bias": {str(2**33): 1}}),
    "oov": ("/v1/completions", {"prompt": [2**33]}),
}
"""What depends on the vocabulary, whose size the messages tell."""
ELSEWHERE = {"dprank", "gen403", "ctype", "noctype", "method", "nf", "models_del", "emb404"}
"""Recordings that a test of their own looks at, here, in tests.web.test_scaleout and test_disaggregation."""


def recordings() -> dict[str, tuple[int, bytes]]:
    """Read the recorded errors: name, status and body."""
    lines = FOLDER.joinpath("errors.txt").read_text("utf-8").splitlines()
    return {name: (int(status), body.encode()) for name, status, body in (line.split(" ", 2) for line in lines)}


class ErrorMatrixTests(RankTestCase):
    """Requests that vLLM refuses are refused in its words."""

    def setUp(self) -> None:
        """Serve the recorded model's names and context."""
        self.make_rank("--model", "/models/m1", "--served-model-name", "m1", "m2", "--max-model-len", "256")
        self.recorded = recordings()

    def check(self, name: str, path: str, body: Any) -> None:
        """Send a request and compare the answer, byte for byte."""
        exchange = self.post(path, body)
        self.assertEqual(self.recorded[name], (exchange.status, exchange.body), name)
        self.assertEqual("application/json", exchange.headers["content-type"])

    def test_chat(self) -> None:
        """Chat completion requests."""
        for name, body in CHAT.items():
            self.check(name, "/v1/chat/completions", body)

    def test_completions(self) -> None:
        """Completion requests."""
        for name, body in COMPLETIONS.items():
            self.check(name, "/v1/completions", body)

    def test_messages(self) -> None:
        """Messages requests: the form of a body is refused as on every route, all else as Anthropic does."""
        for name, body in MESSAGES.items():
            self.check(name, "/v1/messages", body)

    def test_responses(self) -> None:
        """Responses requests, on a server that stores nothing."""
        for name, body in RESPONSES.items():
            self.check(name, "/v1/responses", body)
        for name, path in RETRIEVALS.items():
            exchange = self.get(path)
            self.assertEqual(self.recorded[name], (exchange.status, exchange.body), name)

    def test_token_routes(self) -> None:
        """Requests to other routes."""
        for name, (path, body) in OTHERS.items():
            self.check(name, path, body)

    def test_rank(self) -> None:
        """A request for a rank that is none is refused; what is no number counts for nothing, as in vLLM."""
        for path in ("/v1/chat/completions", "/v1/completions"):
            body = {"messages": HI, "prompt": "a"}
            exchange = self.post(path, body, X_data_parallel_rank="5")
            self.assertEqual(self.recorded["dprank"], (exchange.status, exchange.body))
            for rank in ("-1", "1", "9" * 4000):
                refused = self.post(path, body, X_data_parallel_rank=rank)
                self.assertEqual(400, refused.status, rank)
                self.assertIn(f"data_parallel_rank {rank} is out of range [0, 1).", refused.json()["error"]["message"])
            for rank in ("0", "x", "", "1e0", "\xb2", "9" * 5000):
                self.assertEqual(200, self.post(path, body, X_data_parallel_rank=rank).status, rank)

    def test_vocabulary(self) -> None:
        """Token ids that are none."""
        for name, (path, body) in VOCABULARY.items():
            exchange = self.post(path, body)
            said = exchange.body.replace(str(2**33).encode(), b"999999").replace(str(2**32).encode(), b"378")
            self.assertEqual(self.recorded[name], (exchange.status, said))

    def test_content_type(self) -> None:
        """A body that does not say that it is JSON is refused."""
        for name, headers in (("ctype", {"Content_Type": "text/plain"}), ("noctype", {})):
            exchange = self.connect().send("POST", "/v1/chat/completions", b"{}", **headers)
            self.assertEqual(self.recorded[name], (exchange.status, exchange.body))

    def test_routes(self) -> None:
        """An unknown path and a wrong method are answered in the server's shape, not the API's."""
        for name, method, path in (
            ("nf", "GET", "/nope"),
            ("method", "GET", "/v1/chat/completions"),
            ("models_del", "DELETE", "/v1/models"),
        ):
            exchange = self.connect().send(method, path)
            self.assertEqual(self.recorded[name], (exchange.status, exchange.body))

    def test_no_pooling(self) -> None:
        """A server that only generates has no embeddings."""
        self.make_rank("--runner", "generate")
        self.check("emb404", "/v1/embeddings", {"input": "a"})

    def test_the_order_of_checks(self) -> None:
        """An unknown model comes before a value out of range, and after a wrong type."""
        self.assertEqual(404, self.chat(model="zzz", temperature=3).status)
        self.assertEqual(400, self.chat(model="zzz", temperature="hot").status)

    def test_still_serving(self) -> None:
        """After all of it the next request is served."""
        for body in [*CHAT.values(), b"\xff\xfe", b"{" * 100_000, b'{"messages":' + b"[" * 100_000]:
            self.assertGreaterEqual(self.post("/v1/chat/completions", body).status, 400)
        self.assertEqual(200, self.chat().status)


class PlainServerTests(RankTestCase):
    """A server that is started as vLLM is by default refuses what that does."""

    def test_a_plain_vllm(self) -> None:
        """Tools without a parser, and images for a text model."""
        words = ("--tool-call-parser", "", "--no-enable-auto-tool-choice", "--language-model-only")
        self.make_rank("--model", "/models/m1", "--served-model-name", "m1", "m2", *words)
        for name, body in PLAIN.items():
            exchange = self.post("/v1/chat/completions", body)
            self.assertEqual(recordings()[name], (exchange.status, exchange.body), name)


class AnthropicTests(SynchronousTestCase):
    """Errors in Anthropic's shape."""

    def test_types(self) -> None:
        """The type follows the status; the client's other faults are one type, and ours another."""
        for status, kind in (
            (400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
            (404, "not_found_error"), (413, "request_too_large"), (418, "invalid_request_error"),
            (429, "rate_limit_error"), (500, "api_error"), (501, "api_error"), (503, "overloaded_error"),
        ):  # fmt: skip
            error = InferenceError("No.", "field")
            error.status = status
            expected = {"type": "error", "error": {"type": kind, "message": "No."}}
            self.assertEqual(expected, json.loads(anthropic_error_body(error)))

    def test_forms(self) -> None:
        """Errors of a body's form have the OpenAI shape there too."""
        error = MalformedRequest("No.", "body.x")
        self.assertEqual(error_body(error), anthropic_error_body(error))


class CoverageTests(SynchronousTestCase):
    """No recording is forgotten."""

    def test_all_are_used(self) -> None:
        """Every recorded error is in a table here, or named as one of another test."""
        bodies = (CHAT, COMPLETIONS, MESSAGES, RESPONSES, OTHERS, PLAIN, VOCABULARY)
        self.assertEqual(set(recordings()), ELSEWHERE.union(*bodies, RETRIEVALS))

    def test_bodies_are_json(self) -> None:
        """Every recorded error is JSON."""
        for _, body in recordings().values():
            json.loads(body)
