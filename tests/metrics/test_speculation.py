"""Guessed tokens in numbers."""

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.metrics.reading import read
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.families import RankMetrics
from vllmsim.metrics.speculation import SpeculationMetrics
from vllmsim.metrics.statslog import Drafts
from vllmsim.speculation import Speculation

NAMES = ("num_drafts", "num_draft_tokens", "num_accepted_tokens", "num_accepted_tokens_per_pos")


class SpeculationMetricsTests(SynchronousTestCase):
    """What is counted, and what is shown of it."""

    def setUp(self) -> None:
        """Have a server that guesses three tokens at a time."""
        self.metrics = SpeculationMetrics(3)
        self.families = Families({"engine": "0", "model_name": "m"})
        self.metrics.show(self.families)

    def value(self, name: str, **labels: str) -> float:
        """Read one sample."""
        labels = {"engine": "0", "model_name": "m", **labels}
        return read(self.families)[f"vllm:spec_decode_{name}_total", frozenset(labels.items())]

    def accepted(self) -> list[float]:
        """Read how many tokens were accepted at each position."""
        return [self.value("num_accepted_tokens_per_pos", position=str(position)) for position in range(3)]

    def test_names(self) -> None:
        """The counters are vLLM's, with one series for each position, all there before the first draft."""
        self.assertEqual([f"vllm:spec_decode_{name}" for name in NAMES], [each.name for each in self.families])
        self.assertEqual([0, 0, 0], [self.value(name) for name in NAMES[:3]])
        self.assertEqual([0, 0, 0], self.accepted())
        self.assertEqual(6, len(read(self.families)))

    def test_counts(self) -> None:
        """A draft counts with what was verified of it, and what was right counts at its positions."""
        for drafted, accepted in ((3, 3), (3, 0), (3, 1), (2, 2), (1, 0)):
            self.metrics.verified(drafted, accepted)
        self.assertEqual([5, 12, 6], [self.value(name) for name in NAMES[:3]])
        self.assertEqual([3, 2, 1], self.accepted())
        self.assertEqual(Drafts(5, 12, (3, 2, 1)), self.metrics.told())

    def test_mean_length(self) -> None:
        """The formulas of vLLM's documents find the mean acceptance length again, and the share of each position."""
        speculation, generator = Speculation((0.8, 0.55, 0.42)), Random(1)
        for _ in range(20_000):
            self.metrics.verified(3, speculation.accepted(3, generator))
        drafts = self.value("num_drafts")
        self.assertApproximates(speculation.mean_length, 1 + self.value("num_accepted_tokens") / drafts, 0.03)
        for rate, accepted in zip(speculation.rates, self.accepted(), strict=True):
            self.assertApproximates(rate, accepted / drafts, 0.02)

    def test_rank(self) -> None:
        """They come before all others, as in vLLM; a server that guesses nothing has none."""
        speculating = RankMetrics("0", "m", 256, {}, 1.0, drafted=2)
        plain = RankMetrics("0", "m", 256, {}, 1.0)
        speculating.draft_verified(2, 1)
        names = [each.name for each in speculating.families]
        self.assertEqual([f"vllm:spec_decode_{name}" for name in NAMES], names[:4])
        self.assertEqual(names[4:], [each.name for each in plain.families])
        self.assertEqual(Drafts(1, 2, (1, 0)), speculating.figures().drafts)
        self.assertIsNone(plain.figures().drafts)
