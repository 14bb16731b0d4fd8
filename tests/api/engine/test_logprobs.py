# -*- test-case-name: tests.api.engine.test_logprobs -*-
"""Tests for :mod:`vllmsim.api.engine.logprobs`."""

import struct
from typing import Any

from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import answer, prompt
from vllmsim.api.engine.logprobs import Given, Probabilities
from vllmsim.api.logprobs import Shower
from vllmsim.inference import Answer

SAID = answer(71, 72, 227, 73, 74)


def single(value: float) -> float:
    """Round a number to one of 32 bits, as messages have it."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def entries(shown: Any) -> list[tuple[int, float]]:
    """Read the ids of tokens and their log probabilities."""
    return list(zip(shown.token_ids, shown.token_logprobs, strict=True))


class OutputTests(SynchronousTestCase):
    """Log probabilities of answers."""

    def test_same_as_over_http(self) -> None:
        """Tokens have the log probabilities and the alternatives that they have over HTTP."""
        for count in (0, 1, 3):
            shown = Probabilities(count).output(SAID, 1, 5)
            assert shown is not None
            expected = Shower(count, as_ids=False).by_id(SAID, 1, 5)["content"]
            self.assertEqual([(each["token_id"], single(each["logprob"])) for each in expected], entries(shown))
            tops = [each["top_logprobs"] for each in expected] if count else []
            self.assertEqual(
                [[(each["token_id"], single(each["logprob"])) for each in top] for top in tops],
                [list(zip(top.token_ids, top.values, strict=True)) for top in shown.top_logprobs],
            )

    def test_nothing(self) -> None:
        """No tokens have no log probabilities."""
        self.assertIsNone(Probabilities(1).output(SAID, 2, 2))

    def test_last_id(self) -> None:
        """The alternatives of the last id that there may be are the first."""
        shown = Probabilities(2).output(Answer([2**32 - 1], ["x"], ["x"], "stop"), 0, 1)
        assert shown is not None
        self.assertEqual([2**32 - 1, 0], list(shown.top_logprobs[0].token_ids))


class AllTests(SynchronousTestCase):
    """Log probabilities of all tokens that there are."""

    def test_nothing_shown(self) -> None:
        """Where all alternatives are asked for, there is a list for each token and nothing in it, as in vLLM."""
        shown, given = Probabilities(-1).output(SAID, 1, 3), Probabilities(-1).input([7, 8])
        assert shown is not None
        self.assertEqual([pb.TopLogProbs()] * 2, list(shown.top_logprobs))
        self.assertEqual(entries(Probabilities(0).output(SAID, 1, 3)), entries(shown))
        self.assertEqual([pb.TopLogProbs()] * 2, list(given.top_logprobs))


class InputTests(SynchronousTestCase):
    """Log probabilities of prompts."""

    def test_same_as_over_http(self) -> None:
        """All tokens but the first have the log probabilities and the alternatives that they have over HTTP."""
        read = prompt([7, 8, 9, 10, 11])
        for count in (0, 2):
            shown = Probabilities(count).input(read.ids)
            self.assertEqual(read.ids, list(shown.token_ids))
            self.assertEqual([False] + [True] * 4, [each.HasField("value") for each in shown.token_logprobs])
            for position, expected in enumerate(Shower(count, as_ids=False).prompt(read)):
                if expected is None:
                    self.assertTrue(not count or not shown.top_logprobs[position].values)
                    continue
                values = [(int(token), single(each["logprob"])) for token, each in expected.items()]
                self.assertEqual(values[0][1], shown.token_logprobs[position].value)
                if count:
                    top = shown.top_logprobs[position]
                    self.assertEqual(values, list(zip(top.token_ids, top.values, strict=True)))
                else:
                    self.assertEqual(0, len(shown.top_logprobs))

    def test_once(self) -> None:
        """They are written once, however often they are told."""
        given = Given(2)
        written = given.write([7, 8])
        self.assertEqual(Probabilities(2).input([7, 8]), pb.InputLogProbs.FromString(written))
        self.assertIs(written, given.write([7, 8]))
