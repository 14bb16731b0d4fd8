# -*- test-case-name: tests.config.test_schema -*-
"""What is told of what happens: metrics, the journal, logs and traces."""

from collections.abc import Mapping

from attrs import frozen

from vllmsim.config.buckets import parse_buckets, write_buckets
from vllmsim.config.fakemetrics import FakeMetrics, merge_fake_metrics, parse_fake_metrics, write_fake_metrics
from vllmsim.config.kinds import Duration, Flag, Integer, List, Number, Parsed, Text
from vllmsim.config.loglevels import LogLevels, parse_levels, write_levels
from vllmsim.config.option import option


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class ObservingOptions:
    """What is told of what happens: metrics, the journal, logs and traces. Durations are seconds."""

    # fmt: off
    kv_cache_metrics: bool = option("metrics", Flag(), False,
        "Measure how long KV blocks live.")
    kv_cache_metrics_sample: float = option("metrics", Number(least=0, most=1), 0.01,
        "On which share of blocks.")
    fake_metrics: FakeMetrics | None = option("metrics",
        Parsed(parse_fake_metrics, write_fake_metrics, "a map of metrics to values", merge=merge_fake_metrics), None,
        "Metric values to show instead of the real ones.", live=True)
    fake_metrics_refresh_interval: float = option("metrics", Duration(positive=True), 0.1,
        "How often fake values that are functions of time are computed.", unit="ms", live=True)
    disable_log_stats: bool = option("metrics", Flag(), False,
        "Leave vLLM's metrics out of /metrics, and what the server does out of the log.")
    log_stats_interval: float = option("metrics", Duration(positive=True, unit="s"), 10.0,
        "How often the log says what the server does.", unit="s", environment="VLLM_LOG_STATS_INTERVAL")
    custom_histogram_buckets: Mapping[str, tuple[float, ...]] | None = option("metrics",
        Parsed(parse_buckets, write_buckets, "a map of families of histograms to lists of bounds"), None,
        "Bounds of histograms in vLLM's form: request_latency, time_to_first_token, inter_token_latency,"
        " iteration_tokens, request_params_n, request_tokens, kv_cache_residency.")
    api_server_count: int | None = option("metrics", Integer(least=0), None,
        "API server processes. Here it is one; with more than one in a vLLM, /metrics says neither when counting began"
        " nor what the process takes, and so it is here.", aliases=("-asc",))

    journal_size: int = option("journal", Integer(least=0, most=10_000), 1000,
        "How many requests that have ended are remembered for /admin/requests; 0 for none at all.", live=True)
    journal_body_bytes: int = option("journal", Integer(least=0, most=1 << 20), 4096,
        "How much of each request's body is remembered and logged.", unit="bytes", live=True)
    request_log: str = option("journal", Text(), "",
        "File to which a line of JSON is appended for each request that has ended, of all ranks; none if empty.")
    engine_trace: str = option("journal", Text(), "",
        "File to which the engine's steps, and what becomes of each sequence and of the KV blocks, are written as trace"
        " events that Perfetto and Chrome draw, with the rank's number for {rank}; none if empty.")
    engine_trace_size: int = option("journal", Integer(least=1 << 16, human=True), 128 << 20,
        "How long it may become; then another takes its place, and it has .1 behind its name.", unit="bytes")

    log_format: str = option("logs", Text(choices=("auto", "text", "journal", "json")), "auto",
        "How the log is written: text; journal, with a priority before each line, for systemd's; json, one object on a"
        " line; auto is journal where that reads, else text.")
    log_level: LogLevels = option("logs", Parsed(parse_levels, write_levels,
        "a level (debug, info, warn, error or critical), or levels of namespaces too, such as info,vllmsim.web=debug or"
        " a map of these", plain=True), LogLevels(),
        "From which level on events are logged: debug, info, warn, error or critical; namespaces may have their own, as"
        " in info,vllmsim.web=debug or {default: info, vllmsim.web: debug}.", live=True,
        environment="VLLM_LOGGING_LEVEL")
    log_http: bool = option("logs", Flag(), False,
        "Log requests and responses with headers and bodies, secrets masked.", live=True)

    otlp_traces_endpoint: str = option("tracing", Text(), "",
        "Where spans of requests are sent, one for each: http://HOST:4318/v1/traces for OTLP over HTTP, grpc://HOST:4317"
        " for gRPC, which takes a package more. Needs vllmsim[otel].")
    collect_detailed_traces: tuple[str, ...] = option("tracing", List(), (),
        "What of the model's work is measured for them: model, worker or all. vLLM's V1 engine adds nothing for it, and"
        " so it is here.", acts=False)
    # fmt: on
