"""The latency calculators, with the vectors of llm-d-inference-sim's own tests."""

import random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.config.schema import Configuration
from vllmsim.interfaces import ILatencyModel
from vllmsim.latency import LatencyModel
from vllmsim.randomness import clamped_normal


class LatencyTests(SynchronousTestCase):
    """Times by calculator; durations are seconds."""

    def setUp(self) -> None:
        """Have a generator."""
        self.generator = random.Random(1)

    def first(
        self, prompt: int = 1, cached: int = 0, *, remote: bool = False, running: int = 1, **options: Any
    ) -> float:
        """Draw a time to first token."""
        model = LatencyModel(Configuration(**options))
        return model.time_to_first_token(prompt, cached, remote, running, self.generator)

    def gap(self, running: int = 1, **options: float) -> float:
        """Draw a gap between tokens."""
        return LatencyModel(Configuration(**options)).inter_token_latency(running, self.generator)  # type: ignore[arg-type]

    def test_provides(self) -> None:
        """It is a latency model; it is instant when there are no gaps."""
        verifyObject(ILatencyModel, LatencyModel(Configuration()))
        self.assertTrue(LatencyModel(Configuration()).instant)
        self.assertFalse(LatencyModel(Configuration(inter_token_latency=1e-6)).instant)

    def test_default(self) -> None:
        """A time to first token that is set wins; else the prefill counts tokens that are not cached."""
        self.assertEqual(1.0, self.first(time_to_first_token=1.0, prefill_overhead=9.0, prefill_time_per_token=9.0))
        vectors = [
            (0.1, 0.05, 1, 0, 0.15),
            (0.2, 1.0, 512, 256, 256.2),
            (2.0, 3.0, 1024, 128, 2690.0),
            (0.15, 0.2, 20000, 1024, 3795.35),
        ]
        for overhead, per_token, prompt, cached, expected in vectors:
            drawn = self.first(prompt, cached, prefill_overhead=overhead, prefill_time_per_token=per_token)
            self.assertAlmostEqual(expected, drawn)

    def test_default_remote(self) -> None:
        """After a remote prefill the transfer counts, as a constant or for each token, cached or not."""
        both: dict[str, Any] = {"kv_cache_transfer_latency": 0.2, "kv_cache_transfer_time_per_token": 0.1}
        self.assertEqual(0.2, self.first(128, remote=True, time_to_first_token=5.0, **both))
        self.assertAlmostEqual(12.8, self.first(128, 64, remote=True, kv_cache_transfer_time_per_token=0.1))

    def test_constant(self) -> None:
        """The constant calculator looks at no tokens, even where the constant is zero."""
        options: dict[str, Any] = {
            "latency_calculator": "constant",
            "prefill_overhead": 9.0,
            "kv_cache_transfer_time_per_token": 9.0,
        }
        self.assertEqual(0.0, self.first(100, **options))
        self.assertEqual(0.0, self.first(100, remote=True, **options))
        self.assertEqual(0.5, self.first(100, time_to_first_token=0.5, **options))

    def test_per_token(self) -> None:
        """The per-token calculator looks at no constant."""
        options: dict[str, Any] = {
            "latency_calculator": "per-token",
            "time_to_first_token": 9.0,
            "kv_cache_transfer_latency": 9.0,
        }
        self.assertAlmostEqual(0.25, self.first(5, prefill_time_per_token=0.05, **options))
        self.assertAlmostEqual(0.5, self.first(5, remote=True, kv_cache_transfer_time_per_token=0.1, **options))

    def test_nothing_is_rounded(self) -> None:
        """Three microseconds a token are three microseconds a token."""
        self.assertAlmostEqual(3e-5, self.first(10, prefill_time_per_token=3e-6), places=12)

    def test_load(self) -> None:
        """Everything but a transfer takes longer under load: once alone, the factor when all slots are busy."""
        for factor, slots in ((1.5, 70), (2, 2), (100, 150), (20000, 310)):
            options: dict[str, Any] = {"time_factor_under_load": float(factor), "max_num_seqs": slots}
            self.assertAlmostEqual(42.0, self.gap(1, inter_token_latency=42.0, **options))
            self.assertAlmostEqual(42.0 * factor, self.gap(slots, inter_token_latency=42.0, **options))
        options = {"time_factor_under_load": 3.0, "max_num_seqs": 11}
        self.assertAlmostEqual(2.0, self.gap(6, inter_token_latency=1.0, **options))
        self.assertAlmostEqual(3.0, self.first(running=11, time_to_first_token=1.0, **options))
        self.assertAlmostEqual(3.0, self.first(running=11, prefill_overhead=1.0, **options))
        self.assertAlmostEqual(1.0, self.first(running=11, remote=True, kv_cache_transfer_latency=1.0, **options))

    def test_load_of_one_slot(self) -> None:
        """A single slot is never under load."""
        self.assertEqual(42.0, self.gap(1, inter_token_latency=42.0, time_factor_under_load=100.0, max_num_seqs=1))

    def test_jitter(self) -> None:
        """Draws spread as asked, and stay within 0.3 and 1.7 times the mean."""
        draws = [clamped_normal(self.generator, 1.0, 0.3) for _ in range(5000)]
        self.assertApproximates(1.0, sum(draws) / 5000, 0.02)
        for deviation in (0.3, 0.8, 0.9):
            self.assertTrue(all(0.3 <= clamped_normal(self.generator, 1.0, deviation) <= 1.7 for _ in range(1000)))
        self.assertEqual(1.0, clamped_normal(self.generator, 1.0, 0.0))
        gaps = {self.gap(inter_token_latency=0.02, inter_token_latency_std_dev=0.002) for _ in range(10)}
        self.assertEqual(10, len(gaps))
