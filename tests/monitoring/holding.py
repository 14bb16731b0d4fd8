"""What the dashboard shows of what ranks hold: KV blocks, adapters, and their share of the load. All is vLLM's."""

from typing import Final

from tests.monitoring.panels import RANK, SERVER, Kind, Panel, Query, level, mean, percentile, percentiles, rate, share

_TRANSFERS: Final = (
    Panel(
        "Requests that fetch KV blocks",
        "By how far that is. Only servers that may fetch from others tell it.",
        (Query(level("vllm:num_requests_kv_fetch_by_stage", "stage"), "{{stage}}"),),
        stacked=True,
    ),
    percentiles("Transfers", "How long each takes. With the NixlConnector.", "vllm:nixl_xfer_time_seconds"),
    Panel(
        "Bytes transferred",
        "Bytes per second, and of one transfer on average.",
        (
            Query(rate("vllm:nixl_bytes_transferred_sum"), "{{model_name}} per second"),
            Query(mean("vllm:nixl_bytes_transferred"), "{{model_name}} per transfer"),
        ),
        "bytes",
    ),
    Panel(
        "Descriptors of a transfer",
        "On average.",
        (Query(mean("vllm:nixl_num_descriptors")),),
    ),
    Panel(
        "Time to begin a transfer",
        "On average. A simulator takes none.",
        (Query(mean("vllm:nixl_post_time_seconds")),),
        "s",
    ),
    Panel(
        "Transfers that fail",
        "Per second: transfers and notifications that fail, blocks that expire before they are fetched, and"
        " notifications after that.",
        tuple(
            Query(rate(f"vllm:nixl_{name}_total"), f"{text} {{{{model_name}}}}")
            for name, text in (
                ("num_failed_transfers", "transfers"),
                ("num_failed_notifications", "notifications"),
                ("num_kv_expired_reqs", "expired"),
                ("num_notifications_after_expiry", "too late"),
            )
        ),
        "reqps",
    ),
)

CACHE: Final = (
    Panel(
        "Usage",
        "The share of KV blocks that requests have: of the fullest rank, and on average.",
        (
            Query(level("vllm:kv_cache_usage_perc", how="max"), "fullest {{model_name}}"),
            Query(level("vllm:kv_cache_usage_perc", how="avg"), "mean {{model_name}}"),
        ),
        "percentunit",
        most=1,
    ),
    Panel(
        "Hit rates",
        "The share of looked-up tokens that were there: in the own cache, and in a shared one or on another server.",
        (
            Query(share("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"), "own {{model_name}}"),
            Query(
                share("vllm:external_prefix_cache_hits_total", "vllm:external_prefix_cache_queries_total"),
                "external {{model_name}}",
            ),
        ),
        "percentunit",
        most=1,
    ),
    Panel(
        "Cached tokens by tier",
        "Prompt tokens per second that were not computed, by where they were. All of them: the line.",
        (
            Query(rate("vllm:prompt_tokens_cached_by_source_total", "source"), "{{source}}"),
            Query(rate("vllm:prompt_tokens_cached_total"), "all {{model_name}}"),
        ),
    ),
    percentiles(
        "Lives of blocks", "From use to eviction, with kv-cache-metrics.", "vllm:kv_block_lifetime_seconds"
    ),
    percentiles(
        "Idle before eviction", "Since a block was used last, with kv-cache-metrics.",
        "vllm:kv_block_idle_before_evict_seconds",
    ),
    percentiles("Gaps between uses", "Of one block, with kv-cache-metrics.", "vllm:kv_block_reuse_gap_seconds"),
    Panel(
        "Media cache",
        "The share of images, sounds and films that were in a prompt before.",
        (Query(share("vllm:mm_cache_hits_total", "vllm:mm_cache_queries_total")),),
        "percentunit",
        most=1,
    ),
    Panel(
        "What the cache is",
        "Blocks, their size, and the rest of the configuration, by rank.",
        (Query(f'vllm:cache_config_info{{{SERVER}, engine=~"$engine"}}', ""),),
        kind=Kind.TABLE,
        width=16,
        hidden=("Time", "Value", "__name__"),
    ),
    *_TRANSFERS,
)  # fmt: skip

_LATEST: Final = (
    f"vllm:lora_requests_info{{{SERVER}}} == on (job, instance) group_left ()"
    f" max by (job, instance) (vllm:lora_requests_info{{{SERVER}}})"
)
LORA: Final = (
    Panel(
        "Adapters now",
        "Which adapters have requests that run and that wait, on each server, and since when. Needs enable-lora.",
        (Query(f"({_LATEST}) * 1000", ""),),
        "dateTimeFromNow",
        Kind.TABLE,
        16,
        hidden=("Time", "__name__", "job"),
    ),
    Panel(
        "Waiting for more than room",
        "Requests that wait for an adapter's slot, among other things, by server.",
        (
            Query(
                level("vllm:num_requests_waiting_by_reason", "instance", f'{RANK}, reason="deferred"'), "{{instance}}"
            ),
        ),
    ),
    Panel(
        "Changes",
        "How often per second other adapters came into use, by server.",
        (
            Query(
                f"sum by (instance) (changes(vllm:lora_requests_info{{{SERVER}}}[$__rate_interval]))", "{{instance}}"
            ),
        ),
    ),
)  # fmt: skip

_BY_RANK: Final = "instance, engine"


def _by_rank(title: str, text: str, expr: str, unit: str = "short", most: float | None = None) -> Panel:
    return Panel(title, text, (Query(expr, "{{instance}} rank {{engine}}"),), unit, most=most)


RANKS: Final = (
    _by_rank("Running", "Requests that run, by rank.", level("vllm:num_requests_running", _BY_RANK)),
    _by_rank("Waiting", "Requests that wait, by rank.", level("vllm:num_requests_waiting", _BY_RANK)),
    _by_rank("Generated tokens", "Per second.", rate("vllm:generation_tokens_total", _BY_RANK)),
    _by_rank("KV cache", "Its usage.", level("vllm:kv_cache_usage_perc", _BY_RANK), "percentunit", 1),
    _by_rank(
        "Prefix hits", "The share of looked-up tokens that were there.",
        share("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total", _BY_RANK), "percentunit", 1,
    ),
    _by_rank("First token, p95", "By rank.", percentile(0.95, "vllm:time_to_first_token_seconds", _BY_RANK), "s"),
)  # fmt: skip
