# -*- test-case-name: tests.metrics.test_families -*-
"""One rank's metrics, under the names, labels and buckets of vLLM 0.33.

Families of things that the simulator does not have yet are there with zeros, as they are in a vLLM that has not used
them. Two names that older vLLM had, and gateways still ask for, are served beside the new ones:
``vllm:gpu_cache_usage_perc`` and ``vllm:time_per_output_token_seconds``.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from zope.interface import implementer

from vllmsim.inference import Answer, Prefill, SequenceTimes
from vllmsim.interfaces import IRankMetrics
from vllmsim.metrics.adapters import AdapterMetrics
from vllmsim.metrics.bounds import make_bounds
from vllmsim.metrics.cache import CacheMetrics, RecentLookups
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.sequences import SequenceMetrics
from vllmsim.metrics.series import Computed, Counter, Gauge, Labels
from vllmsim.metrics.sleeping import SleepMetrics
from vllmsim.metrics.speculation import SpeculationMetrics
from vllmsim.metrics.statslog import Figures
from vllmsim.metrics.toolcalls import ToolCallMetrics
from vllmsim.metrics.transfer import TransferMetrics
from vllmsim.structure import Parsing

_REASONS: Final = ("stop", "length", "abort", "error", "repetition")
_SLEEP_STATES: Final = {"awake": None, "weights_offloaded": 1, "discard_all": 2}
_ADMISSION_LIMITS: Final = ("max_num_queued_reqs", "max_num_queued_tokens")
_LOOKUP_RESULTS: Final = ("hit", "miss", "fallback")
_TROUBLES: Final = ("locked", "broken", "empty")


@implementer(IRankMetrics)
class RankMetrics:
    """Counts what happens on one rank.

    :param engine: the rank's number.
    :param model_name: the first served name.
    :param max_model_len: where the token buckets end.
    :param cache_config: labels of ``vllm:cache_config_info``.
    :param created: when counting began, in seconds since the epoch; None to say nothing of that.
    :param datasets: the names of datasets that answers are from; vLLM has none, so there are no families without.
    :param blocks: whether KV blocks are simulated.
    :param block_lives: whether to show how long KV blocks live.
    :param transfers: what counts those of KV blocks.
    :param drafted: how many tokens are guessed at a time, if any are.
    :param parses: whether the server looks for calls of tools in answers.
    :param now: tells the time, in seconds; for what measures it.
    :param buckets: bounds of histograms, by the names of :class:`vllmsim.metrics.bounds.Bounds`.
    :param adapters: what counts those of LoRA adapters, if anything does.
    """

    def __init__(
        self,
        engine: str,
        model_name: str,
        max_model_len: int,
        cache_config: Labels,
        created: float | None,
        datasets: Sequence[str] = (),
        *,
        blocks: bool = False,
        block_lives: bool = False,
        transfers: TransferMetrics | None = None,
        drafted: int = 0,
        parses: bool = False,
        now: Callable[[], float] = float,
        buckets: Mapping[str, Sequence[float]] = MappingProxyType({}),
        adapters: AdapterMetrics | None = None,
    ) -> None:
        self._transfers = TransferMetrics() if transfers is None else transfers
        self.deferred: Callable[[], int] = lambda: 0
        """Tells how many of those that wait do so since their adapter cannot be loaded."""
        own = self._labels = {"engine": engine, "model_name": model_name}
        self.families = f = Families(own, created)
        self.own = Families(own, created)
        """What vLLM does not have."""
        bounds = make_bounds(max_model_len, buckets)
        # Families are written in the order in which they are made, which is vLLM's.
        self._speculation = SpeculationMetrics(drafted) if drafted else None
        if self._speculation is not None:
            self._speculation.show(f)
        self._show_states(f)
        self._show_tokens(f)
        text = "Sequences that came to their end, by the reason for it."
        self._endings = f.family("vllm:request_success", text, Counter)
        self._finished: dict[str, Counter] = {}
        for reason in _REASONS:
            self._ended(reason)
        self._rejected = {limit: Counter() for limit in _ADMISSION_LIMITS}
        rejections = "Requests that were not let in, by the limit they hit."
        family = f.family("vllm:admission_rejections", rejections, Counter)
        for limit, counter in self._rejected.items():
            family.add(counter, {"model_name": model_name, "reason": limit})
        self._sequences = SequenceMetrics(f, bounds)
        info = f.family("vllm:cache_config_info", "How the KV cache is set up.", Gauge)
        info.add(Gauge(1), {"engine": engine, **cache_config})
        if adapters is not None:
            adapters.show_info(f)
        self._lookups: dict[tuple[str, str], Counter] = {}
        self._fallbacks: dict[tuple[str, str], Counter] = {}
        if block_lives:
            self.cache.show_lives(f, bounds.kv_cache_residency)
        self._transfers.show_transfers(f)
        self._tool_calls = ToolCallMetrics(f, model_name) if parses else None
        self._sleeping = SleepMetrics(f, now)
        if datasets:
            self._show_datasets(self.own, own, datasets)
        if blocks:
            self.cache.show_own(self.own)
        if adapters is not None:
            adapters.show_own(self.own)

    def _show_datasets(self, f: Families, labels: Labels, datasets: Sequence[str]) -> None:
        text = "Lookups in datasets, by what they found: an answer to the prompt (hit), to another (miss), or none."
        lookups = f.family("vllmsim:dataset_lookups", text, Counter)
        text = "Answers that were random because a dataset could not be used, by the reason for it."
        fallbacks = f.family("vllmsim:dataset_fallbacks", text, Counter)
        for dataset in datasets:
            own = {**labels, "dataset": dataset}
            for result in _LOOKUP_RESULTS:
                self._lookups[dataset, result] = lookups.add(Counter(), {**own, "result": result})
            for trouble in _TROUBLES:
                self._fallbacks[dataset, trouble] = fallbacks.add(Counter(), {**own, "reason": trouble})

    def _show_states(self, f: Families) -> None:
        f.show("vllm:estimated_flops_per_gpu", "Floating point operations per GPU, estimated.", Counter())
        f.show("vllm:estimated_read_bytes_per_gpu", "Bytes read from memory per GPU, estimated.", Counter())
        f.show("vllm:estimated_write_bytes_per_gpu", "Bytes written to memory per GPU, estimated.", Counter())
        self._running = f.show("vllm:num_requests_running", "Sequences in slots.", Gauge())
        self._waiting = f.show("vllm:num_requests_waiting", "Sequences waiting for one.", Gauge())
        f.show_by(
            "reason",
            "vllm:num_requests_waiting_by_reason",
            "Sequences waiting for a free slot (capacity), or for something else (deferred).",
            {
                "capacity": Computed(find=lambda: self._waiting.value - self.deferred()),
                "deferred": Computed(find=lambda: float(self.deferred())),
            },
        )
        self._transfers.show_stages(f)
        self._sleep = f.show_by(
            "sleep_state",
            "vllm:engine_sleep_state",
            "Whether the engine is awake, asleep with its weights moved out, or asleep without anything.",
            {state: Gauge() for state in _SLEEP_STATES},
        )
        self.sleep_level_changed(None)
        self.cache = CacheMetrics(f)

    def _show_tokens(self, f: Families) -> None:
        self._media_queries = f.show("vllm:mm_cache_queries", "Media items looked up in the media cache.", Counter())
        self._media_hits = f.show("vllm:mm_cache_hits", "Media items found in the media cache.", Counter())
        self._recent_media = RecentLookups()
        self._preemptions = f.show("vllm:num_preemptions", "Sequences that lost their slot to others.", Counter())
        self._computed, self._cached, self._external, self._found = Counter(), Counter(), Counter(), Counter()
        self._prompt = f.show("vllm:prompt_tokens", "Prompt tokens.", Counter())
        f.show_by(
            "source",
            "vllm:prompt_tokens_by_source",
            "Prompt tokens that were computed, found in the cache, or fetched from another server.",
            {
                "local_compute": self._computed,
                "local_cache_hit": self._cached,
                "external_kv_transfer": self._external,
            },
        )
        f.show("vllm:prompt_tokens_cached", "Prompt tokens not computed.", self._found)
        f.show_by(
            "source",
            "vllm:prompt_tokens_cached_by_source",
            "Prompt tokens not computed, by the tier of the cache that had them.",
            {
                "device": self._cached,
                **{tier: Counter() for tier in ("host", "p2p", "disk")},
                "external_unspecified": self._external,
            },
        )
        self._generated = f.show("vllm:generation_tokens", "Generated tokens.", Counter())
        self._tokens_before = 0.0

    def figures(self) -> Figures:
        """Tell what the rank does, for its log."""
        return Figures(
            computed=self._computed.value,
            generated=self._generated.value,
            running=self._running.value,
            waiting=self._waiting.value,
            deferred=self.deferred(),
            usage=self.cache.usage,
            hits=self.cache.recent.rate or 0.0,
            external_hits=self.cache.recent_external.rate,
            media_hits=self._recent_media.rate,
            drafts=None if self._speculation is None else self._speculation.told(),
        )

    def progress(self) -> tuple[float, int, float, float]:
        """Tell what the rank has done, as :class:`vllmsim.loads.Progress` has it."""
        prompts = sum(self._sequences.first_tokens.counts)
        return self._generated.value, prompts, self._prompt.value, self._found.value

    def sequence_queued(self) -> None:
        """Count a sequence that waits."""
        self._waiting.value += 1

    def sequence_unqueued(self) -> None:
        """Count it no more."""
        self._waiting.value -= 1

    def sequence_started(self) -> None:
        """Move a sequence from waiting to running."""
        self._waiting.value -= 1
        self._running.value += 1

    def sequence_preempted(self) -> None:
        """Count a loss, and move the sequence from running to waiting."""
        self._preemptions.value += 1
        self._waiting.value += 1
        self._running.value -= 1

    def sequence_resumed(self) -> None:
        """Move it back."""
        self._waiting.value -= 1
        self._running.value += 1

    def transfer_started(self) -> None:
        """Count a sequence that waits for blocks of another server."""
        self._transfers.started()

    def transfer_finished(self, prefill: Prefill, seconds: float) -> None:
        """Count it no more, and observe the transfer."""
        self._transfers.finished(prefill, seconds)

    def transfer_aborted(self) -> None:
        """Count it no more."""
        self._transfers.aborted()

    def prefill_finished(self, prefill: Prefill, since_arrival: float) -> None:
        """Count a prompt and observe the time to first token."""
        self._prompt.value += prefill.tokens
        self._computed.value += prefill.computed
        self._cached.value += prefill.cached
        self._external.value += prefill.external
        self._found.value += prefill.found
        self._sequences.first_tokens.observe(since_arrival)

    def tokens_emitted(self, count: int, gap: float | None) -> None:
        """Count generated tokens and observe the gap before them."""
        self._generated.value += count
        if gap is not None:
            self._sequences.gaps.observe(gap)

    def draft_verified(self, drafted: int, accepted: int) -> None:
        """Count guessed tokens."""
        if self._speculation is not None:
            self._speculation.verified(drafted, accepted)

    def iteration_finished(self) -> None:
        """Observe the tokens since the last iteration."""
        tokens = self._computed.value + self._generated.value
        self._sequences.iterations.observe(tokens - self._tokens_before)
        self._tokens_before = tokens

    def sequence_finished(
        self,
        reason: str,
        prefill: Prefill,
        generated_tokens: int,
        max_tokens: int,
        times: SequenceTimes,
        preemptions: int = 0,
    ) -> None:
        """Observe everything about a sequence that is complete."""
        self._running.value -= 1
        self._ended(reason).value += 1
        self._sequences.finished(prefill, generated_tokens, max_tokens, times, preemptions)

    def _ended(self, reason: str) -> Counter:
        """Find the counter of a reason; those that vLLM does not know are shown from their first time on."""
        if reason not in self._finished:
            labels = {**self._labels, "finished_reason": reason}
            self._finished[reason] = self._endings.add(Counter(), labels)
        return self._finished[reason]

    def answer_parsed(self, parsing: Parsing, answer: Answer) -> None:
        """Count the looks at an answer."""
        if self._tool_calls is not None:
            self._tool_calls.parsed(parsing, answer)

    def media_looked_up(self, items: int, hits: int) -> None:
        """Count items."""
        self._media_queries.value += items
        self._media_hits.value += hits
        self._recent_media.add((items, hits))

    def sequence_aborted(self) -> None:
        """Count a running sequence no more; like vLLM, in no total."""
        self._running.value -= 1

    def admission_rejected(self, limit: str) -> None:
        """Count a request that was not let in."""
        self._rejected[limit].value += 1

    def sleep_level_changed(self, level: int | None) -> None:
        """Remember how deep the rank sleeps."""
        for state, gauge in self._sleep.items():
            gauge.value = int(level == _SLEEP_STATES[state])

    def operation_began(self, operation: str) -> Callable[[], object]:
        """Measure how long it takes to fall asleep, or to wake up."""
        return self._sleeping.began(operation)

    def dataset_asked(self, dataset: str, result: str, trouble: str | None) -> None:
        """Count a lookup, and the random answer if there has to be one."""
        self._lookups[dataset, result].value += 1
        if trouble is not None:
            self._fallbacks[dataset, trouble].value += 1

    def prompt_finished(self, n: int, longest: int) -> None:
        """Observe the choices of a prompt; vLLM too counts prompts here, not requests."""
        self._sequences.choices.observe(n)
        self._sequences.longest.observe(longest)
