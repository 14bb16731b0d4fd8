# -*- test-case-name: tests.assembly.test_measuring -*-
"""What a rank tells of itself in numbers: its metrics, or fake ones, and the line in its log that says what it does."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector

from vllmsim.clocks.clocks import Clocks
from vllmsim.config.fakemetrics import FakeMetrics
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.metrics.adapters import AdapterMetrics
from vllmsim.metrics.cacheconfig import cache_config_labels
from vllmsim.metrics.exposition import Page, Source, Succession
from vllmsim.metrics.failures import FailureMetrics
from vllmsim.metrics.families import RankMetrics
from vllmsim.metrics.http import HttpMetrics
from vllmsim.metrics.process import ProcessMetrics
from vllmsim.metrics.statslog import StatsLog
from vllmsim.metrics.transfer import TransferMetrics

if TYPE_CHECKING:
    from vllmsim.metrics.synthetic import SyntheticMetrics


@frozen(eq=False)
class Measures:
    """What counts on one rank, and what shows it.

    :param rank: counts what happens to sequences.
    :param adapters: counts what happens to LoRA adapters.
    :param http: counts exchanges.
    :param failures: counts requests that are made to fail.
    :param shown: what is shown of the rank.
    :param log: what the log says from time to time, unless it does not.
    :param process: whether to show what the process takes.
    """

    rank: RankMetrics
    adapters: AdapterMetrics
    http: HttpMetrics
    failures: FailureMetrics
    shown: Source
    log: StatsLog | None
    _process: bool

    def page(self, shown: Source) -> Page:
        """Make what ``/metrics`` shows, in vLLM's order: the process, the engine, the server.

        :param shown: of this rank, or of all that have its port.
        """
        registry = CollectorRegistry(auto_describe=True)
        if not self._process:
            return Page(registry, (shown, self.http.families))
        GCCollector(registry)
        PlatformCollector(registry)
        return Page(registry, (ProcessMetrics(), shown, self.http.families))


def make_measures(
    live: LiveConfiguration,
    number: int,
    clocks: Clocks,
    datasets: Sequence[str] = (),
) -> Measures:
    """Make what counts on a rank.

    :param number: which rank it is, from 0.
    :param datasets: the names of datasets that answers are from.
    """
    c = live.current
    several = c.api_servers > 1
    created = None if several else clocks.epoch()

    adapters = AdapterMetrics(live, clocks.epoch)

    def make_rank_metrics(adapters: AdapterMetrics | None = None) -> RankMetrics:
        return RankMetrics(
            str(number),
            c.served_names[0],
            c.max_model_len,
            cache_config_labels(c),
            created,
            datasets,
            blocks=c.enable_kvcache,
            block_lives=c.enable_kvcache and c.kv_cache_metrics,
            transfers=TransferMetrics(c.block_size, c.kv_bytes_per_token, c.kv_transfer.fetches, c.kv_transfer.nixl),
            drafted=0 if c.speculation is None else c.speculation.tokens,
            parses=bool(c.tool_call_parser),
            now=clocks.simulated.seconds,
            buckets=c.custom_histogram_buckets or {},
            adapters=adapters,
        )

    rank, http = make_rank_metrics(adapters), HttpMetrics(created)
    failures = FailureMetrics({"engine": str(number), "model_name": c.served_names[0]}, created)

    shown: list[Source] = [rank.own, failures]
    if c.fake_metrics is not None and not c.disable_log_stats:
        shown.insert(0, _fake(live, make_rank_metrics(AdapterMetrics(live, clocks.epoch)), clocks))
    elif not c.disable_log_stats:
        shown.insert(0, rank.families)
    log = None if c.disable_log_stats else StatsLog(clocks.background, number, rank.figures, c.log_stats_interval)
    return Measures(rank, adapters, http, failures, Succession(shown), log, not several)


def _fake(live: LiveConfiguration, unused: RankMetrics, clocks: Clocks) -> "SyntheticMetrics":
    """Make a page of fake metrics that follows the configuration.

    :param unused: metrics that nobody tells anything.
    """
    # Few servers need it.
    from vllmsim.metrics.synthetic import SyntheticMetrics  # noqa: PLC0415

    c = live.current
    fake = SyntheticMetrics(unused.families, clocks.simulated, clocks.epoch, c.fake_metrics_refresh_interval)

    def show(configuration: Configuration) -> None:
        fake.show(configuration.fake_metrics or FakeMetrics(), configuration.max_loras)

    def swapped(before: Configuration, now: Configuration) -> None:
        fake.interval = now.fake_metrics_refresh_interval
        if (before.fake_metrics, before.max_loras) != (now.fake_metrics, now.max_loras):
            show(now)

    show(c)
    live.watch(swapped)
    return fake
