# -*- test-case-name: tests.metrics.test_families -*-
"""What is observed of sequences: how long they are, and how long they take."""

from collections.abc import Sequence

from vllmsim.inference import Prefill, SequenceTimes
from vllmsim.metrics import series
from vllmsim.metrics.bounds import Bounds
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.series import Histogram


class SequenceMetrics:
    """Histograms of sequences, in vLLM's order.

    :param f: where they go.
    """

    def __init__(self, f: Families, bounds: Bounds) -> None:
        def show(name: str, text: str, bounds: Sequence[float]) -> Histogram:
            return f.show(f"vllm:{name}", text, Histogram(bounds))

        tokens, gap, latency = bounds.request_tokens, bounds.inter_token_latency, bounds.request_latency
        self._prompt_lengths = show("request_prompt_tokens", "Prompt tokens per sequence.", tokens)
        self._lengths = show("request_generation_tokens", "Generated tokens per sequence.", tokens)
        self.iterations = show("iteration_tokens_total", "Tokens per engine step.", bounds.iteration_tokens)
        longest = "Generated tokens of each prompt's longest choice."
        self.longest = show("request_max_num_generation_tokens", longest, tokens)
        self.choices = show("request_params_n", "Choices asked for per prompt.", bounds.request_params_n)
        self._limits = show("request_params_max_tokens", "Token limit per sequence.", tokens)
        first = "Seconds from arrival to the first token."
        self.first_tokens = show("time_to_first_token_seconds", first, bounds.time_to_first_token)
        self.gaps = show("inter_token_latency_seconds", "Seconds between one output and the next.", gap)
        f.show("vllm:time_per_output_token_seconds", "The same, under its older name.", self.gaps)
        mean = "Mean seconds per token after the first."
        self._mean_gaps = show("request_time_per_output_token_seconds", mean, gap)
        self._whole = show("e2e_request_latency_seconds", "Seconds from arrival to the last token.", latency)
        self._queued = show("request_queue_time_seconds", "Seconds waiting for a slot.", latency)
        self._inference = show("request_inference_time_seconds", "Seconds in a slot.", latency)
        self._prefill = show("request_prefill_time_seconds", "Seconds in a slot before the first token.", latency)
        self._decode = show("request_decode_time_seconds", "Seconds from the first token to the last.", latency)
        lost = "How often each sequence lost its slot."
        self._preemptions = show("request_num_preemptions", lost, series.PREEMPTION_BUCKETS)
        uncached = "Prompt tokens that were not cached, per sequence."
        self._uncached = show("request_prefill_kv_computed_tokens", uncached, tokens)

    def finished(
        self, prefill: Prefill, generated_tokens: int, max_tokens: int, times: SequenceTimes, preemptions: int
    ) -> None:
        """Observe everything about a sequence that is complete.

        :param max_tokens: how many tokens it would have had at most.
        :param preemptions: how many times it lost its slot.
        """
        decode = times.last_token - times.first_token
        self._prompt_lengths.observe(prefill.tokens)
        self._lengths.observe(generated_tokens)
        self._limits.observe(max_tokens)
        self._mean_gaps.observe(decode / (generated_tokens - 1) if generated_tokens > 1 else 0.0)
        self._whole.observe(times.last_token - times.arrived)
        self._queued.observe(times.started - times.arrived)
        self._inference.observe(times.last_token - times.started)
        self._prefill.observe(times.first_token - times.started)
        self._decode.observe(decode)
        self._preemptions.observe(preemptions)
        self._uncached.observe(prefill.computed)
