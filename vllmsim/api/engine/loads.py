# -*- test-case-name: tests.api.engine.test_loads -*-
"""``VllmEngine.GetLoads``: how much each data-parallel rank has to do.

A gateway asks for it where it does not subscribe to KV events, with which the same figures come. vLLM's server tells of
all its ranks whatever ``dp_rank`` says; here that names one, by its number or, as in ``X-data-parallel-rank``, counted
from 0. What ``include`` asks for beside the core figures vLLM does not have.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from vllmsim.errors import InvalidRequest
from vllmsim.interfaces import ILoads
from vllmsim.loads import LoadFigures

_MOST: Final = (1 << 31) - 1


def find_ranks(request: pb.GetLoadsRequest, ranks: Sequence[int]) -> Sequence[int]:
    """Find the ranks that a request asks for.

    :param ranks: those that there are.
    :raises InvalidRequest: when it asks for another.
    """
    if not request.HasField("dp_rank"):
        return ranks
    wanted = request.dp_rank
    if 0 <= wanted < len(ranks):
        return (ranks[wanted],)
    if wanted in ranks:
        return (wanted,)
    raise InvalidRequest(f"dp_rank {wanted} is out of range [0, {len(ranks)}).")


def scheduler_load(figures: LoadFigures) -> pb.SchedulerLoad:
    """Write the figures of one rank. Integers have 32 bits."""
    return pb.SchedulerLoad(
        dp_rank=figures.rank,
        num_running_reqs=figures.running,
        num_waiting_reqs=figures.waiting,
        num_total_reqs=figures.running + figures.waiting,
        num_used_tokens=min(figures.used_tokens, _MOST),
        max_total_num_tokens=min(figures.cache_tokens, _MOST),
        token_usage=figures.cache_usage,
        gen_throughput=figures.throughput,
        cache_hit_rate=figures.hit_rate,
        utilization=figures.cache_usage,
        max_running_requests=min(figures.most_running, _MOST),
        num_waiting_uncached_tokens=min(figures.uncached_tokens, _MOST),
    )


def loads_of(request: pb.GetLoadsRequest, loads: ILoads, version: str, now: float) -> pb.GetLoadsResponse:
    """Write the figures of all ranks that a request asks for.

    :param version: vLLM's.
    :param now: seconds since the epoch.
    :raises InvalidRequest: when it asks for one that there is not.
    """
    told = [figures for rank in find_ranks(request, loads.ranks) if (figures := loads.figures(rank)) is not None]
    return pb.GetLoadsResponse(
        timestamp=datetime.fromtimestamp(now, UTC).isoformat(),
        version=version,
        dp_rank_count=len(told),
        loads=map(scheduler_load, told),
    )
