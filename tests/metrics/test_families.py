"""One rank's metrics."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.metrics.reading import read
from vllmsim.config.schema import Configuration
from vllmsim.inference import Prefill, SequenceTimes
from vllmsim.interfaces import IRankMetrics
from vllmsim.metrics.cacheconfig import cache_config_labels
from vllmsim.metrics.families import RankMetrics
from vllmsim.metrics.statslog import Figures

RECORDED = Path(__file__).parents[1] / "golden" / "vllm-0.33" / "metrics.txt"
OLD_NAMES = ("vllm:gpu_cache_usage_perc", "vllm:time_per_output_token_seconds")


class RankMetricsTests(SynchronousTestCase):
    """Names, labels and values."""

    def setUp(self) -> None:
        """Have the recorded server's metrics."""
        cache = cache_config_labels(
            Configuration(kv_cache_size=64, num_gpu_blocks_override=64, max_model_len=256, enable_kvcache=True)
        )
        self.metrics = RankMetrics("0", "m1", 256, cache, 1.0)

    def value(self, name: str, **labels: str) -> float:
        """Read one sample."""
        families = self.metrics.own if name.startswith("vllmsim:") else self.metrics.families
        return read(families)[name, frozenset({"engine": "0", "model_name": "m1", **labels}.items())]

    def test_provides(self) -> None:
        """It hears what happens on a rank."""
        verifyObject(IRankMetrics, self.metrics)

    def test_recording(self) -> None:
        """Types, names, labels and bounds are vLLM's, in its order; the two older names are beside them."""
        text = self.metrics.families.write()
        lines = [re.sub(r" [^ ]+$", "", line) if line[0] != "#" else line for line in text.splitlines()]
        written = [
            line for line in lines if not line.startswith("# HELP") and not any(old in line for old in OLD_NAMES)
        ]
        self.assertEqual(RECORDED.read_text("utf-8").splitlines(), written)

    def test_parsed(self) -> None:
        """Prometheus's own parser reads them, and each series is there once."""
        lines = [line for line in self.metrics.families.write().splitlines() if line[0] != "#"]
        self.assertEqual(len(lines), len(read(self.metrics.families)))
        self.assertGreater(len(lines), 300)

    def test_gauges(self) -> None:
        """Waiting and running follow the sequences, and return to nothing."""
        m = self.metrics
        m.sequence_queued()
        m.sequence_queued()
        m.sequence_queued()
        m.sequence_started()
        self.assertEqual((1, 2), (self.value("vllm:num_requests_running"), self.value("vllm:num_requests_waiting")))
        self.assertEqual(2, self.value("vllm:num_requests_waiting_by_reason", reason="capacity"))
        m.sequence_started()
        m.sequence_unqueued()
        m.sequence_aborted()
        m.sequence_finished("stop", Prefill(1, 0), 1, 1, SequenceTimes(0, 0, 0, 0))
        self.assertEqual((0, 0), (self.value("vllm:num_requests_running"), self.value("vllm:num_requests_waiting")))

    def test_sleep(self) -> None:
        """Of the sleep states one is true, and none at level 0."""
        for level, states in ((None, [1, 0, 0]), (1, [0, 1, 0]), (2, [0, 0, 1]), (0, [0, 0, 0]), (None, [1, 0, 0])):
            self.metrics.sleep_level_changed(level)
            seen = [
                self.value("vllm:engine_sleep_state", sleep_state=state)
                for state in ("awake", "weights_offloaded", "discard_all")
            ]
            self.assertEqual(states, seen)

    def test_rejections(self) -> None:
        """Requests that were not let in are counted by the limit they hit."""
        self.metrics.admission_rejected("max_num_queued_reqs")
        self.metrics.admission_rejected("max_num_queued_reqs")
        for reason, count in (("max_num_queued_reqs", 2), ("max_num_queued_tokens", 0)):
            labels = frozenset({"model_name": "m1", "reason": reason}.items())
            self.assertEqual(count, read(self.metrics.families)["vllm:admission_rejections_total", labels])

    def test_tokens(self) -> None:
        """Tokens are counted as they come, and by iteration."""
        m = self.metrics
        m.prefill_finished(Prefill(10, 4), 0.3)
        m.tokens_emitted(1, None)
        m.iteration_finished()
        m.tokens_emitted(2, 0.03)
        m.iteration_finished()
        expected = {
            "vllm:prompt_tokens_total": 10,
            "vllm:prompt_tokens_cached_total": 4,
            "vllm:generation_tokens_total": 3,
            "vllm:time_to_first_token_seconds_sum": 0.3,
            "vllm:inter_token_latency_seconds_count": 1,
            "vllm:inter_token_latency_seconds_sum": 0.03,
            "vllm:time_per_output_token_seconds_sum": 0.03,
            "vllm:iteration_tokens_total_count": 2,
            "vllm:iteration_tokens_total_sum": 9,
        }
        self.assertEqual(expected, {name: self.value(name) for name in expected})
        sources = [
            self.value("vllm:prompt_tokens_by_source_total", source=s) for s in ("local_compute", "local_cache_hit")
        ]
        self.assertEqual([6, 4], sources)
        self.assertEqual(4, self.value("vllm:prompt_tokens_cached_by_source_total", source="device"))

    def test_finished(self) -> None:
        """A finished sequence is observed with the times between its stages."""
        self.metrics.sequence_finished("length", Prefill(10, 4), 5, 100, SequenceTimes(1.0, 1.5, 2.5, 4.5))
        expected = {
            "e2e_request_latency_seconds": 3.5,
            "request_queue_time_seconds": 0.5,
            "request_prefill_time_seconds": 1.0,
            "request_decode_time_seconds": 2.0,
            "request_inference_time_seconds": 3.0,
            "request_time_per_output_token_seconds": 0.5,
            "request_prompt_tokens": 10,
            "request_generation_tokens": 5,
            "request_params_max_tokens": 100,
            "request_prefill_kv_computed_tokens": 6,
            "request_num_preemptions": 0,
        }
        self.assertEqual(expected, {name: self.value(f"vllm:{name}_sum") for name in expected})
        self.assertEqual(1, self.value("vllm:request_success_total", finished_reason="length"))
        self.metrics.sequence_finished("stop", Prefill(1, 0), 1, 1, SequenceTimes(0, 0, 0, 9))
        self.assertEqual(0.5, self.value("vllm:request_time_per_output_token_seconds_sum"))

    def test_figures(self) -> None:
        """The log is told what has been done, prompts as far as they were computed, and what is going on."""
        m = RankMetrics("0", "m1", 256, {}, 1.0, blocks=True)
        m.sequence_queued()
        m.sequence_queued()
        m.sequence_started()
        m.prefill_finished(Prefill(10, 4), 0.3)
        m.tokens_emitted(3, None)
        m.cache.blocks_counted(used=1, cached=1, usable=4)
        m.cache.prefix_looked_up(10, 4)
        expected = Figures(computed=6, generated=3, running=1, waiting=1, usage=0.25, hits=0.4)
        self.assertEqual(expected, m.figures())
        m.cache.external_looked_up(6, 3)
        m.media_looked_up(4, 1)
        self.assertEqual((0.5, 0.25), (m.figures().external_hits, m.figures().media_hits))

    def test_hash_algorithm(self) -> None:
        """The cache's labels name the algorithm that hashes blocks."""
        labels = cache_config_labels(Configuration(prefix_caching_hash_algo="xxhash_cbor"))
        self.assertEqual("xxhash_cbor", labels["prefix_caching_hash_algo"])

    def test_prompts(self) -> None:
        """A prompt is observed once, whatever the number of its choices."""
        self.metrics.prompt_finished(3, 42)
        sums = [self.value(f"vllm:{n}_sum") for n in ("request_params_n", "request_max_num_generation_tokens")]
        self.assertEqual([3, 42], sums)

    def test_datasets(self) -> None:
        """Lookups are counted by dataset and result, and random answers by their reason, from zero on."""
        cache = cache_config_labels(Configuration())
        self.metrics = m = RankMetrics("0", "m1", 256, cache, 1.0, ("a", "b"))
        m.dataset_asked("a", "hit", None)
        m.dataset_asked("a", "miss", None)
        m.dataset_asked("b", "fallback", "locked")
        m.dataset_asked("b", "fallback", "broken")
        m.dataset_asked("b", "fallback", "broken")
        for dataset, results in (("a", (1, 1, 0)), ("b", (0, 0, 3))):
            for result, expected in zip(("hit", "miss", "fallback"), results, strict=True):
                value = self.value("vllmsim:dataset_lookups_total", dataset=dataset, result=result)
                self.assertEqual(expected, value)
        for reason, expected in (("locked", 1), ("broken", 2), ("empty", 0)):
            self.assertEqual(expected, self.value("vllmsim:dataset_fallbacks_total", dataset="b", reason=reason))
