"""What the dashboard shows of requests: how many, how fast, and who waits. All of it is of vLLM's families."""

from typing import Final

from tests.monitoring.panels import (
    MODEL,
    RANK,
    SERVER,
    Panel,
    Query,
    both,
    heatmap,
    level,
    mean,
    number,
    percentile,
    percentiles,
    rate,
    share,
)

OVERVIEW: Final = (
    number("Servers", "Servers that tell metrics.", f"sum(up{{{SERVER}}})"),
    number("Running", "Requests that run.", f"sum(vllm:num_requests_running{{{RANK}}})"),
    number("Waiting", "Requests that wait.", f"sum(vllm:num_requests_waiting{{{RANK}}})", "short", 10, 100),
    number("Finished", "Requests that come to their end, per second.", rate("vllm:request_success_total", ""), "reqps"),
    number("Prompt tokens", "Tokens of prompts per second, cached ones too.", rate("vllm:prompt_tokens_total", "")),
    number("Generated tokens", "Tokens of answers per second.", rate("vllm:generation_tokens_total", "")),
    number(
        "First token, p95", "Of all models together.", percentile(0.95, "vllm:time_to_first_token_seconds", ""), "s",
        5, 10,
    ),
    number(
        "Between tokens, p95", "Of all models together.", percentile(0.95, "vllm:inter_token_latency_seconds", ""), "s",
        0.2, 0.5,
    ),
    number(
        "KV cache", "Of the fullest rank.", f"max(vllm:kv_cache_usage_perc{{{RANK}}})", "percentunit", 0.8, 0.95
    ),
    number(
        "Prefix hits", "Share of prompt tokens that were in the KV cache.",
        share("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total", ""), "percentunit",
    ),
    number(
        "HTTP errors", "Share of answers with a status of 500 or more.",
        f'(sum(rate(http_requests_total{{{SERVER}, status="5xx"}}[$__rate_interval])) or vector(0))'
        f" / sum(rate(http_requests_total{{{SERVER}}}[$__rate_interval]))",
        "percentunit", 0.01, 0.05,
    ),
    number(
        "Alerts", "Alerts of ours that fire; they are in etc/prometheus.",
        'count(ALERTS{alertname=~"Vllm.*", alertstate="firing"}) or vector(0)', "short", 1, 3,
    ),
)  # fmt: skip

LATENCY: Final = (
    *both("Time to first token", "From a request's arrival to its first token.", "vllm:time_to_first_token_seconds"),
    *both("Inter-token latency", "The gap between one run of tokens and the next.", "vllm:inter_token_latency_seconds"),
    *both("Whole latency", "From arrival to the last token.", "vllm:e2e_request_latency_seconds"),
    *both("Queue", "From arrival to a slot. The first bucket ends at 0.3 s.", "vllm:request_queue_time_seconds"),
    *both("Prefill", "From the slot to the first token.", "vllm:request_prefill_time_seconds"),
    *both("Decode", "From the first token to the last.", "vllm:request_decode_time_seconds"),
    Panel(
        "Where time goes",
        "Means of waiting, prefill and decode, on top of each other. Requests count at their end.",
        tuple(
            Query(mean(f"vllm:request_{part}_time_seconds"), f"{part} {{{{model_name}}}}")
            for part in ("queue", "prefill", "decode")
        ),
        "s",
        stacked=True,
    ),
    percentiles("Inference", "From the slot to the last token.", "vllm:request_inference_time_seconds"),
    percentiles(
        "Mean gap of a request", "Decode time per token of each request.", "vllm:request_time_per_output_token_seconds"
    ),
)

THROUGHPUT: Final = (
    Panel(
        "Tokens",
        "Tokens per second: of prompts when their first token is out, of answers as they come.",
        (
            Query(rate("vllm:prompt_tokens_total"), "prompt {{model_name}}"),
            Query(rate("vllm:generation_tokens_total"), "generated {{model_name}}"),
        ),
        width=12,
    ),
    Panel(
        "Prompt tokens by source",
        "What was computed, was in the KV cache, or came from outside.",
        (Query(rate("vllm:prompt_tokens_by_source_total", "source"), "{{source}}"),),
        stacked=True,
        width=12,
    ),
    Panel(
        "Requests that end",
        "By the reason for it. Those that a client left are not among them.",
        (Query(rate("vllm:request_success_total", "finished_reason"), "{{finished_reason}}"),),
        "reqps",
        stacked=True,
    ),
    heatmap("Prompt lengths", "Tokens of each prompt.", "vllm:request_prompt_tokens", "short", width=8),
    heatmap("Answer lengths", "Tokens of each answer.", "vllm:request_generation_tokens", "short", width=8),
    percentiles("Tokens of a step", "Computed and generated in one step.", "vllm:iteration_tokens_total", "short"),
    percentiles(
        "Prompt tokens computed",
        "Of each prompt what was not cached.",
        "vllm:request_prefill_kv_computed_tokens",
        "short",
    ),
    percentiles("Tokens asked for", "max_tokens of requests.", "vllm:request_params_max_tokens", "short"),
    Panel(
        "Choices and longest answers",
        "Means: choices that requests ask for, and tokens of the longest of them.",
        (
            Query(mean("vllm:request_params_n"), "choices {{model_name}}"),
            Query(mean("vllm:request_max_num_generation_tokens"), "longest {{model_name}}"),
        ),
    ),
    Panel(
        "Looks for calls of tools",
        "How often answers, or pieces of them, were looked at for calls, and whether there were any."
        " Needs tool-call-parser.",
        (Query(rate("vllm:tool_call_parser_invocations_total", "mode, outcome", MODEL), "{{mode}} {{outcome}}"),),
    ),
    Panel(
        "Work of a GPU",
        "Estimates: operations and bytes per second and GPU. A vLLM tells them with enable-mfu-metrics, a simulator 0.",
        (
            Query(rate("vllm:estimated_flops_per_gpu_total"), "operations {{model_name}}"),
            Query(rate("vllm:estimated_read_bytes_per_gpu_total"), "bytes read {{model_name}}"),
            Query(rate("vllm:estimated_write_bytes_per_gpu_total"), "bytes written {{model_name}}"),
        ),
    ),
)

SCHEDULING: Final = (
    Panel(
        "Requests",
        "Those that run, and those that wait.",
        (
            Query(level("vllm:num_requests_running"), "running {{model_name}}"),
            Query(level("vllm:num_requests_waiting"), "waiting {{model_name}}"),
        ),
    ),
    Panel(
        "Waiting by reason",
        "For a slot or KV blocks (capacity), or for an adapter, blocks of another server or a grammar (deferred).",
        (Query(level("vllm:num_requests_waiting_by_reason", "reason"), "{{reason}}"),),
        stacked=True,
    ),
    Panel(
        "Preemptions",
        "Requests per second that lose their KV blocks to others.",
        (Query(rate("vllm:num_preemptions_total")),),
        "reqps",
    ),
    Panel(
        "Rejected at the door",
        "Requests per second beyond max-num-queued-reqs or max-num-queued-tokens.",
        (Query(rate("vllm:admission_rejections_total", "reason", MODEL), "{{reason}}"),),
        "reqps",
    ),
    Panel(
        "Preemptions of a request",
        "Mean over requests that end.",
        (Query(mean("vllm:request_num_preemptions")),),
    ),
    Panel(
        "Sleep",
        "Ranks in each state.",
        (Query(level("vllm:engine_sleep_state", "sleep_state"), "{{sleep_state}}"),),
        stacked=True,
    ),
    Panel(
        "Falling asleep and waking",
        "How long it takes, on average. There from the first time on.",
        (Query(mean("vllm:sleep_mode_operation_duration_seconds", "operation", SERVER), "{{operation}}"),),
        "s",
    ),
    Panel(
        "Between asleep and awake",
        "Servers that are at it.",
        (Query(level("vllm:sleep_mode_operations_in_flight", "operation", SERVER), "{{operation}}"),),
    ),
)

SPECULATION: Final = (
    Panel(
        "Guessed tokens",
        "Tokens per second that were guessed ahead and verified, and those of them that were right.",
        (
            Query(rate("vllm:spec_decode_num_draft_tokens_total"), "verified {{model_name}}"),
            Query(rate("vllm:spec_decode_num_accepted_tokens_total"), "right {{model_name}}"),
        ),
    ),
    Panel(
        "Acceptance",
        "The share of guessed tokens that was right.",
        (Query(share("vllm:spec_decode_num_accepted_tokens_total", "vllm:spec_decode_num_draft_tokens_total")),),
        "percentunit",
        most=1,
    ),
    Panel(
        "Acceptance by place",
        "The share of drafts whose first, second and further tokens were right, from 0.",
        (
            Query(
                f"{rate('vllm:spec_decode_num_accepted_tokens_per_pos_total', 'model_name, position')}"
                f" / on (model_name) group_left () {rate('vllm:spec_decode_num_drafts_total')}",
                "{{position}} {{model_name}}",
            ),
        ),
        "percentunit",
        most=1,
    ),
    Panel(
        "Tokens of a draft",
        "How many tokens a step gives a sequence that was guessed for: the right ones, and one more.",
        (Query(f"1 + {share('vllm:spec_decode_num_accepted_tokens_total', 'vllm:spec_decode_num_drafts_total')}"),),
    ),
)
