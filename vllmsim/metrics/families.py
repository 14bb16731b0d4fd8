# -*- test-case-name: tests.metrics.test_families -*-
"""One rank's metrics, under the names, labels and buckets of vLLM 0.33.

Families of things that the simulator does not have yet are there with zeros, as they are in a vLLM that has not used
them. Two names that older vLLM had, and gateways still ask for, are served beside the new ones:
``vllm:gpu_cache_usage_perc`` and ``vllm:time_per_output_token_seconds``.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import define, field
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from zope.interface import implementer

from vllmsim.inference import SequenceTimes
from vllmsim.interfaces import IRankMetrics
from vllmsim.metrics import series
from vllmsim.metrics.series import Histogram, Labels

_REASONS: Final = ("stop", "length", "abort", "error", "repetition")
_PROMPT_SOURCES: Final = ("local_compute", "local_cache_hit", "external_kv_transfer")
_CACHE_TIERS: Final = ("device", "host", "p2p", "disk", "external_unspecified")
_SLEEP_STATES: Final = (("awake", None), ("weights_offloaded", 1), ("discard_all", 2))
_ADMISSION_LIMITS: Final = ("max_num_queued_reqs", "max_num_queued_tokens")

_UNUSED_COUNTERS_FIRST: Final = (
    ("vllm:estimated_flops_per_gpu", "Floating point operations per GPU, estimated."),
    ("vllm:estimated_read_bytes_per_gpu", "Bytes read from memory per GPU, estimated."),
    ("vllm:estimated_write_bytes_per_gpu", "Bytes written to memory per GPU, estimated."),
)
_UNUSED_COUNTERS: Final = (
    ("vllm:prefix_cache_queries", "Tokens looked up in the prefix cache."),
    ("vllm:prefix_cache_hits", "Tokens found in the prefix cache."),
    ("vllm:external_prefix_cache_queries", "Tokens looked up in a prefix cache outside this server."),
    ("vllm:external_prefix_cache_hits", "Tokens found in a prefix cache outside this server."),
    ("vllm:mm_cache_queries", "Media items looked up in the media cache."),
    ("vllm:mm_cache_hits", "Media items found in the media cache."),
    ("vllm:num_preemptions", "Sequences that lost their slot to others."),
)
_HISTOGRAMS: Final[Mapping[str, tuple[str, tuple[float, ...] | None]]] = {
    "request_prompt_tokens": ("Prompt tokens per sequence.", None),
    "request_generation_tokens": ("Generated tokens per sequence.", None),
    "iteration_tokens_total": ("Tokens per engine step.", series.ITERATION_BUCKETS),
    "request_max_num_generation_tokens": ("Generated tokens of each prompt's longest choice.", None),
    "request_params_n": ("Choices asked for per prompt.", series.COUNT_BUCKETS),
    "request_params_max_tokens": ("Token limit per sequence.", None),
    "time_to_first_token_seconds": ("Seconds from arrival to the first token.", series.TTFT_BUCKETS),
    "inter_token_latency_seconds": ("Seconds between one output and the next.", series.ITL_BUCKETS),
    "time_per_output_token_seconds": ("The same, under its older name.", series.ITL_BUCKETS),
    "request_time_per_output_token_seconds": ("Mean seconds per token after the first.", series.ITL_BUCKETS),
    "e2e_request_latency_seconds": ("Seconds from arrival to the last token.", series.LATENCY_BUCKETS),
    "request_queue_time_seconds": ("Seconds waiting for a slot.", series.LATENCY_BUCKETS),
    "request_inference_time_seconds": ("Seconds in a slot.", series.LATENCY_BUCKETS),
    "request_prefill_time_seconds": ("Seconds in a slot before the first token.", series.LATENCY_BUCKETS),
    "request_decode_time_seconds": ("Seconds from the first token to the last.", series.LATENCY_BUCKETS),
    "request_num_preemptions": ("How often each sequence lost its slot.", series.PREEMPTION_BUCKETS),
    "request_prefill_kv_computed_tokens": ("Prompt tokens that were not cached, per sequence.", None),
}
"""Name without ``vllm:``, text, and bounds; None for those that follow the context length."""


@implementer(IRankMetrics)
@define(eq=False)
class RankMetrics(Collector):
    """Counts what happens on one rank.

    :param engine: the rank's number.
    :param model_name: the first served name.
    :param max_model_len: where the token buckets end.
    :param cache_config: labels of ``vllm:cache_config_info``.
    :param created: when counting began, in seconds since the epoch.
    """

    _engine: str
    _model_name: str
    _max_model_len: int
    _cache_config: Labels
    _created: float
    running: int = field(init=False, default=0)
    waiting: int = field(init=False, default=0)
    _prompt_tokens: int = field(init=False, default=0)
    _cached_tokens: int = field(init=False, default=0)
    _generation_tokens: int = field(init=False, default=0)
    _iteration_tokens: int = field(init=False, default=0)
    _sleep_level: int | None = field(init=False, default=None)
    _rejected: dict[str, int] = field(init=False)
    _finished: dict[str, int] = field(init=False)
    _histograms: dict[str, Histogram] = field(init=False)

    @_rejected.default
    def _none_rejected(self) -> dict[str, int]:
        return dict.fromkeys(_ADMISSION_LIMITS, 0)

    @_finished.default
    def _none_finished(self) -> dict[str, int]:
        return dict.fromkeys(_REASONS, 0)

    @_histograms.default
    def _empty_histograms(self) -> dict[str, Histogram]:
        tokens = series.token_buckets(self._max_model_len)
        return {name: Histogram(tokens if bounds is None else bounds) for name, (_, bounds) in _HISTOGRAMS.items()}

    def sequence_queued(self) -> None:
        """Count a sequence that waits."""
        self.waiting += 1

    def sequence_unqueued(self) -> None:
        """Count it no more."""
        self.waiting -= 1

    def sequence_started(self) -> None:
        """Move a sequence from waiting to running."""
        self.waiting -= 1
        self.running += 1

    def prefill_finished(self, prompt_tokens: int, cached_tokens: int, since_arrival: float) -> None:
        """Count a prompt and observe the time to first token."""
        self._prompt_tokens += prompt_tokens
        self._cached_tokens += cached_tokens
        self._iteration_tokens += prompt_tokens - cached_tokens
        self._histograms["time_to_first_token_seconds"].observe(since_arrival)

    def tokens_emitted(self, count: int, gap: float | None) -> None:
        """Count generated tokens and observe the gap before them."""
        self._generation_tokens += count
        self._iteration_tokens += count
        if gap is not None:
            self._histograms["inter_token_latency_seconds"].observe(gap)

    def iteration_finished(self) -> None:
        """Observe the tokens since the last iteration."""
        self._histograms["iteration_tokens_total"].observe(self._iteration_tokens)
        self._iteration_tokens = 0

    def sequence_finished(
        self,
        reason: str,
        prompt_tokens: int,
        cached_tokens: int,
        generated_tokens: int,
        max_tokens: int,
        times: SequenceTimes,
    ) -> None:
        """Observe everything about a sequence that is complete."""
        self.running -= 1
        self._finished[reason] += 1
        decode = times.last_token - times.first_token
        values = {
            "request_prompt_tokens": prompt_tokens,
            "request_generation_tokens": generated_tokens,
            "request_params_max_tokens": max_tokens,
            "request_time_per_output_token_seconds": decode / (generated_tokens - 1) if generated_tokens > 1 else 0.0,
            "e2e_request_latency_seconds": times.last_token - times.arrived,
            "request_queue_time_seconds": times.started - times.arrived,
            "request_inference_time_seconds": times.last_token - times.started,
            "request_prefill_time_seconds": times.first_token - times.started,
            "request_decode_time_seconds": decode,
            "request_num_preemptions": 0,
            "request_prefill_kv_computed_tokens": prompt_tokens - cached_tokens,
        }
        for name, value in values.items():
            self._histograms[name].observe(value)

    def sequence_aborted(self) -> None:
        """Count a running sequence no more; like vLLM, in no total."""
        self.running -= 1

    def admission_rejected(self, limit: str) -> None:
        """Count a request that was not let in."""
        self._rejected[limit] += 1

    def sleep_level_changed(self, level: int | None) -> None:
        """Remember how deep the rank sleeps."""
        self._sleep_level = level

    def prompt_finished(self, n: int, longest: int) -> None:
        """Observe the choices of a prompt; vLLM too counts prompts here, not requests."""
        self._histograms["request_params_n"].observe(n)
        self._histograms["request_max_num_generation_tokens"].observe(longest)

    def collect(self) -> Iterator[Metric]:
        """Make every family's samples, in vLLM's order."""
        yield from self._counters(_UNUSED_COUNTERS_FIRST)
        yield from self._gauges()
        yield from self._counters(_UNUSED_COUNTERS)
        yield from self._token_counters()
        yield from self._request_counters()
        base = self._labels()
        for name, (text, _) in _HISTOGRAMS.items():
            source = "inter_token_latency_seconds" if name == "time_per_output_token_seconds" else name
            samples = [(base, self._histograms[source])]
            yield series.histogram_family(f"vllm:{name}", text, samples, self._created)
        info = {"engine": self._engine, **self._cache_config}
        yield series.gauge_family("vllm:cache_config_info", "How the KV cache is set up.", [(info, 1)])

    def _labels(self, **more: str) -> Labels:
        return {"engine": self._engine, "model_name": self._model_name, **more}

    def _counters(self, names: tuple[tuple[str, str], ...]) -> Iterator[Metric]:
        for name, text in names:
            yield series.counter_family(name, text, [(self._labels(), 0)], self._created)

    def _gauges(self) -> Iterator[Metric]:
        base = self._labels()
        yield series.gauge_family("vllm:num_requests_running", "Sequences in slots.", [(base, self.running)])
        yield series.gauge_family("vllm:num_requests_waiting", "Sequences waiting for one.", [(base, self.waiting)])
        reasons = (("capacity", self.waiting), ("deferred", 0))
        yield series.gauge_family(
            "vllm:num_requests_waiting_by_reason",
            "Sequences waiting for a free slot (capacity), or for something else (deferred).",
            [(self._labels(reason=reason), value) for reason, value in reasons],
        )
        yield series.gauge_family(
            "vllm:engine_sleep_state",
            "Whether the engine is awake, asleep with its weights moved out, or asleep without anything.",
            [(self._labels(sleep_state=state), int(level == self._sleep_level)) for state, level in _SLEEP_STATES],
        )
        yield series.gauge_family("vllm:kv_cache_usage_perc", "Share of KV cache blocks in use.", [(base, 0)])
        yield series.gauge_family("vllm:gpu_cache_usage_perc", "The same, under its older name.", [(base, 0)])

    def _token_counters(self) -> Iterator[Metric]:
        base, created = self._labels(), self._created
        computed, cached = self._prompt_tokens - self._cached_tokens, self._cached_tokens
        yield series.counter_family("vllm:prompt_tokens", "Prompt tokens.", [(base, self._prompt_tokens)], created)
        yield series.counter_family(
            "vllm:prompt_tokens_by_source",
            "Prompt tokens that were computed, found in the cache, or fetched from another server.",
            [(self._labels(source=s), n) for s, n in zip(_PROMPT_SOURCES, (computed, cached, 0), strict=True)],
            created,
        )
        yield series.counter_family(
            "vllm:prompt_tokens_cached", "Prompt tokens not computed.", [(base, cached)], created
        )
        yield series.counter_family(
            "vllm:prompt_tokens_cached_by_source",
            "Prompt tokens not computed, by the tier of the cache that had them.",
            [(self._labels(source=tier), cached if tier == "device" else 0) for tier in _CACHE_TIERS],
            created,
        )
        generated = [(base, self._generation_tokens)]
        yield series.counter_family("vllm:generation_tokens", "Generated tokens.", generated, created)

    def _request_counters(self) -> Iterator[Metric]:
        yield series.counter_family(
            "vllm:request_success",
            "Sequences that came to their end, by the reason for it.",
            [(self._labels(finished_reason=reason), count) for reason, count in self._finished.items()],
            self._created,
        )
        yield series.counter_family(
            "vllm:admission_rejections",
            "Requests that were not let in, by the limit they hit.",
            [({"model_name": self._model_name, "reason": limit}, count) for limit, count in self._rejected.items()],
            self._created,
        )
