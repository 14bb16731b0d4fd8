# -*- test-case-name: tests.api.engine.test_loadrecords -*-
"""How much a rank has to do, told to those who subscribe to its KV events.

Each ``KvEventBatch`` has a ``load``: what ``GetLoads`` tells of its rank, as it is when the batch is sent. Between
batches there are others that have nothing else: they have ``load_only``, and the number of the rank's last batch again.
One comes when the load is another, which is looked at ten times a second, and else a second after the last, or five
when it has not changed for two of them. Records are numbered through the subscription. What is told for dashboards, and
not to choose a server by, is in the first record and in those that come alone.

Before a rank's first batch there is no number that could be told again. Who says that it understands that anyhow
(``load_records_before_first_batch``) is sent batches with the number 0 until then.
"""

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field
from smg_grpc_proto.generated import common_pb2 as pb

from vllmsim.loads import LoadFigures

LOOK: Final = 0.1
"""Seconds from one look at the load to the next."""
_INTERVAL: Final = 1.0
"""Seconds from one record to the next, when it does not change."""
_LONG_INTERVAL: Final = 5.0
"""The same, when there were :data:`_PATIENCE` of them."""
_PATIENCE: Final = 2
_SHARE: Final = 0.005
"""By how much a share must change, to count as another."""
_TOKENS: Final = 50.0
"""By how many tokens per second the throughput must change."""
_PART: Final = 0.05
"""Or by which part of itself."""
_MOST: Final = (1 << 31) - 1
"""What is told of more tokens than the messages have numbers for."""


@define(eq=False)
class _Told:
    """What was told of one rank.

    :param at: when the last record was sent, or when the subscription began.
    """

    at: float
    sequence: int | None
    figures: LoadFigures | None = None
    unchanged: int = 0
    """How many records in a row came alone, and told nothing new."""


@define(eq=False)
class LoadRecorder:
    """Writes the records of one subscription.

    :param figures: tells how much a rank has to do, by its number; None where that is not known.
    :param ranks: those whose batches the subscription has.
    :param early: whether the subscriber takes records before the first batch.
    :param now: seconds, as all that follow.
    """

    _figures: Callable[[int], LoadFigures | None]
    _ranks: Sequence[int]
    _early: bool
    _now: float
    _records: int = field(init=False, default=0)
    _told: dict[int, _Told] = field(init=False)

    @_told.default
    def _begin(self) -> dict[int, _Told]:
        return {rank: _Told(self._now, 0 if self._early else None) for rank in self._ranks}

    def stamp(self, batch: pb.KvEventBatch, now: float) -> pb.KvEventBatch:
        """Have a batch tell its rank's load too.

        :param batch: it is sent now.
        :return: the same.
        """
        told = self._told[batch.dp_rank]
        told.at, told.sequence, told.unchanged = now, batch.sequence_number, 0
        figures = self._figures(batch.dp_rank)
        if figures is not None:
            told.figures = figures
            self._write(batch.load, figures, alone=False)
        return batch

    def due(self, now: float, time: float) -> list[pb.KvEventBatch]:
        """Tell what is new, when no batch does.

        :param time: seconds since the epoch.
        :return: one for each rank of which something is to be told.
        """
        return [batch for rank in self._ranks if (batch := self._look(rank, now, time)) is not None]

    def _look(self, rank: int, now: float, time: float) -> pb.KvEventBatch | None:
        told = self._told[rank]
        if told.sequence is None:
            return None
        figures = self._figures(rank)
        if figures is None:
            return None
        changed = told.figures is None or _differ(told.figures, figures)
        interval = _INTERVAL if told.unchanged < _PATIENCE else _LONG_INTERVAL
        # At the look that is closest to when it is due.
        if not changed and now - told.at < interval - LOOK / 2:
            return None
        told.figures, told.at = figures, now
        told.unchanged = 0 if changed else told.unchanged + 1
        batch = pb.KvEventBatch(sequence_number=told.sequence, timestamp=time, dp_rank=rank)
        self._write(batch.load, figures, alone=True)
        return batch

    def _write(self, load: pb.EngineLoad, figures: LoadFigures, *, alone: bool) -> None:
        self._records += 1
        load.sample = self._records
        load.load_only = alone
        load.running_requests = figures.running
        load.waiting_requests = figures.waiting
        load.waiting_uncached_tokens = min(figures.uncached_tokens, _MOST)
        load.token_usage = figures.cache_usage
        load.gen_throughput = figures.throughput
        load.max_running_requests = figures.most_running
        if alone or self._records == 1:
            load.cache_hit_rate = figures.hit_rate
            load.num_used_tokens = min(figures.used_tokens, _MOST)
            load.max_total_num_tokens = min(figures.cache_tokens, _MOST)


def _differ(before: LoadFigures, now: LoadFigures) -> bool:
    """Tell whether a router might choose otherwise."""
    counts = "running", "waiting", "uncached_tokens", "most_running"
    if any(getattr(before, name) != getattr(now, name) for name in counts):
        return True
    if abs(now.cache_usage - before.cache_usage) > _SHARE:
        return True
    change = abs(now.throughput - before.throughput)
    return change > min(_TOKENS, _PART * max(before.throughput, now.throughput))
