"""What the dashboard shows of servers as programs: HTTP, the process, and what only a simulator has."""

from typing import Final

from tests.monitoring.panels import SERVER, Kind, Panel, Query, level, mean, percentiles, rate, share

HTTP: Final = (
    Panel(
        "Requests by route",
        "Answers per second. Probes, such as /health and /metrics, are not counted.",
        (Query(rate("http_requests_total", "handler, method", SERVER), "{{method}} {{handler}}"),),
        "reqps",
        stacked=True,
        width=12,
    ),
    Panel(
        "Requests by status",
        "Answers per second.",
        (Query(rate("http_requests_total", "status", SERVER), "{{status}}"),),
        "reqps",
        stacked=True,
        width=12,
    ),
    percentiles("Durations", "Of all exchanges.", "http_request_duration_highr_seconds", by="", labels=SERVER),
    Panel(
        "Mean duration by route",
        "Of the exchanges of each.",
        (Query(mean("http_request_duration_seconds", "handler, method", SERVER), "{{method}} {{handler}}"),),
        "s",
    ),
    Panel(
        "Mean sizes by route",
        "Bytes of bodies. An answer that is streamed counts as 0.",
        (
            Query(mean("http_request_size_bytes", "handler", SERVER), "request {{handler}}"),
            Query(mean("http_response_size_bytes", "handler", SERVER), "answer {{handler}}"),
        ),
        "bytes",
    ),
)

PROCESS: Final = (
    Panel(
        "Processor", "Cores in use.", (Query(rate("process_cpu_seconds_total", "instance", SERVER), "{{instance}}"),)
    ),
    Panel(
        "Memory",
        "Resident, and all that is mapped.",
        (
            Query(level("process_resident_memory_bytes", "instance", SERVER), "resident {{instance}}"),
            Query(level("process_virtual_memory_bytes", "instance", SERVER), "virtual {{instance}}"),
        ),
        "bytes",
    ),
    Panel(
        "Open files",
        "Connections and files, as a share of what the process may have.",
        (
            Query(
                f"{level('process_open_fds', 'instance', SERVER)} / {level('process_max_fds', 'instance', SERVER)}",
                "{{instance}}",
            ),
        ),
        "percentunit",
    ),
    Panel(
        "Up for",
        "Since the process began.",
        (Query(f"time() - {level('process_start_time_seconds', 'instance', SERVER, 'max')}", "{{instance}}"),),
        "s",
    ),
    Panel(
        "Garbage collections",
        "Per second, by generation.",
        (Query(rate("python_gc_collections_total", "instance, generation", SERVER), "{{instance}} {{generation}}"),),
    ),
    Panel(
        "Objects collected",
        "Per second, and those that could not be.",
        (
            Query(rate("python_gc_objects_collected_total", "instance", SERVER), "collected {{instance}}"),
            Query(rate("python_gc_objects_uncollectable_total", "instance", SERVER), "not {{instance}}"),
        ),
    ),
    Panel(
        "Pythons",
        "What the processes run on.",
        (Query(f"python_info{{{SERVER}}}", ""),),
        kind=Kind.TABLE,
        width=24,
        height=5,
        hidden=("Time", "Value", "__name__", "major", "minor", "patchlevel"),
    ),
)

SIMULATOR: Final = (
    Panel(
        "Failures on purpose",
        "Requests per second that are made to fail, by the rule that does it, and how.",
        (Query(rate("vllmsim:injected_failures_total", "rule, type"), "{{type}} {{rule}}"),),
        "reqps",
        stacked=True,
    ),
    Panel(
        "Lookups in datasets",
        "Per second, by what was found: an answer to the prompt, to another, or none.",
        (Query(rate("vllmsim:dataset_lookups_total", "dataset, result"), "{{dataset}} {{result}}"),),
    ),
    Panel(
        "Datasets that cannot be used",
        "Answers per second that are random for that reason.",
        (Query(rate("vllmsim:dataset_fallbacks_total", "dataset, reason"), "{{dataset}} {{reason}}"),),
        "reqps",
    ),
    Panel(
        "KV blocks",
        "Those that requests have (used), and those that can be found (cached).",
        (Query(level("vllmsim:kv_blocks", "state"), "{{state}}"),),
    ),
    Panel(
        "KV events",
        "Per second: events, the messages that they go in, and events that are dropped.",
        (
            Query(rate("vllmsim:kv_events_total", ""), "events"),
            Query(rate("vllmsim:kv_event_batches_total", ""), "messages"),
            Query(rate("vllmsim:kv_events_dropped_total", ""), "dropped"),
        ),
    ),
    Panel(
        "Adapters",
        "In GPU slots, and in memory with those, by rank.",
        (Query(level("vllmsim:lora_adapters", "instance, engine, place"), "{{place}} {{instance}} rank {{engine}}"),),
    ),
    Panel(
        "Adapters come and go",
        "Per second: adapters that are read from disk, and that give way to others.",
        (
            Query(rate("vllmsim:lora_loads_total", ""), "loads"),
            Query(rate("vllmsim:lora_evictions_total", "place"), "evictions from {{place}}"),
        ),
    ),
    Panel(
        "Time to load an adapter",
        "On average.",
        (Query(share("vllmsim:lora_load_seconds_total", "vllmsim:lora_loads_total")),),
        "s",
    ),
    Panel(
        "Shared cache",
        "Ranks that can reach it, and what goes wrong, per second.",
        (
            Query(level("vllmsim:kv_backend_up", ""), "up"),
            Query(rate("vllmsim:kv_backend_errors_total", "reason"), "{{reason}}"),
            Query(rate("vllmsim:kv_backend_dropped_blocks_total", ""), "blocks dropped"),
        ),
    ),
    percentiles("Lookups in the shared cache", "How long it takes.", "vllmsim:kv_backend_lookup_seconds"),
    Panel(
        "Pacers set going again",
        "How often the pacer of a rank had stopped, since its server began. It never should: the log says more.",
        (
            Query(
                f"{level('vllmsim:pacer_restarts_total', 'instance, engine')} or vector(0)",
                "{{instance}} rank {{engine}}",
            ),
        ),
    ),
)
