# -*- test-case-name: tests.config.test_schema -*-
"""Every option that the program itself has, described once.

:class:`Configuration` is what the program reads. Each of its fields carries the facts of one option; flags, YAML
keys, environment variables, ``--help``, ``--print-config``, the sample file and the documentation's table all come
from them. Flags of ``vllm serve`` that mean nothing here are in :mod:`vllmsim.config.vllm_flags`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import attrs
from attrs import frozen

from vllmsim.config.buckets import parse_buckets, write_buckets
from vllmsim.config.datasets import Dataset, parse_datasets, write_datasets
from vllmsim.config.failurerule import FAILURE_TYPES, FailureRule, write_failure_rules
from vllmsim.config.failurerules import parse_failure_rules
from vllmsim.config.fakemetrics import FakeMetrics, merge_fake_metrics, parse_fake_metrics, write_fake_metrics
from vllmsim.config.kinds import Duration, Flag, Integer, Json, Kind, List, Number, Parsed, Text
from vllmsim.config.lora import LoraModule, parse_lora_module, write_lora_module
from vllmsim.config.option import Option
from vllmsim.config.scenario.file import ScenarioFile, ScenarioPath
from vllmsim.config.transfer import KVTransfer, read_transfer

MOST_MESSAGES: Final = 10**9
"""Longest queue that ZeroMQ can be told of, with room to double it."""
HASH_ALGORITHMS: Final = ("sha256", "sha256_cbor", "xxhash", "xxhash_cbor", "fnv64_cbor")
"""How blocks may be hashed: as vLLM can, and as llm-d-inference-sim does."""


def _parse_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError
    return tuple(value)


_PERCENT: Final = Integer(least=0, most=100)
_TEXTS: Final = Parsed(_parse_texts, list, "a JSON list of texts")


def _option(group: str, kind: Kind, default: Any, help: str, **facts: Any) -> Any:  # noqa: A002
    """Declare a field of :class:`Configuration` with its option's facts."""
    return attrs.field(default=default, metadata={"facts": dict(group=group, kind=kind, help=help, **facts)})


def _latency(help: str, **facts: Any) -> Any:  # noqa: A002
    """Declare a duration that can change live and is zero unless set."""
    return _option("latency", Duration(), 0.0, help, unit="ms", live=True, **facts)


@frozen(kw_only=True)
class Configuration:
    """The effective value of every option that the program itself has. Durations are seconds."""

    # fmt: off
    model: str = _option("server", Text(required=True), "Qwen/Qwen3-0.6B",
        "Name of the simulated model; nothing is loaded from it.", environment="SIM_MODEL")
    served_model_name: tuple[str, ...] = _option("server", List(), (),
        "Names that requests may use for the model, the first of which answers carry; the model's name if none.")
    host: str = _option("server", Text(), "",
        "Address to listen on; all interfaces if empty.")
    port: int = _option("server", Integer(least=1, most=65535), 8000,
        "Port of the first rank; every further rank listens on the next one.")
    uds: str = _option("server", Text(), "",
        "Path of a unix socket to listen on instead of a port.")
    listen: str = _option("server", Text(), "",
        "Twisted endpoint to listen on instead of host and port, with {port} and {rank} filled in for each rank.")
    max_request_body_size_mb: int = _option("server", Integer(least=1, most=512), 4,
        "Largest request body.", unit="MiB", live=True)
    h11_max_incomplete_event_size: int = _option("server", Integer(least=1), 4 * 1024 * 1024,
        "Largest request head, and largest line in it; beyond it the connection is closed.", unit="bytes")
    h11_max_header_count: int = _option("server", Integer(least=1), 256,
        "Most headers of a request.")
    timeout_keep_alive: float = _option("server", Duration(positive=True, unit="s"), 5.0,
        "How long a connection may be idle after a response.", unit="s", environment="VLLM_HTTP_TIMEOUT_KEEP_ALIVE")
    send_timeout: float = _option("server", Duration(unit="s"), 60.0,
        "How long a client may read nothing of what is written to it before it is cut off; 0 for ever.", unit="s")
    startup_duration: float = _option("server", Duration(), 0.0,
        "How long /health/ready answers 503 after the start, as if the model were loading.", unit="ms")
    shutdown_timeout: float = _option("server", Duration(unit="s"), 30.0,
        "How long requests may go on after SIGTERM before they are told that the server stops.", unit="s")
    enable_request_id_headers: bool = _option("server", Flag(), False,
        "Send X-Request-Id with every response: the request's own, or a new one.", live=True)
    server_dev_mode: bool = _option("server", Flag(), True,
        "Serve the routes that vLLM has for development: /pause, /sleep, /abort_requests, /server_info and others.",
        environment="VLLM_SERVER_DEV_MODE")
    enable_scale_out: bool = _option("server", Flag(), True,
        "Open the routes for disaggregated serving; vLLM opens them only when asked to.")
    tokens_only: bool = _option("server", Flag(), False,
        "Open them, and /abort_requests, whatever the two options above say.")
    enable_server_load_tracking: bool = _option("server", Flag(), False,
        "Count requests that are not answered yet for /load, which says 0 otherwise.", live=True)
    profiler_config: Any = _option("server", Json(anything=True), None,
        "Profiler in vLLM's form; with one the server has /start_profile and /stop_profile.")
    enable_tokenizer_info_endpoint: bool = _option("server", Flag(), True,
        "Serve /tokenizer_info; vLLM does only when asked to.")
    allowed_origins: tuple[str, ...] = _option("server", _TEXTS, (),
        'Origins whose pages may call from browsers; ["*"] for all.')
    allowed_methods: tuple[str, ...] = _option("server", _TEXTS, ("*",),
        "Methods that they may use.")
    allowed_headers: tuple[str, ...] = _option("server", _TEXTS, ("*",),
        "Headers that they may send.")
    allow_credentials: bool = _option("server", Flag(), False,
        "Let them send cookies and other credentials.")
    admin_endpoint: str = _option("server", Text(), "",
        "Where the routes for administrators are instead of at each rank's port: a port, or a Twisted endpoint such as"
        " unix:/run/vllmsim.sock; each further rank has the next port, or its number for {rank}.")
    admin_api_key: str = _option("server", Text(), "",
        "Key that they ask for, as Authorization: Bearer KEY; none if empty.",
        environment="VLLMSIM_ADMIN_API_KEY", secret=True)
    config_watch: float = _option("server", Duration(), 0.0,
        "How often to look whether the configuration file has changed, and read it again if so; 0 for never. SIGHUP has"
        " it read at any time.", unit="ms")
    disable_fastapi_docs: bool = _option("server", Flag(), False,
        "Serve neither /openapi.json nor the pages /docs and /redoc that show it.")
    pod_name: str = _option("server", Text(), "",
        "Name reported in x-inference-pod, together with x-inference-port.", environment="POD_NAME")
    pod_namespace: str = _option("server", Text(), "",
        "Namespace reported in x-inference-namespace.", environment="POD_NAMESPACE")
    pod_ip: str = _option("server", Text(), "",
        "Address that names this server in the topic of KV events, and where its KV blocks are fetched.",
        environment="POD_IP")
    enable_responses_store: bool = _option("server", Flag(), False,
        "Keep responses of /v1/responses, so that clients can come back to them, and allow background ones.",
        environment="VLLM_ENABLE_RESPONSES_API_STORE")
    max_stored_responses: int = _option("server", Integer(least=1), 1000,
        "Most responses that are kept; the least recently used go first, and sooner if all together are large.")
    scenario: ScenarioFile | None = _option("server", ScenarioPath(), None,
        "Scenario that begins with the server: what happens to it in the course of time.")
    log_http: bool = _option("server", Flag(), False,
        "Log requests and responses with headers and bodies.", acts=False)

    max_model_len: int = _option("model", Integer(least=1, human=True, automatic=("auto", "-1")), 1024,
        "Context window: the most tokens of a prompt and its answer together.", unit="tokens")
    seed: int | None = _option("model", Integer(), None,
        "Seed of everything random; drawn and logged at the start if not given.")
    max_logprobs: int = _option("model", Integer(least=-1), 20,
        "Most alternatives per token that a request may ask log probabilities for; -1 for any number.")
    stream_interval: int = _option("model", Integer(least=1), 1,
        "Tokens per streamed chunk after the first.", unit="tokens", live=True)
    response_role: str = _option("model", Text(), "assistant",
        "Role that chat answers carry.", live=True)
    return_tokens_as_token_ids: bool = _option("model", Flag(), False,
        "Show tokens as token_id:N in log probabilities.", live=True)
    enable_prompt_tokens_details: bool = _option("model", Flag(), False,
        "Report cached prompt tokens in usage.", live=True)
    enable_force_include_usage: bool = _option("model", Flag(), False,
        "Send usage in every chunk of every stream, whatever the request says.", live=True)
    fingerprint_mode: str = _option("model", Text(choices=("full", "hash", "custom", "none")), "full",
        "What system_fingerprint shows: version and hash, the hash, a value of your own, or nothing.", live=True)
    fingerprint_value: str | None = _option("model", Text(), None,
        "The value for fingerprint-mode custom.", live=True)
    tensor_parallel_size: int = _option("model", Integer(least=0), 1,
        "Simulated tensor-parallel GPUs, which system_fingerprint shows.", aliases=("-tp",))
    pipeline_parallel_size: int = _option("model", Integer(least=1), 1,
        "Simulated pipeline stages, which system_fingerprint shows.", aliases=("-pp",))
    enable_sleep_mode: bool = _option("model", Flag(), False,
        "Let /sleep put the engine to sleep.")
    default_embedding_dimensions: int = _option("model", Integer(least=1, most=65536), 384,
        "Length of an embedding when the request names none.", live=True)
    runner: str = _option("model", Text(choices=("auto", "generate", "pooling", "draft")), "auto",
        "What the server does: generate text, pool (embeddings, classes, scores), or (auto) both; draft is generate.")

    max_num_seqs: int = _option("scheduling", Integer(least=1, most=65536), 5,
        "Most sequences that run at the same time.", live=True)
    scheduling_policy: str = _option("scheduling", Text(choices=("fcfs", "priority")), "fcfs",
        "Which of those that wait is next: the first that came, or the one with the lowest priority.")
    max_waiting_queue_length: int = _option("scheduling", Integer(least=0), 1000,
        "Most sequences that wait for a slot; a request beyond it is answered 429.", live=True)
    max_num_queued_reqs: int | None = _option("scheduling", Integer(least=1, automatic=("none",)), None,
        "Most sequences that wait or run; a request beyond it is answered 503.", live=True)
    max_num_queued_tokens: int | None = _option("scheduling", Integer(least=1, automatic=("none",)), None,
        "Prompt tokens of sequences before their first token; a request that comes on so many is answered 503.",
        unit="tokens", live=True)

    time_to_first_token: float = _latency("Time from the start of a sequence to its first token.")
    time_to_first_token_std_dev: float = _latency("Its standard deviation, at most 30 % of it.")
    inter_token_latency: float = _latency("Time between two tokens.")
    inter_token_latency_std_dev: float = _latency("Its standard deviation, at most 30 % of it.")
    prefill_overhead: float = _latency("Constant part of the prefill, where it is counted per token.")
    prefill_time_per_token: float = _latency("Prefill time of each prompt token that is not cached.")
    prefill_time_std_dev: float = _latency("Standard deviation of the prefill counted per token.")
    kv_cache_transfer_latency: float = _latency(
        "Time to first token of a sequence whose prefill ran on another server.")
    kv_cache_transfer_latency_std_dev: float = _latency("Its standard deviation, at most 30 % of it.")
    kv_cache_transfer_time_per_token: float = _latency("The same, for each prompt token.")
    kv_cache_transfer_time_std_dev: float = _latency("Standard deviation of the transfer counted per token.")
    time_factor_under_load: float = _option("latency", Number(least=1.0), 1.0,
        "How many times longer everything takes when all slots are busy; in between it grows evenly.", live=True)
    latency_calculator: str = _option("latency", Text(choices=("", "constant", "per-token")), "",
        "How the time to first token is found: constant, per-token, or (empty) whichever of them is set.", live=True)

    mode: str = _option("answers", Text(choices=("random", "echo")), "random",
        "What answers say: sentences at random, or the request's own last message.")
    dataset_path: str = _option("answers", Text(), "",
        "SQLite file with answers; sentences are said while it is locked or cannot be read.")
    dataset_url: str = _option("answers", Text(), "",
        "Where to download that file from, before the port opens, if it is not there.")
    dataset_sha256: str = _option("answers", Text(), "",
        "SHA-256 that the download must have, in hexadecimal.")
    dataset_in_memory: bool = _option("answers", Flag(), False,
        "Read the whole file into memory at the start, and look at it no more.")
    dataset_table_name: str = _option("answers", Text(required=True), "llmd",
        "Table with the answers.")
    datasets: Mapping[str, Dataset] | None = _option("answers",
        Parsed(parse_datasets, write_datasets, "a map of model names to paths, or to maps of path, url, sha256,"
               " in-memory and table-name"), None,
        "SQLite files with the answers of single models and adapters; the one above is for all others.")

    reasoning_parser: str = _option("answers", Text(), "",
        "Parser that would tell reasoning from the answer; with one, chat answers begin with reasoning.")
    reasoning_share: int = _option("answers", _PERCENT, 50,
        "How much of an answer is reasoning, where there is any.", unit="%", live=True)

    tokenizer: str = _option("tokenizer", Text(), "",
        "What cuts text into tokens: words, builtin, remote (the render service), a tokenizer.json or its folder, or a"
        " model on the hub, which is downloaded once; if empty, the model's where that is a folder, or words.")
    tokenizer_revision: str | None = _option("tokenizer", Text(), None,
        "Branch, tag or commit of the tokenizer on the hub; main if not given.")
    revision: str | None = _option("tokenizer", Text(), None,
        "Branch, tag or commit of the model on the hub, and of its tokenizer.")
    force_dummy_tokenizer: bool = _option("tokenizer", Flag(), False,
        "Use the word tokenizer, whatever else is said.")
    chat_template: str | None = _option("tokenizer", Text(), None,
        "Chat template in Jinja's language that takes the place of the model's own: a file, or the template itself.")
    chat_template_content_format: str = _option("tokenizer", Text(choices=("auto", "string", "openai")), "auto",
        "How chat templates take what messages say: as one text, as OpenAI's parts, or (auto) as the template looks.")
    trust_request_chat_template: bool = _option("tokenizer", Flag(), False,
        "Let requests bring chat templates.")
    default_chat_template_kwargs: Mapping[str, Any] | None = _option("tokenizer", Json(), None,
        "What chat templates are told by name unless a request says otherwise.")
    tokenizers_cache_dir: str = _option("tokenizer", Text(), "",
        "Directory of downloaded tokenizers, in the hub's layout; if empty, the one that other programs use.")
    hf_token: str | None = _option("tokenizer", Text(), None,
        "Token for the model hub, and for datasets that are there.", environment="HF_TOKEN", secret=True)
    render_url: str = _option("tokenizer", Text(), "http://localhost:8082",
        "Address of a vLLM render service, which tokenizes with tokenizer remote.")
    render_timeout: float = _option("tokenizer", Duration(positive=True), 30.0,
        "How long the render service may take.", unit="ms")
    mm_render_timeout: float = _option("tokenizer", Duration(positive=True), 60.0,
        "How long it may take for prompts with media.", unit="ms")

    max_tool_call_integer_param: int = _option("tools", Integer(), 100,
        "Largest integer argument.", live=True)
    min_tool_call_integer_param: int = _option("tools", Integer(), 0,
        "Smallest integer argument.", live=True)
    max_tool_call_number_param: float = _option("tools", Number(), 100.0,
        "Largest number argument.", live=True)
    min_tool_call_number_param: float = _option("tools", Number(), 0.0,
        "Smallest number argument.", live=True)
    max_tool_call_array_param_length: int = _option("tools", Integer(least=0), 5,
        "Longest array argument.", live=True)
    min_tool_call_array_param_length: int = _option("tools", Integer(least=0), 1,
        "Shortest array argument.", live=True)
    tool_call_not_required_param_probability: int = _option("tools", _PERCENT, 50,
        "How often an argument that is not required is given.", unit="%", live=True)
    object_tool_call_not_required_field_probability: int = _option("tools", _PERCENT, 50,
        "How often an object's field that is not required is given.", unit="%", live=True)
    tool_call_extra_call_probability: int = _option("tools", _PERCENT, 45,
        "How often one more tool is called.", unit="%", live=True)
    enable_auto_tool_choice: bool = _option("tools", Flag(), True,
        "Let the model decide to call tools; vLLM's own default is off.", live=True)
    tool_call_parser: str = _option("tools", Text(), "hermes",
        "Parser that would find calls in the model's text; without one no tool can be called, as in vLLM by default.")
    skip_tool_validation: bool = _option("tools", Flag(), False,
        "Accept tool definitions without checking them.", live=True)

    enable_kvcache: bool = _option("cache", Flag(), False,
        "Simulate the KV cache with its prefix hits and events; so do enable-prefix-caching and a kv-events-config that"
        " enables events, unless this says no.")
    kv_cache_size: int = _option("cache", Integer(least=0), 1024,
        "Blocks in the KV cache, of which no sequence gets the first; max-model-len is cut to what the others hold."
        " If not given, as many more as one sequence of max-model-len takes.",
        unit="blocks")
    num_gpu_blocks_override: int | None = _option("cache", Integer(least=0), None,
        "The same, under vLLM's name, which comes before the other.", unit="blocks")
    block_size: int = _option("cache", Integer(choices=(1, 8, 16, 32, 64, 128, 256)), 16,
        "Tokens per block of the KV cache.", unit="tokens")
    enable_prefix_caching: bool | None = _option("cache", Flag(), None,
        "Find prefixes again that are in the KV cache, which is so unless this says no; then there are no events, and"
        " blocks are just used.")
    prefix_caching_hash_algo: str = _option("cache", Text(choices=HASH_ALGORITHMS), "sha256",
        "How blocks are hashed: as vLLM can, or with fnv64_cbor as llm-d-inference-sim does.")
    hash_seed: str = _option("cache", Text(), "",
        "Seed of the block hashes, a text; without one SHA-256 begins with vLLM's constant, and XXH3 anywhere.",
        environment="PYTHONHASHSEED")
    kv_cache_backend: str = _option("cache", Text(required=True), "memory",
        "Cache behind the KV cache that several servers share: memory for none, or the address of a Redis or Valkey"
        " server, redis://[[user]:password@]host[:port][/database], rediss:// over TLS, or unix:///path?db=database.",
        environment="VLLMSIM_KV_CACHE_BACKEND", secret=True)
    kv_cache_backend_timeout: float = _option("cache", Duration(positive=True), 0.05,
        "How long a request may wait for it before the server goes on with its own cache.", unit="ms")
    kv_cache_backend_ttl: float = _option("cache", Duration(positive=True, unit="s"), 3600.0,
        "How long a block that nobody asks for stays there.", unit="s")
    kv_cache_backend_namespace: str = _option("cache", Text(required=True), "vllmsim",
        "What the names of its keys begin with; servers with other ones share nothing.")
    global_cache_hit_threshold: float = _option("cache", Number(least=0, most=1), 0.0,
        "Share of the prompt that must be in the simulated KV cache for a request to be served here; others are"
        " answered at once with the finish reason cache_threshold.", live=True)
    zmq_endpoint: str = _option("cache", Text(), "tcp://127.0.0.1:5557",
        "Where KV events are published: bound with a *, ::, ipc:// or inproc:// in it, else connected to; each further"
        " rank has the next port, or its number in the place of {rank}. Nowhere if empty.")
    zmq_max_connect_attempts: int = _option("cache", Integer(least=0, most=10), 0,
        "How often to try to reach an endpoint that is connected to, at the start; 0 for ever.")
    kv_events_topic: str = _option("cache", Text(), "kv@{ip}:{port}@{model}",
        "First frame of each message, with the address, the port and the number of the rank for {ip}, {port} and"
        " {rank}, and the model's first name for {model}.")
    event_batch_size: int = _option("cache", Integer(least=1), 16,
        "Most events in a message; with kv-events-config 512.")
    event_flush_interval: float = _option("cache", Duration(), 0.01,
        "How long an event waits for others to fill a message; with 0 those of one turn go together.", unit="ms")
    event_high_water_mark: int = _option("cache", Integer(least=1, most=MOST_MESSAGES), 10_000,
        "Messages that may wait for a subscriber, 64 MiB of them at most; one that is slower loses what comes then.")
    use_vllm_map_event_format: bool = _option("cache", Flag(), False,
        "Write events as maps, as vLLM does since 0.23, not as arrays.")
    kv_events_use_int_block_hashes: bool = _option("cache", Flag(), True,
        "Tell the last 64 bits of block hashes as integers, not whole digests.",
        environment="VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES")
    kv_events_replay_endpoint: str = _option("cache", Text(), "",
        "Where messages can be asked for once more, bound with a port for each rank; nowhere if empty.")
    kv_events_replay_queue_size: int = _option("cache", Integer(least=1, most=MOST_MESSAGES), 1024,
        "How many of the last messages are kept for that, 256 MiB of them at most.")

    enable_lora: bool | None = _option("lora", Flag(), None,
        "Show the metrics of adapters before there are any; adapters are served whatever this says.")
    max_loras: int = _option("lora", Integer(least=1), 1,
        "Adapters that can run at the same time; sequences of others wait.", live=True)
    max_cpu_loras: int | None = _option("lora", Integer(least=0), None,
        "Adapters kept in memory, those that run included; as many as can run if not given or 0.", live=True)
    lora_load_time: float = _option("lora", Duration(), 0.0,
        "How long an adapter takes to come from disk, when it is not in memory.", unit="ms", live=True)
    lora_info_exact: bool = _option("lora", Flag(), False,
        "Name in vllm:lora_requests_info those that run as running and those that wait as waiting; vLLM names all in"
        " both.", live=True)
    lora_verify_paths: bool = _option("lora", Flag(), False,
        "Load adapters at run time only from directories of this server that have an adapter_config.json.", live=True)
    allow_runtime_lora_updating: bool = _option("lora", Flag(), True,
        "Serve the routes that load and unload adapters; vLLM does only when asked to.",
        environment="VLLM_ALLOW_RUNTIME_LORA_UPDATING")
    lora_modules: tuple[LoraModule, ...] = _option("lora",
        List(item=Parsed(parse_lora_module, write_lora_module, "name=path or a map of name and path", plain=True)), (),
        "Adapters that are there from the start.")

    failure_injection_rate: int = _option("failures", _PERCENT, 0,
        "How many requests fail on purpose, by chance.", unit="%", live=True)
    failure_types: tuple[str, ...] = _option("failures", List(item=Text(choices=FAILURE_TYPES)), (),
        "How they fail; in any way if none is named.", live=True)
    failure_rules: tuple[FailureRule, ...] = _option("failures",
        Parsed(parse_failure_rules, write_failure_rules, "a list of maps, each a rule"), (),
        "Which requests fail, when, and how; the first rule that hits a request decides.", live=True)
    return_error_header: bool = _option("failures", Flag(), True,
        "Let requests ask for an error with the header X-Return-Error, which has its status.", live=True)

    kv_cache_metrics: bool = _option("metrics", Flag(), False,
        "Measure how long KV blocks live.")
    kv_cache_metrics_sample: float = _option("metrics", Number(least=0, most=1), 0.01,
        "On which share of blocks.")
    fake_metrics: FakeMetrics | None = _option("metrics",
        Parsed(parse_fake_metrics, write_fake_metrics, "a map of metrics to values", merge=merge_fake_metrics), None,
        "Metric values to show instead of the real ones.", live=True)
    fake_metrics_refresh_interval: float = _option("metrics", Duration(positive=True), 0.1,
        "How often fake values that are functions of time are computed.", unit="ms", live=True)
    disable_log_stats: bool = _option("metrics", Flag(), False,
        "Leave vLLM's metrics out of /metrics, and what the server does out of the log.")
    log_stats_interval: float = _option("metrics", Duration(positive=True, unit="s"), 10.0,
        "How often the log says what the server does.", unit="s", environment="VLLM_LOG_STATS_INTERVAL")
    custom_histogram_buckets: Mapping[str, tuple[float, ...]] | None = _option("metrics",
        Parsed(parse_buckets, write_buckets, "a map of families of histograms to lists of bounds"), None,
        "Bounds of histograms in vLLM's form: request_latency, time_to_first_token, inter_token_latency,"
        " iteration_tokens, request_params_n, request_tokens, kv_cache_residency.")
    api_server_count: int | None = _option("metrics", Integer(least=0), None,
        "API server processes. Here it is one; with more than one in a vLLM, /metrics says neither when counting began"
        " nor what the process takes, and so it is here.", aliases=("-asc",))

    journal_size: int = _option("journal", Integer(least=0, most=10_000), 1000,
        "How many requests that have ended are remembered for /admin/requests; 0 for none at all.", live=True)
    journal_body_bytes: int = _option("journal", Integer(least=0, most=1 << 20), 4096,
        "How much of each request's body is remembered and logged.", unit="bytes", live=True)
    request_log: str = _option("journal", Text(), "",
        "File to which a line of JSON is appended for each request that has ended, of all ranks; none if empty.")

    data_parallel_size: int = _option("parallel", Integer(least=1, most=4096), 1,
        "Ranks, each with a port, a queue, slots and metrics of its own.", aliases=("-dp",))
    data_parallel_internal_lb: bool = _option("parallel", Flag(), False,
        "Have one port for all ranks of this server, and send each request to the rank with the least to do: what vLLM"
        " does unless it is told otherwise.")
    data_parallel_hybrid_lb: bool = _option("parallel", Flag(), False,
        "The same, for the ranks that data-parallel-size-local and data-parallel-start-rank leave to this server.",
        aliases=("-dph",))
    data_parallel_external_lb: bool = _option("parallel", Flag(), False,
        "Be the one rank that data-parallel-rank names, among which something outside balances.", aliases=("-dpe",))
    data_parallel_rank: int = _option("parallel", Integer(least=-1), -1,
        "Be this one rank of several servers; -1 for all ranks in this one.", aliases=("-dpn",))
    data_parallel_size_local: int | None = _option("parallel", Integer(least=0), None,
        "How many of the ranks this server has; all from its first on if not given or 0.", aliases=("-dpl",))
    data_parallel_start_rank: int = _option("parallel", Integer(least=0), 0,
        "The first of them, which has the first port.", aliases=("-dpr",))
    data_parallel_processes: bool = _option("parallel", Flag(), False,
        "Give each rank a process of its own, start one that crashes again, and tell at the supervisor's port"
        " whether all are well.", aliases=("--data-parallel-multi-port-external-lb", "-dpm"))
    data_parallel_supervisor_port: int = _option("parallel", Integer(least=1, most=65535), 9256,
        "Port where, with data-parallel-processes, /health, /ready and /readyz answer 200 while all ranks are well.")
    dp_supervisor_probe_interval_s: float = _option("parallel", Duration(positive=True, unit="s"), 5.0,
        "Time between two looks at the /health of a rank.", unit="s")
    dp_supervisor_probe_timeout_s: float = _option("parallel", Duration(positive=True, unit="s"), 5.0,
        "How long a rank may take to answer.", unit="s")
    dp_supervisor_probe_failure_threshold: int = _option("parallel", Integer(least=1), 3,
        "How often in a row it may give no answer before it counts as not well.")

    language_model_only: bool = _option("media", Flag(), False,
        "Refuse prompts with images, sounds and films, as a text model does.")
    mm_processor_cache_gb: float = _option("media", Number(least=0), 4.0,
        "Cache of processed images, sounds and films, each of which takes 16 MiB; metrics tell what is found in it."
        " None if 0.", unit="GiB")
    omni: bool = _option("media", Flag(), False,
        "Answer with an image too, when a request asks for it or by chance.")
    mm_encoder_only: bool = _option("media", Flag(), False,
        "Be an encoder of media that generates nothing.")
    image_emission_rate: int = _option("media", _PERCENT, 0,
        "How many answers have an image unasked.", unit="%", live=True)
    time_to_generate_image: float = _option("media", Duration(), 0.0,
        "Time that an image takes.", unit="ms", live=True)
    time_to_generate_image_std_dev: float = _option("media", Duration(), 0.0,
        "Its standard deviation, at most 30 % of it.", unit="ms", live=True)

    ssl_certfile: str = _option("tls", Text(), "",
        "PEM file of the certificate; with it the server speaks TLS.")
    ssl_keyfile: str = _option("tls", Text(), "",
        "PEM file of its private key.")
    self_signed_certs: bool = _option("tls", Flag(), False,
        "Speak TLS with a certificate made at the start.", acts=False)

    kv_events_config: Mapping[str, Any] | None = _option("cache", Json(), None,
        "KV events in vLLM's form; where it is given, no other option says where they go.")
    kv_transfer_config: Mapping[str, Any] | None = _option("cache", Json(), None,
        "Transfer of KV blocks between servers, in vLLM's form: kv_connector, kv_role, engine_id and others.")
    kv_bytes_per_token: int = _option("cache", Integer(least=1), 114688,
        "Size of a token's keys and values, which metrics of transfers count; the default is Qwen3-0.6B's.",
        unit="bytes")
    nixl_side_channel_host: str = _option("cache", Text(), "",
        "Host that decode servers are told to fetch KV blocks from; if empty, pod-ip, or localhost.",
        environment="VLLM_NIXL_SIDE_CHANNEL_HOST")
    nixl_side_channel_port: int = _option("cache", Integer(least=1, most=65535), 5600,
        "Port that they are told, of rank 0; every further rank has the next one. Nobody listens there.",
        environment="VLLM_NIXL_SIDE_CHANNEL_PORT")
    nixl_abort_request_timeout: float = _option("cache", Duration(unit="s"), 480.0,
        "How long they are told that blocks are kept for them.", unit="s",
        environment="VLLM_NIXL_ABORT_REQUEST_TIMEOUT")
    # fmt: on

    @property
    def served_names(self) -> tuple[str, ...]:
        """The model's names, at least one."""
        return self.served_model_name or (self.model,)

    @property
    def usual_dataset(self) -> Dataset | None:
        """The dataset of every model that has none of its own, if there is one."""
        dataset = Dataset(
            self.dataset_path, self.dataset_url, self.dataset_sha256, self.dataset_in_memory, self.dataset_table_name
        )
        return dataset if dataset.path else None

    @property
    def model_datasets(self) -> dict[str, Dataset]:
        """The datasets of single models, complete, by the name that answers carry."""
        usual = Dataset("", in_memory=self.dataset_in_memory, table_name=self.dataset_table_name)
        return {
            self.served_names[0] if name in self.served_names else name: dataset.completed(usual)
            for name, dataset in (self.datasets or {}).items()
        }

    @property
    def caches_prefixes(self) -> bool:
        """Whether there is a KV cache in which prefixes are found again."""
        return self.enable_kvcache and self.enable_prefix_caching is not False

    @property
    def kv_transfer(self) -> KVTransfer:
        """How KV blocks are given to other servers, and taken from them."""
        return read_transfer(self.kv_transfer_config)

    @property
    def ranks(self) -> range:
        """The data-parallel ranks of this server, at least one."""
        own, first = self.data_parallel_rank, self.data_parallel_start_rank
        if own >= 0:
            return range(own, own + 1)
        return range(first, first + max(1, self.data_parallel_size_local or self.data_parallel_size - first))

    @property
    def balances(self) -> bool:
        """Whether this server has one port for several ranks, among which it chooses for each request."""
        return (self.data_parallel_internal_lb or self.data_parallel_hybrid_lb) and len(self.ranks) > 1

    @property
    def api_servers(self) -> int:
        """How many processes of a vLLM would take requests: with one port for several ranks, as many as these."""
        count = self.api_server_count
        return (len(self.ranks) if self.balances else 1) if count is None else count

    @property
    def ports(self) -> range:
        """The ports of this server, from that of its first rank on."""
        return range(self.port, self.port + (1 if self.balances else len(self.ranks)))

    def port_of(self, rank: int) -> int:
        """Find the port of a rank: they count up from the first rank of this server, unless all have one."""
        return self.port if self.balances else self.port + rank - self.ranks.start


@cache
def own_options() -> tuple[Option, ...]:
    """List the options that :class:`Configuration` has, in its order."""
    return tuple(_describe(attribute) for attribute in attrs.fields(Configuration))


def _describe(attribute: "attrs.Attribute[Any]") -> Option:
    return Option(name=attribute.name.replace("_", "-"), default=attribute.default, **attribute.metadata["facts"])
