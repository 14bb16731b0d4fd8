# -*- test-case-name: tests.api.engine.test_parameters -*-
"""Tests for :mod:`vllmsim.api.engine.parameters`."""

import math
from typing import Any

from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.engine.parameters import read_cut, read_form, read_sampling
from vllmsim.errors import InvalidParameter, InvalidRequest
from vllmsim.inference import Cut
from vllmsim.sampling import Sampling
from vllmsim.structure import PLAIN, ChoiceOutput, Form, JsonOutput, RegexOutput


def form(*, thinks: bool = False, **constraint: Any) -> Form:
    """Read what an answer must be made of."""
    return read_form(pb.SamplingParams(**constraint), thinks=thinks)


class SamplingTests(SynchronousTestCase):
    """How an answer is to be chosen and where it ends."""

    def test_defaults(self) -> None:
        """What is not said, or is 0 where 0 says nothing, is as in a request over HTTP that says nothing."""
        self.assertEqual(Sampling(), read_sampling(pb.SamplingParams()))
        said = pb.SamplingParams(top_p=0, repetition_penalty=0, n=0, top_k=0, min_tokens=0)
        self.assertEqual(Sampling(), read_sampling(said))

    def test_zeros(self) -> None:
        """What may be there and 0, is 0 then."""
        read = read_sampling(pb.SamplingParams(temperature=0, max_tokens=0, seed=0, logprobs=0, prompt_logprobs=0))
        self.assertEqual(
            (0, 0, 0, 0, 0), (read.temperature, read.max_tokens, read.seed, read.logprobs, read.prompt_logprobs)
        )

    def test_everything(self) -> None:
        """Everything that is said counts."""
        read = read_sampling(
            pb.SamplingParams(
                temperature=0.5, top_p=0.25, top_k=3, min_p=0.125, frequency_penalty=1, presence_penalty=-1,
                repetition_penalty=1.5, max_tokens=9, min_tokens=2, stop=["x"], stop_token_ids=[7], ignore_eos=True,
                n=3, logprobs=-1, prompt_logprobs=4, seed=-5, include_stop_str_in_output=True,
                logit_bias={5: 1.0},
            )
        )  # fmt: skip
        expected = Sampling(
            temperature=0.5, top_p=0.25, top_k=3, min_p=0.125, frequency_penalty=1, presence_penalty=-1,
            repetition_penalty=1.5, max_tokens=9, min_tokens=2, stop=("x",), stop_token_ids=(7,), ignore_eos=True,
            n=3, logprobs=-1, prompt_logprobs=4, seed=-5, include_stop_str_in_output=True, logit_bias=(5,),
        )  # fmt: skip
        self.assertEqual(expected, read)

    def test_refusals(self) -> None:
        """There may be four stop strings, and of alternatives no fewer than none, but for all."""
        for wrong, text in (
            (pb.SamplingParams(stop=["x"] * 5), "stop must have at most 4 strings, got 5."),
            (pb.SamplingParams(logprobs=-2), "`logprobs` must be a positive value or -1."),
            (pb.SamplingParams(prompt_logprobs=-2), "`prompt_logprobs` must be a positive value or -1."),
        ):
            self.assertIn(text, self.assertRaises(InvalidParameter, read_sampling, wrong).message)

    def test_no_numbers(self) -> None:
        """Numbers that are none are refused where ranges are checked."""
        for field in ("temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty"):
            given = pb.SamplingParams()
            setattr(given, field, math.nan)
            self.assertRaises(InvalidRequest, read_sampling(given).check, 10)

    def test_cut(self) -> None:
        """A prompt is shortened where the request says so; -1 is as much as the context holds."""
        self.assertIsNone(read_cut(pb.SamplingParams()))
        for tokens in (-1, 0, 8):
            self.assertEqual(Cut(tokens, "left"), read_cut(pb.SamplingParams(truncate_prompt_tokens=tokens)))
        self.assertRaises(InvalidParameter, read_cut, pb.SamplingParams(truncate_prompt_tokens=-2))


class FormTests(SynchronousTestCase):
    """What an answer must be made of."""

    def test_plain(self) -> None:
        """Nothing, where nothing is said; an object that is not wanted is nothing either."""
        self.assertIs(PLAIN, form())
        self.assertIsNone(form(json_object=False).output)

    def test_constraints(self) -> None:
        """Constraints mean what they mean over HTTP."""
        output = form(json_schema='{"type": "integer"}').output
        assert isinstance(output, JsonOutput)
        self.assertEqual({"type": "integer"}, output.schema)
        self.assertIsInstance(form(json_object=True).output, JsonOutput)
        self.assertEqual(RegexOutput("a+"), form(regex="a+").output)
        self.assertEqual(ChoiceOutput(("x", "y")), form(choice=pb.ChoiceConstraint(choices=["x", "y"])).output)

    def test_refusals(self) -> None:
        """What is no schema, no choice, or not simulated, is refused."""
        for constraint, text in (
            ({"json_schema": "{"}, "The JSON schema is no JSON object."),
            ({"json_schema": '{"type": 7}'}, "parameter=structured_outputs"),
            ({"choice": pb.ChoiceConstraint()}, "choice must have at least one text."),
            ({"grammar": "root ::= x"}, "Grammars are not simulated"),
            ({"structural_tag": "{}"}, "Structural tags are not simulated"),
        ):
            self.assertIn(text, self.assertRaises(InvalidParameter, form, **constraint).message)

    def test_reasoning(self) -> None:
        """Reasoning may come first, unless the first token is to be of the structure."""
        self.assertEqual((True, None), (form(thinks=True).thinks, form(thinks=True).output))
        self.assertTrue(form(thinks=True, regex="a").thinks)
        self.assertFalse(form(thinks=True, regex="a", grammar_from_first_token=True).thinks)
