"""Speculative decoding, configured."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.loading import ConfigurationError
from vllmsim.config.speculation import METHODS, USUAL_RATE, read_speculation
from vllmsim.speculation import Speculation

NGRAM: dict[str, Any] = {"method": "ngram", "num_speculative_tokens": 3}
SYNTHETIC: dict[str, Any] = {**NGRAM, "rejection_sample_method": "synthetic"}


def read(members: dict[str, Any], *, transfers: bool = False, ranks: int = 1) -> Speculation:
    """Read members that guess tokens."""
    speculation = read_speculation(members, {}, transfers=transfers, ranks=ranks)
    assert speculation is not None
    return speculation


class SpeculationTests(SynchronousTestCase):
    """What ``speculative-config`` says."""

    def assert_refused(self, fault: str, members: dict[str, Any]) -> None:
        """Have members refused."""
        error = self.assertRaises(ValueError, read, members)
        self.assertIn(fault, str(error), members)

    def test_nothing(self) -> None:
        """A server without it guesses nothing."""
        for members in (None, {}, {"method": None}):
            self.assertIsNone(read_speculation(members, {"method": None}, transfers=False, ranks=1))

    def test_rate(self) -> None:
        """A rate is that of each token behind accepted ones; a list says by position how many are accepted in all."""
        usual = tuple(USUAL_RATE**position for position in (1, 2, 3))
        self.assertEqual(usual, read(NGRAM).rates)
        self.assertEqual((0.5, 0.25, 0.125), read({**NGRAM, "acceptance_rate": 0.5}).rates)
        self.assertEqual((0.9, 0.9, 0.0), read({**NGRAM, "acceptance_rate": [0.9, 0.9, 0]}).rates)

    def test_synthetic(self) -> None:
        """What vLLM calls synthetic means here what it means there: rates by position, or a mean acceptance length."""
        rates = {**SYNTHETIC, "synthetic_acceptance_rates": [0.802, 0.551, 0.415]}
        self.assertEqual((0.802, 0.551, 0.415), read(rates).rates)
        for length, expected in ((1, (0, 0, 0)), (2.5, (1, 0.5, 0)), (4, (1, 1, 1))):
            self.assertEqual(expected, read({**SYNTHETIC, "synthetic_acceptance_length": length}).rates)

    @given(st.integers(1, 16).flatmap(lambda n: st.tuples(st.just(n), st.floats(1, n + 1))))
    def test_length(self, drawn: tuple[int, float]) -> None:
        """Whatever the mean acceptance length is to be, it is that."""
        tokens, length = drawn
        members = {**SYNTHETIC, "num_speculative_tokens": tokens, "synthetic_acceptance_length": length}
        self.assertAlmostEqual(length, read(members).mean_length)

    def test_methods(self) -> None:
        """What guesses with keys and values of its own needs blocks for them."""
        for method in METHODS:
            speculation = read({"method": method, "model": "m", "num_speculative_tokens": 4})
            own = method in {"eagle", "eagle3", "dspark", "draft_model"} or method.endswith("mtp")
            self.assertEqual(5 if method == "dflash" else 4 * own, speculation.lookahead, method)
            self.assertEqual((4, False), (speculation.tokens, speculation.drops_block))

    def test_dropped(self) -> None:
        """What reads the model's states computes the last block again, if blocks do not go by what is behind them."""
        for method in METHODS:
            members: dict[str, Any] = {"method": method, "model": "m", "num_speculative_tokens": 4}
            hidden = method in {"eagle", "eagle3"} or method.endswith("mtp")
            self.assertEqual(hidden, read(members, transfers=True).drops_block, method)
            members["disable_lookahead_block_hashes"] = True
            self.assertEqual(hidden, read(members).drops_block, method)
            members["disable_eagle_block_drop"] = True
            self.assertFalse(read(members, transfers=True).drops_block)

    def test_slots(self) -> None:
        """Who guesses all tokens at once takes places in the input for them, and so does a model of its own."""
        for method, parallel, slots in (
            ("eagle3", False, 0), ("eagle3", True, 3), ("dflash", True, 0), ("dspark", False, 0), ("mtp", False, 0),
            ("ngram", False, 0), ("draft_model", False, 1), ("draft_model", True, 4),
        ):  # fmt: skip
            members = {"method": method, "model": "m", "num_speculative_tokens": 4, "parallel_drafting": parallel}
            self.assertEqual(slots, read(members).slots, members)

    def test_sizes(self) -> None:
        """How many tokens are guessed may depend on how many sequences a step has; not where ranks go on together."""
        schedule = {**NGRAM, "num_speculative_tokens_per_batch_size": [[9, 16, 1], [1, 4, 5], [33, 64, 0]]}
        speculation = read(schedule)
        told = [speculation.guessed(sequences) for sequences in (1, 4, 5, 8, 9, 16, 20, 32, 33, 64, 1000)]
        self.assertEqual([3, 3, 3, 3, 1, 1, 1, 1, 0, 0, 0], told)
        self.assertEqual([3, 3], [read(each).guessed(50) for each in (NGRAM, {**NGRAM, "model": "m"})])
        self.assertEqual(3, read(schedule, ranks=2).guessed(50))
        name = "num_speculative_tokens_per_batch_size"
        for wrong in ([], [[1, 4]], [[1, 4, -1]], [[1, 4, True]], [[1, "4", 2]], [4], {"1": 2}):
            self.assert_refused(f"{name} must be a list of lists", {**NGRAM, name: wrong})
        for wrong in ([[2, 4, 1]], [[0, 4, 1]], [[1, 4, 1], [4, 8, 1]], [[1, 4, 1], [6, 5, 1]]):
            self.assert_refused(f"{name} must begin with 1", {**NGRAM, name: wrong})

    def test_models(self) -> None:
        """Where no method is named, it follows from the model's name."""
        for model, like in (
            ("ngram", "ngram"), ("[ngram]", "ngram"), ("yuhuili/EAGLE-LLaMA3", "eagle"), ("x/m-Eagle3", "eagle3"),
            ("a/dflash-8b", "dflash"), ("a/dspark-8b", "dspark"), ("my.Guesser", "custom_class"),
            ("a/m-1.5", "draft_model"),
        ):  # fmt: skip
            named = {"method": like, "model": "m", "num_speculative_tokens": 2}
            self.assertEqual(read(named), read({"model": model, "num_speculative_tokens": 2}), model)

    def test_suffix(self) -> None:
        """Suffix decoding alone need not be told how many tokens to guess."""
        self.assertEqual(24, read({"method": "suffix"}).tokens)
        self.assert_refused("needs num_speculative_tokens", {"method": "ngram"})

    def test_wrong(self) -> None:
        """What vLLM refuses is refused, by the member that is wrong."""
        for fault, members in (
            ("num_speculative_tokens must be an integer from 1 to", {**NGRAM, "num_speculative_tokens": 0}),
            ("num_speculative_tokens must be an integer from 1 to", {**NGRAM, "num_speculative_tokens": True}),
            ("method must be one of custom_class, ", {**NGRAM, "method": "guessing"}),
            ("method must be one of custom_class, ", {**NGRAM, "method": ["ngram"]}),
            ("num_spec_tokens is no member of it", {**NGRAM, "num_spec_tokens": 3}),
            ("draft_tensor_parallel_size may be meant", {**NGRAM, "tensor_parallel_size": 1}),
            ("with the method eagle it needs a model", {**NGRAM, "method": "eagle"}),
            ("with the method draft_model it needs a model", {"num_speculative_tokens": 3}),
            ("prompt_lookup_min, which is 4, must not", {**NGRAM, "prompt_lookup_min": 4, "prompt_lookup_max": 3}),
            ("acceptance_rate must be a number from 0 to 1", {**NGRAM, "acceptance_rate": 1.1}),
            ("acceptance_rate must be a number from 0 to 1", {**NGRAM, "acceptance_rate": [0.5, -0.1, 0]}),
            ("acceptance_rate must have 3 numbers", {**NGRAM, "acceptance_rate": [0.5, 0.4]}),
            ("acceptance_rate must not grow", {**NGRAM, "acceptance_rate": [0.5, 0.4, 0.41]}),
            ("needs one of synthetic_acceptance_rates", SYNTHETIC),
            (
                "needs one of synthetic_acceptance_rates",
                {**SYNTHETIC, "synthetic_acceptance_rates": [0, 0, 0], "synthetic_acceptance_length": 1},
            ),
            ("for rejection_sample_method synthetic alone", {**NGRAM, "synthetic_acceptance_length": 2}),
            ("synthetic_acceptance_length must be from 1 to 4", {**SYNTHETIC, "synthetic_acceptance_length": 4.1}),
            ("synthetic_acceptance_length must be a number", {**SYNTHETIC, "synthetic_acceptance_length": "2"}),
            ("synthetic_acceptance_rates must have 3", {**SYNTHETIC, "synthetic_acceptance_rates": []}),
            ("synthetic says the same", {**SYNTHETIC, "synthetic_acceptance_length": 2, "acceptance_rate": 0.5}),
            ("rejection_sample_method must be one of", {**NGRAM, "rejection_sample_method": "strict"}),
        ):
            self.assert_refused(fault, members)

    def test_doubt(self) -> None:
        """A server that does not go in steps says that it guesses nothing."""
        words = ("--spec-method", "ngram", "--spec-tokens", "3")
        [told] = load_words(words, {}).doubts
        self.assertEqual(
            "speculative-config wants tokens guessed ahead, and none are without scheduling-model step.", told
        )
        for more in ((*words, "--scheduling-model", "step", "--step-time-constant", "1ms"), ()):
            self.assertEqual([], load_words(more, {}).doubts)

    def test_all_faults(self) -> None:
        """Everything that is wrong is told at once."""
        self.assert_refused("method must be one of", {"method": "x", "num_speculative_tokens": "3"})
        self.assert_refused("num_speculative_tokens must be", {"method": "x", "num_speculative_tokens": "3"})

    def test_unused(self) -> None:
        """Members of vLLM that say how guesses are made are taken, and change nothing."""
        more = {"prompt_lookup_max": 4, "prompt_lookup_min": 2, "draft_tensor_parallel_size": 1, "quantization": "fp8"}
        self.assertEqual(read(NGRAM), read({**NGRAM, **more}))

    def test_sources(self) -> None:
        """It is given whole, member by member, or by the short flags; never both."""
        whole = ("--speculative-config", '{"method": "ngram", "num_speculative_tokens": 3}')
        parts = ("--speculative-config.method", "ngram", "--speculative-config.num_speculative_tokens=3")
        short = ("--spec-method", "ngram", "--spec-tokens", "3")
        for words in (whole, ("-sc", whole[1]), parts, short, (*parts[:2], *short[2:])):
            self.assertEqual(read(NGRAM), load_words(words, {}).configuration.speculation, words)
        self.assertIsNone(load_words((), {}).configuration.speculation)
        for words, fault in (
            ((*whole, "--spec-tokens", "3"), "it has its own num_speculative_tokens, and there is a flag for it too"),
            (("--spec-model", "a/eagle-1"), "it needs num_speculative_tokens"),
            (("--speculative-config", "ngram"), "it is not JSON"),
        ):
            error = self.assertRaises(ConfigurationError, load_words, words, {})
            self.assertIn(fault, str(error), words)
