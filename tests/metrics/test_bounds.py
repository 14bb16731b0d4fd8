"""The bounds of histograms."""

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.buckets import BUCKET_FAMILIES
from vllmsim.metrics.bounds import Bounds, make_bounds
from vllmsim.metrics.families import RankMetrics

FAMILIES = {
    "request_latency": {
        "e2e_request_latency_seconds", "request_queue_time_seconds", "request_inference_time_seconds",
        "request_prefill_time_seconds", "request_decode_time_seconds",
    },
    "time_to_first_token": {"time_to_first_token_seconds"},
    "inter_token_latency": {
        "inter_token_latency_seconds", "request_time_per_output_token_seconds", "time_per_output_token_seconds",
    },
    "iteration_tokens": {"iteration_tokens_total"},
    "request_params_n": {"request_params_n"},
    "request_tokens": {
        "request_prompt_tokens", "request_generation_tokens", "request_max_num_generation_tokens",
        "request_params_max_tokens", "request_prefill_kv_computed_tokens",
    },
    "kv_cache_residency": {
        "kv_block_lifetime_seconds", "kv_block_idle_before_evict_seconds", "kv_block_reuse_gap_seconds",
    },
}  # fmt: skip


class BoundsTests(SynchronousTestCase):
    """Which bounds histograms have."""

    def test_names(self) -> None:
        """Every family that the option names is one."""
        self.assertEqual(set(BUCKET_FAMILIES), {each.name for each in fields(Bounds)})

    def test_usual(self) -> None:
        """Those of tokens end with the context; all others are constant."""
        self.assertEqual((1, 2, 5, 10, 20, 50, 100, 200), make_bounds(256, {}).request_tokens)
        self.assertEqual((1, 2, 5, 10, 20), make_bounds(256, {}).request_params_n)

    def test_custom(self) -> None:
        """Other bounds take the place of those of all histograms of their family, and of no other."""
        usual = RankMetrics("0", "m", 256, {}, 1.0, block_lives=True).families.write()
        for family, names in FAMILIES.items():
            metrics = RankMetrics("0", "m", 256, {}, 1.0, block_lives=True, buckets={family: (0.125, 3.0)})
            written = metrics.families.write()
            changed = {
                line.partition("_bucket{")[0].removeprefix("vllm:")
                for line in set(written.splitlines()) - set(usual.splitlines())
                if 'le="0.125"' in line
            }
            self.assertEqual(names, changed, family)
