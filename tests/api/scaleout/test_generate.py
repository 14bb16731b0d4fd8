"""Generate requests and their answers, byte for byte."""

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import EOS, HEAD, answer, prompt, recorded, settings, written
from tests.fakes import prefilled
from vllmsim.api.body import Head
from vllmsim.api.dialect import StreamEncoder
from vllmsim.api.scaleout.answer import spoken
from vllmsim.api.scaleout.generate import GenerateDialect
from vllmsim.errors import InferenceError, InvalidRequest, MalformedRequest, PromptTooLong, Unavailable, UnknownModel
from vllmsim.inference import Answer, InferenceRequest, Part, Span, TokenPrompt
from vllmsim.structure import JsonOutput

FIVE = [1, 2, 3, 4, 5]
TWO = Answer([227, 298], [" ", "?"], [" ", "?"], "length")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALLING = Answer(
    [10, 71, 11, 20, 21, 72, 22],
    ["<think>", "a", "</think>", "<tool_call>", "f", "{}", "</tool_call>"],
    ["", "a", "", "", "", "{}", ""],
    "stop",
    parts=(Part("reasoning", 0, 1, 1, 2, 3), Part("call", 3, 4, 5, 6, 7, "f")),
)
"""Reasoning and a call, as the composer makes them."""


def dialect(**more: Any) -> GenerateDialect:
    """Make the recorded server's dialect."""
    return GenerateDialect(settings(**more), 256)


def body(sampling: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Make a request."""
    return {"token_ids": FIVE, "sampling_params": sampling or {}, **fields}


def normal(data: bytes) -> bytes:
    """Take out what differs from answer to answer."""
    data = re.sub(rb"generate-tokens-[0-9a-f]{16}", b"ID", data)
    data = re.sub(rb'"created":\d+', b'"created":0', data)
    return re.sub(rb'"logprob":-[\d.]+', b'"logprob":0', data)


def events(stream: bytes) -> list[Any]:
    """Read the events of a stream, without its end."""
    return [json.loads(part[6:]) for part in stream.decode().split("\n\n")[:-2]]


class RecordingTests(SynchronousTestCase):
    """What vLLM sent."""

    def test_whole(self) -> None:
        """A whole answer has vLLM's bytes; token ids stand for themselves in log probabilities too."""
        sent = written(
            dialect(prompt_tokens_details=True, block_size=1),
            body({"max_tokens": 2, "logprobs": 1}),
            [prompt(FIVE)],
            [TWO],
        )
        self.assertEqual(normal(recorded("gen")), normal(sent))

    def test_stream(self) -> None:
        """A stream has vLLM's bytes."""
        asked = body({"max_tokens": 2}, stream=True, stream_options={"include_usage": True})
        sent = written(dialect(prompt_tokens_details=True, block_size=1), asked, [prompt(FIVE)], [TWO])
        self.assertEqual(normal(recorded("genstream")).rstrip(), normal(sent).rstrip())


class WholeTests(SynchronousTestCase):
    """What requests change in whole answers."""

    def whole(self, asked: dict[str, Any], *answers: Answer, **more: Any) -> Any:
        """Write a whole answer."""
        return json.loads(written(dialect(**more), asked, [prompt(FIVE)], list(answers or (TWO,))))

    def test_choices(self) -> None:
        """There is a choice for each of n, and the prompt is counted once."""
        sent = self.whole(body({"n": 2}), TWO, answer(71, EOS))
        self.assertEqual([(0, [227, 298]), (1, [71, EOS])], [(c["index"], c["token_ids"]) for c in sent["choices"]])
        self.assertEqual((5, 4), (sent["usage"]["prompt_tokens"], sent["usage"]["completion_tokens"]))

    def test_alternatives(self) -> None:
        """Alternatives are listed by rank, the token itself first; none are, if none are asked for."""
        for count, ranks in ((3, [1, 2, 3]), (0, [])):
            entry = self.whole(body({"logprobs": count}))["choices"][0]["logprobs"]["content"][0]
            self.assertEqual(ranks, [each["rank"] for each in entry["top_logprobs"]])
            self.assertEqual(1, entry["rank"])

    def test_prompt(self) -> None:
        """The prompt's ids, places and probabilities are told on request."""
        features = {"mm_hashes": {"image": ["h"]}, "mm_placeholders": {"image": [{"offset": 1, "length": 2}]}}
        sent = self.whole(body({"prompt_logprobs": 0}, return_token_ids=True, features=features))
        self.assertEqual((FIVE, features["mm_placeholders"]), (sent["prompt_token_ids"], sent["mm_placeholders"]))
        self.assertEqual([None, ["2"]], [each and list(each) for each in sent["prompt_logprobs"][:2]])
        sent = self.whole(body(features=features))
        self.assertEqual((None, None), (sent["prompt_token_ids"], sent["mm_placeholders"]))

    def test_text(self) -> None:
        """With text, each choice has it, and log probabilities show tokens as texts; a stop text is cut off."""
        stopped = answer(71, 72, 227, 73, stop="c", pieces=["a", "b", " ", ""])
        choice = self.whole(body({"logprobs": 0}, output_mode="text"), stopped)["choices"][0]
        self.assertEqual(("ab ", "c", [71, 72, 227, 73]), (choice["text"], choice["stop_reason"], choice["token_ids"]))
        self.assertEqual(["a", "b", " ", "c"], [each["token"] for each in choice["logprobs"]["content"]])
        self.assertEqual(["text", "logprobs"], list(choice)[-2:])

    def test_text_as_the_model_says_it(self) -> None:
        """Tags and names of tools are part of the text; the token that ends it all is not."""
        self.assertEqual("<think>a</think><tool_call>f{}</tool_call>", "".join(spoken(CALLING)))
        ended = Answer([71, EOS], ["a", "E"], ["a", ""], "stop", parts=(Part("text", 0, 0, 0, 1, 2),))
        self.assertEqual("a", "".join(spoken(ended)))
        self.assertEqual(["a", ""], list(spoken(answer(71, EOS))))

    def test_message(self) -> None:
        """With derender, each choice has the message of a chat completion."""
        asked = body(output_mode="derender", parse_context={"tools": [TOOL]})
        choice = self.whole(asked, CALLING, reasons=True)["choices"][0]
        message = choice["message"]
        self.assertEqual(("a", None, "tool_calls"), (message["reasoning"], message["content"], choice["finish_reason"]))
        self.assertEqual({"name": "f", "arguments": "{}"}, message["tool_calls"][0]["function"])
        hidden = body(output_mode="derender", parse_context={"include_reasoning": False})
        self.assertIsNone(self.whole(hidden, CALLING, reasons=True)["choices"][0]["message"]["reasoning"])

    def test_handover(self) -> None:
        """A prefill server says where the blocks are; the request's own word counts before the engine's."""
        decode = {"do_remote_decode": True}
        for asked in (body(kv_transfer_params=decode), body({"extra_args": {"kv_transfer_params": decode}})):
            self.assertTrue(self.whole(asked)["kv_transfer_params"]["do_remote_prefill"])
        asked = body({"extra_args": {"kv_transfer_params": decode}}, kv_transfer_params={"do_remote_decode": False})
        self.assertIsNone(self.whole(asked)["kv_transfer_params"])
        for wrong in ("x", {"do_remote_decode": 7}, {"remote_num_tokens": -1}):
            with self.assertRaises(MalformedRequest) as caught:
                self.whole(body({"extra_args": {"kv_transfer_params": wrong}}))
            self.assertIn("body.sampling_params.extra_args.kv_transfer_params", caught.exception.message)

    def test_encoder(self) -> None:
        """An encoder says where the encoding of each of the media is; others do not."""
        asked = body(features={"mm_hashes": {"image": ["a", "b"], "audio": ["c"]}})
        self.assertEqual(["a", "b", "c"], list(self.whole(asked, encoder_only=True)["ec_transfer_params"]))
        self.assertIsNone(self.whole(asked)["ec_transfer_params"])
        self.assertIsNone(self.whole(body(), encoder_only=True)["ec_transfer_params"])


class StreamTests(SynchronousTestCase):
    """What requests and the server's settings change in a stream."""

    def encoder(self, asked: dict[str, Any], **more: Any) -> StreamEncoder:
        """Make the writer of a stream."""
        call = dialect(**more).parse(json.dumps({**asked, "stream": True}).encode(), HEAD)
        assert call.stream_encoder is not None
        encoder = call.stream_encoder()
        self.assertEqual(b"", encoder.opening([prompt(FIVE)], prefilled([prompt(FIVE)])))
        return encoder

    def stream(self, asked: dict[str, Any], *answers: Answer, **more: Any) -> list[Any]:
        """Write a stream and read its events."""
        return events(written(dialect(**more), {**asked, "stream": True}, [prompt(FIVE)], list(answers)))

    def test_runs_are_the_same_as_single_tokens(self) -> None:
        """However many tokens come at once, the bytes of the stream are the same."""
        said = answer(71, 72, 227, 73, 74, EOS)
        for asked in (
            body(),
            body(return_token_ids=True),
            body(output_mode="text"),
            body({"logprobs": 1}),
            body(output_mode="derender"),
            body(stream_options={"include_usage": True, "continuous_usage_stats": True}),
        ):
            streams = set()
            for step in (1, 2, 3, 6):
                encoder = self.encoder(asked)
                runs = [encoder.tokens(0, said, at, min(6, at + step)) for at in range(0, 6, step)]
                streams.add(b"".join([*runs, encoder.closing()]))
            self.assertEqual(1, len(streams), asked)

    def test_choices(self) -> None:
        """Choices take turns; just the first chunk of all tells of the prompt."""
        chunks = self.stream(body({"n": 2}, return_token_ids=True), answer(71, EOS), answer(72, 73, EOS))
        self.assertEqual([0, 1, 0, 1, 1], [chunk["choices"][0]["index"] for chunk in chunks])
        self.assertEqual([FIVE], [chunk["prompt_token_ids"] for chunk in chunks if "prompt_token_ids" in chunk])
        self.assertEqual(
            ["request_id", "usage", "prompt_token_ids", "output_mode", "choices"], list(chunks[0]), "vLLM's order"
        )
        weights = [chunk["choices"][0]["weight_versions"] for chunk in chunks]
        self.assertEqual([None, None, 2, None, 3], [each and each[0]["end"] for each in weights])

    def test_interval(self) -> None:
        """The first token comes alone, the others as many at a time as the server says."""
        chunks = self.stream(body(), answer(71, 72, 73, 74, EOS), stream_interval=3)
        self.assertEqual([[71], [72, 73, 74], [EOS]], [chunk["choices"][0]["token_ids"] for chunk in chunks])

    def test_usage(self) -> None:
        """Usage comes with every chunk, at the end, or not at all; a server that forces it does not force it here."""
        every = body(stream_options={"include_usage": True, "continuous_usage_stats": True})
        for mode in ("tokens", "derender"):
            chunks = self.stream({**every, "output_mode": mode}, answer(71, 72, EOS))
            self.assertEqual([1, 2, 3, 3], [chunk["usage"]["completion_tokens"] for chunk in chunks])
            chunks = self.stream(body(output_mode=mode), answer(71, EOS), force_include_usage=True)
            self.assertEqual([None, None], [chunk["usage"] for chunk in chunks])

    def test_text(self) -> None:
        """Text comes with the tokens that bring it, quotes and all."""
        said = Answer([1, 2, 3], ['"', "\\", "é"], ['"', "\\", "é"], "length")
        self.assertEqual(
            ['"', "\\", "é"], [c["choices"][0]["text"] for c in self.stream(body(output_mode="text"), said)]
        )

    def test_deltas(self) -> None:
        """With derender, chunks have the deltas of a chat completion, and every token id is in one of them."""
        asked = body(output_mode="derender", parse_context={"tools": [TOOL]})
        choices = [chunk["choices"][0] for chunk in self.stream(asked, CALLING, reasons=True)]
        self.assertEqual(list(CALLING.ids), [token for choice in choices for token in choice["token_ids"]])
        self.assertEqual({"role": "assistant"}, choices[0]["delta"])
        self.assertEqual({"reasoning": "a"}, choices[1]["delta"])
        named, argued = choices[4]["delta"], choices[5]["delta"]
        self.assertEqual("f", named["tool_calls"][0]["function"]["name"])
        self.assertEqual("{}", argued["tool_calls"][0]["function"]["arguments"])
        self.assertEqual(("tool_calls", {}), (choices[-1]["finish_reason"], choices[-1]["delta"]))

    def test_names_like_frames(self) -> None:
        """A request id that looks like a piece of a chunk changes nothing."""
        strange = 'x"token_ids":[0],"\ue000text\ue000"'
        for mode in ("tokens", "text"):
            chunks = self.stream(body(request_id=strange, output_mode=mode), answer(71, 72, 73, EOS))
            self.assertEqual([[71], [72], [73], [EOS]], [chunk["choices"][0]["token_ids"] for chunk in chunks])
            self.assertEqual({f"generate-tokens-{strange}"}, {chunk["request_id"] for chunk in chunks})

    def test_nothing_said(self) -> None:
        """A choice that ends without a token has a chunk that says so."""
        nothing = Answer((), (), (), "stop")
        for asked in (body(), body({"logprobs": 0}), body(output_mode="text")):
            [chunk] = events(self.encoder(asked).tokens(0, nothing, 0, 0) + b"data: [DONE]\n\n")
            choice = chunk["choices"][0]
            self.assertEqual(
                ([], "stop", []), (choice["token_ids"], choice["finish_reason"], choice["weight_versions"])
            )

    def test_failure(self) -> None:
        """An error ends the stream."""
        sent = self.encoder(body()).failure(Unavailable("gone"))
        self.assertTrue(sent.endswith(b"\n\ndata: [DONE]\n\n"))
        self.assertIn(b'"gone"', sent)


class ParseTests(SynchronousTestCase):
    """What a request becomes."""

    def parse(self, asked: dict[str, Any], head: Head = HEAD, **more: Any) -> InferenceRequest:
        """Read a request."""
        return dialect(**more).parse(json.dumps(asked).encode(), head).request

    def refused(self, kind: type[InferenceError], asked: dict[str, Any], text: str) -> None:
        """Read a request that is refused."""
        error = self.assertRaises(kind, self.parse, asked)
        self.assertIn(text, error.message)

    def test_request(self) -> None:
        """Token ids and the engine's parameters are what is asked for; without a limit the context is the limit."""
        sampling = {"n": 2, "temperature": 0.5, "stop": ["x"], "stop_token_ids": [7], "min_tokens": 1, "seed": 3}
        read = self.parse(body(sampling | {"logit_bias": {"5": 1}, "ignore_eos": True}))
        self.assertEqual((TokenPrompt(tuple(FIVE)),), read.prompts)
        given = read.sampling
        self.assertEqual((2, 0.5, ("x",), (7,), 1, 3, (5,), True, None),
                         (given.n, given.temperature, given.stop, given.stop_token_ids, given.min_tokens, given.seed,
                          given.logit_bias, given.ignore_eos, given.max_tokens))  # fmt: skip
        self.assertEqual(4, self.parse(body({"max_tokens": 4})).sampling.max_tokens)
        self.assertEqual(1, self.parse(body(), encoder_only=True).sampling.max_tokens)

    def test_names(self) -> None:
        """The header's id comes before the body's; an unknown model is refused."""
        self.assertEqual("b", self.parse(body(request_id="b")).request_id)
        read = self.parse(body(request_id="b"), Head("application/json", "h"))
        self.assertEqual(("h", True, "m1"), (read.request_id, read.named_by_client, read.model))
        self.assertRaises(UnknownModel, self.parse, body(model="zzz"))

    def test_media(self) -> None:
        """Tokens stand for the media that have both a hash and a place."""
        places = {"audio": [{"offset": 4, "length": 1}], "image": [{"offset": 0, "length": 2}], "x": []}
        features = {"mm_hashes": {"image": ["a", "b"], "audio": ["c"], "video": ["d"]}, "mm_placeholders": places}
        [prompt] = self.parse(body(features=features)).prompts
        self.assertEqual(TokenPrompt(tuple(FIVE), (Span("c", 4, 1, "audio"), Span("a", 0, 2, "image"))), prompt)
        [prompt] = self.parse(body(features={"mm_hashes": {"image": ["a"]}})).prompts
        self.assertEqual(TokenPrompt(tuple(FIVE)), prompt)

    def test_remote_prefill(self) -> None:
        """A decode server learns that the prompt was computed elsewhere."""
        self.assertTrue(self.parse(body(kv_transfer_params={"do_remote_prefill": True})).remote_prefill)
        self.assertFalse(self.parse(body()).remote_prefill)

    def test_form(self) -> None:
        """What rendered requests know of tools and reasoning holds for the answer."""
        context: dict[str, Any] = {"tools": [TOOL], "tool_choice": "required"}
        form = self.parse(body(parse_context=context), reasons=True).form
        assert form.tools is not None
        self.assertEqual(("f", 1, True), (form.tools.tools[0].name, form.tools.least, form.thinks))
        ended = body(parse_context=context, reasoning_ended=True)
        silent = body(parse_context={"chat_template_kwargs": {"enable_thinking": False}})
        for asked in (ended, silent):
            self.assertFalse(self.parse(asked, reasons=True).form.thinks)
        effort = {"chat_template_kwargs": {"reasoning_effort": "none"}}
        self.assertFalse(self.parse(body(parse_context=effort), reasons=True).form.thinks)
        self.assertFalse(self.parse(body(), reasons=True).form.thinks)
        answered = context | {"tool_choice": "auto", "history_tool_call_cnt": 1}
        self.assertIsNone(self.parse(body(parse_context=answered)).form.tools)
        self.assertIsNone(self.parse(body(parse_context=context), encoder_only=True).form.tools)
        budget = self.parse(body({"thinking_token_budget": -3}, parse_context={}), reasons=True).form
        self.assertEqual(0, budget.thinking_budget)

    def test_structure(self) -> None:
        """Structured outputs are among the engine's parameters."""
        constrained = body({"structured_outputs": {"json": {"type": "object"}}})
        for asked in (constrained, {**constrained, "parse_context": {}}):
            output = self.parse(asked).form.output
            assert isinstance(output, JsonOutput)
            self.assertEqual({"type": "object"}, output.schema)

    def test_malformed(self) -> None:
        """What is missing, or wrong in type or together, is named."""
        for asked, text in (
            ({}, "2 validation errors:\n  {'type': 'missing', 'loc': 'body.token_ids'"),
            ({"token_ids": [1]}, "'loc': 'body.sampling_params'"),
            (body() | {"token_ids": []}, "'too_short'"),
            (body() | {"token_ids": [1, -1]}, "token_ids must not contain negative values"),
            (body() | {"token_ids": "x"}, "'loc': 'body.token_ids'"),
            (body({"temperature": "hot"}), "'loc': 'body.sampling_params.temperature'"),
            (body(output_mode="x"), "Input should be 'tokens', 'text' or 'derender'"),
            (body({"detokenize": False}, output_mode="text"), "requires sampling_params.detokenize to be true"),
            (body(features={"mm_hashes": {}}, content_parts=[{}]), "mutually exclusive"),
            (body(priority=2**63), "'less_than_equal'"),
            (body(features={"mm_hashes": {str(kind): [] for kind in range(17)}}), "at most 16 kinds of media"),
            (body(features={"mm_hashes": {"image": ["h"] * 4097}}), "'too_long'"),
            (
                body(features={"mm_hashes": {}, "mm_placeholders": {"image": [{"offset": 4, "length": 2}]}}),
                "must remain within the token_ids sequence",
            ),
            (
                body(
                    features={
                        "mm_hashes": {},
                        "mm_placeholders": {
                            "image": [{"offset": 2, "length": 2}],
                            "audio": [{"offset": 0, "length": 3}],
                        },
                    }
                ),
                "must not overlap",
            ),
            (body(features={"mm_hashes": {"image": ["a" * 257]}}), "at most 256 characters"),
        ):
            self.refused(MalformedRequest, asked, text)

    def test_impossible(self) -> None:
        """Values that cannot be served are refused in vLLM's words."""
        for asked, text in (
            (body(cache_salt="a@b"), "cache_salt"),
            (body({"logprobs": -2}), "must be a positive value or -1"),
            (body({"prompt_logprobs": -2}), "must be a positive value or -1"),
            (body({"structured_outputs": {"regex": "a", "choice": ["a"]}}), "only use one kind"),
            (body({"detokenize": False, "stop": ["x"]}), "detokenize"),
        ):
            self.refused(InvalidRequest, asked, text)

    def test_too_long(self) -> None:
        """A prompt beyond the context is refused, whatever else is wrong; an unknown model comes first."""
        for length, text in ((257, "at least 257 input tokens"), (300, "contains 300 input tokens")):
            self.refused(PromptTooLong, {"token_ids": ["x"] * length}, text)
        self.assertRaises(UnknownModel, self.parse, {"token_ids": [1] * 300, "model": "zzz"})
        self.refused(PromptTooLong, {"token_ids": [1] * 300, "model": 7}, "300")
