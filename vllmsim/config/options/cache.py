# -*- test-case-name: tests.config.test_schema -*-
"""KV blocks, their events, and their way to other servers."""

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from vllmsim.config.kinds import Duration, Flag, Integer, Json, Number, Text
from vllmsim.config.option import option

MOST_MESSAGES: Final = 10**9
"""Longest queue that ZeroMQ can be told of, with room to double it."""
HASH_ALGORITHMS: Final = ("sha256", "sha256_cbor", "xxhash", "xxhash_cbor", "fnv64_cbor")
"""How blocks may be hashed: as vLLM can, and as llm-d-inference-sim does."""


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class CacheOptions:
    """KV blocks, their events, and their way to other servers. Durations are seconds."""

    # fmt: off
    enable_kvcache: bool = option("cache", Flag(), False,
        "Simulate the KV cache with its prefix hits and events; so do enable-prefix-caching and a kv-events-config that"
        " enables events, unless this says no.")
    kv_cache_size: int = option("cache", Integer(least=0), 1024,
        "Blocks in the KV cache, of which no sequence gets the first; max-model-len is cut to what the others hold."
        " If not given, as many more as one sequence of max-model-len takes.",
        unit="blocks")
    num_gpu_blocks_override: int | None = option("cache", Integer(least=0), None,
        "The same, under vLLM's name, which comes before the other.", unit="blocks")
    gpu_memory_utilization: float = option("cache", Number(least=0, most=1), 0.92,
        "Share of a device's memory that is used; what weights leave of it is the size of the KV cache, if that is not"
        " given, with scheduling-model step and step-time roofline.", aliases=("--device-memory-utilization",))
    block_size: int = option("cache", Integer(choices=(1, 8, 16, 32, 64, 128, 256)), 16,
        "Tokens per block of the KV cache.", unit="tokens")
    kv_cache_dtype: str = option("cache", Text(required=True), "auto",
        "Number type of the KV cache, as peers and metrics are told; for step-time roofline a byte if it is fp8.")
    enable_prefix_caching: bool | None = option("cache", Flag(), None,
        "Find prefixes again that are in the KV cache, which is so unless this says no; then there are no events, and"
        " blocks are just used.")
    prefix_caching_hash_algo: str = option("cache", Text(choices=HASH_ALGORITHMS), "sha256",
        "How blocks are hashed: as vLLM can, or with fnv64_cbor as llm-d-inference-sim does.")
    hash_seed: str = option("cache", Text(), "",
        "Seed of the block hashes, a text; without one SHA-256 begins with vLLM's constant, and XXH3 anywhere.",
        environment="PYTHONHASHSEED")
    kv_cache_backend: str = option("cache", Text(required=True), "memory",
        "Cache behind the KV cache that several servers share: memory for none, or the address of a Redis or Valkey"
        " server, redis://[[user]:password@]host[:port][/database], rediss:// over TLS, or unix:///path?db=database.",
        environment="VLLMSIM_KV_CACHE_BACKEND", secret=True)
    kv_cache_backend_timeout: float = option("cache", Duration(positive=True), 0.05,
        "How long a request may wait for it before the server goes on with its own cache.", unit="ms")
    kv_cache_backend_ttl: float = option("cache", Duration(positive=True, unit="s"), 3600.0,
        "How long a block that nobody asks for stays there.", unit="s")
    kv_cache_backend_namespace: str = option("cache", Text(required=True), "vllmsim",
        "What the names of its keys begin with; servers with other ones share nothing.")
    global_cache_hit_threshold: float = option("cache", Number(least=0, most=1), 0.0,
        "Share of the prompt that must be in the simulated KV cache for a request to be served here; others are"
        " answered at once with the finish reason cache_threshold.", live=True)
    zmq_endpoint: str = option("cache", Text(), "tcp://127.0.0.1:5557",
        "Where KV events are published: bound with a *, ::, ipc:// or inproc:// in it, else connected to; each further"
        " rank has the next port, or its number in the place of {rank}. Nowhere if empty.")
    zmq_max_connect_attempts: int = option("cache", Integer(least=0, most=10), 0,
        "How often to try to reach an endpoint that is connected to, at the start; 0 for ever.")
    kv_events_topic: str = option("cache", Text(), "kv@{ip}:{port}@{model}",
        "First frame of each message, with the address, the port and the number of the rank for {ip}, {port} and"
        " {rank}, and the model's first name for {model}.")
    event_batch_size: int = option("cache", Integer(least=1), 16,
        "Most events in a message; with kv-events-config 512.")
    event_flush_interval: float = option("cache", Duration(), 0.01,
        "How long an event waits for others to fill a message; with 0 those of one turn go together.", unit="ms")
    event_high_water_mark: int = option("cache", Integer(least=1, most=MOST_MESSAGES), 10_000,
        "Messages that may wait for a subscriber, 64 MiB of them at most; one that is slower loses what comes then.")
    use_vllm_map_event_format: bool = option("cache", Flag(), False,
        "Write events as maps, as vLLM does since 0.23, not as arrays.")
    kv_events_use_int_block_hashes: bool = option("cache", Flag(), True,
        "Tell the last 64 bits of block hashes as integers, not whole digests.",
        environment="VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES")
    kv_events_replay_endpoint: str = option("cache", Text(), "",
        "Where messages can be asked for once more, bound with a port for each rank; nowhere if empty.")
    kv_events_replay_queue_size: int = option("cache", Integer(least=1, most=MOST_MESSAGES), 1024,
        "How many of the last messages are kept for that, 256 MiB of them at most.")
    kv_events_config: Mapping[str, Any] | None = option("cache", Json(), None,
        "KV events in vLLM's form; where it is given, no other option says where they go.")
    kv_transfer_config: Mapping[str, Any] | None = option("cache", Json(), None,
        "Transfer of KV blocks between servers, in vLLM's form: kv_connector, kv_role, engine_id and others.")
    kv_bytes_per_token: int = option("cache", Integer(least=1), 114688,
        "Size of a token's keys and values, which metrics of transfers count; the default is Qwen3-0.6B's.",
        unit="bytes")
    nixl_side_channel_host: str = option("cache", Text(), "",
        "Host that decode servers are told to fetch KV blocks from; if empty, pod-ip, or localhost.",
        environment="VLLM_NIXL_SIDE_CHANNEL_HOST")
    nixl_side_channel_port: int = option("cache", Integer(least=1, most=65535), 5600,
        "Port that they are told, of rank 0; every further rank has the next one. Nobody listens there.",
        environment="VLLM_NIXL_SIDE_CHANNEL_PORT")
    nixl_abort_request_timeout: float = option("cache", Duration(unit="s"), 480.0,
        "How long they are told that blocks are kept for them.", unit="s",
        environment="VLLM_NIXL_ABORT_REQUEST_TIMEOUT")
    # fmt: on
