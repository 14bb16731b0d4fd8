# -*- test-case-name: tests.metrics.test_bounds -*-
"""The bounds of histograms, by vLLM's names for those that belong together."""

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from vllmsim.metrics import series


@frozen(kw_only=True)
class Bounds:
    """The upper bounds of histograms, ascending. Times are seconds.

    :param request_tokens: of all that count a sequence's tokens.
    :param request_latency: of the times that sequences spend.
    :param kv_cache_residency: of the times that KV blocks spend.
    """

    request_tokens: Sequence[float]
    request_latency: Sequence[float] = series.LATENCY_BUCKETS
    time_to_first_token: Sequence[float] = series.TTFT_BUCKETS
    inter_token_latency: Sequence[float] = series.ITL_BUCKETS
    iteration_tokens: Sequence[float] = series.ITERATION_BUCKETS
    request_params_n: Sequence[float] = series.COUNT_BUCKETS
    kv_cache_residency: Sequence[float] = series.BLOCK_BUCKETS


def make_bounds(max_model_len: int, custom: Mapping[str, Sequence[float]]) -> Bounds:
    """Choose bounds.

    :param max_model_len: where those of tokens end.
    :param custom: others, by the names above.
    """
    return evolve(Bounds(request_tokens=series.token_buckets(max_model_len)), **custom)
