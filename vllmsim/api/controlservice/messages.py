# -*- test-case-name: tests.api.controlservice.test_messages -*-
"""The messages of ``vllm.Control``, with which vLLM's front-end in Rust is operated over gRPC.

The numbers of what is told of a server, of its model and of the sources of its KV events are vLLM's. Nothing but their
names is known of the other methods; what these take and give is here what it is over HTTP, numbered in that order.
Chosen as the obvious are too:

- numbers are ``uint32``, blocks ``uint64``, and all else is ``string`` or ``bool``;
- ``parallelism`` is a message, of three sizes and the rank;
- how to pause is an enum, whose 0 is what HTTP does when it is not told.

Left out are ``rl_capabilities`` and the methods that update weights, as no weights are simulated; so those are answered
as what is not implemented. How KV events are written has no version that is known.
"""

from typing import Any, Final

from vllmsim.api.declared import Declared, Enum, Message, Method, Service, declare

CONTROL: Final[Declared] = declare(
    "vllm/control.proto",
    "vllm",
    Enum("PauseMode", "ABORT", "WAIT", "KEEP"),
    Message("GetServerInfoRequest"),
    Message(
        "Parallelism",
        ("uint32", "tensor_parallel_size", 1),
        ("uint32", "pipeline_parallel_size", 2),
        ("uint32", "data_parallel_size", 3),
        ("uint32", "data_parallel_rank", 4),
    ),
    Message(
        "GetServerInfoResponse",
        ("string", "engine_version", 1),
        ("string", "api_version", 2),
        ("string", "instance_id", 3),
        ("Parallelism", "parallelism", 4),
        ("uint32", "max_model_len", 5),
        ("uint32", "kv_block_size", 6),
        ("uint64", "total_kv_blocks", 7),
        ("uint32", "max_running_requests", 8),
        ("uint32", "max_batched_tokens", 9),
        ("uint32", "max_loras", 10),
        ("uint32", "effective_attention_block_size", 14),
    ),
    Message("GetModelInfoRequest"),
    Message(
        "GetModelInfoResponse",
        ("string", "model_id", 1),
        ("string", "served_model_name", 2),
        ("repeated string", "served_model_aliases", 3),
        ("bool", "supports_text_input", 20),
        ("bool", "supports_token_ids_input", 21),
        ("bool", "supports_lora", 22),
        ("bool", "supports_multimodal", 23),
        ("string", "reasoning_parser", 24),
        ("string", "tool_call_parser", 25),
    ),
    Message("ShutdownRequest"),
    Message("ShutdownResponse"),
    Message("AbortRequest", ("repeated string", "request_ids", 1)),
    Message("AbortResponse", ("uint32", "num_aborted", 1)),
    Message("LoadLoraRequest", ("string", "lora_name", 1), ("string", "lora_path", 2), ("bool", "load_inplace", 3)),
    Message("LoadLoraResponse"),
    Message("UnloadLoraRequest", ("string", "lora_name", 1)),
    Message("UnloadLoraResponse"),
    Message("ListLorasRequest"),
    Message(
        "Lora", ("string", "lora_name", 1), ("string", "lora_path", 2), ("uint32", "lora_id", 3), ("string", "base", 4)
    ),
    Message("ListLorasResponse", ("repeated Lora", "loras", 1)),
    Message("GetKvEventSourcesRequest"),
    Message(
        "KvEventSource",
        ("string", "transport", 1),
        ("string", "endpoint", 2),
        ("string", "topic", 3),
        ("string", "replay_endpoint", 4),
        ("uint32", "data_parallel_rank", 5),
        ("string", "encoding", 6),
        ("uint32", "schema_version", 7),
        ("uint32", "buffer_steps", 8),
        ("uint32", "hwm", 9),
        ("uint32", "max_queue_size", 10),
    ),
    Message("GetKvEventSourcesResponse", ("repeated KvEventSource", "sources", 1)),
    Message("PauseGenerationRequest", ("PauseMode", "mode", 1), ("optional bool", "clear_cache", 2)),
    Message("PauseGenerationResponse"),
    Message("ResumeGenerationRequest"),
    Message("ResumeGenerationResponse"),
    Message("IsPausedRequest"),
    Message("IsPausedResponse", ("bool", "is_paused", 1)),
    Message("SleepRequest", ("optional uint32", "level", 1), ("PauseMode", "mode", 2)),
    Message("SleepResponse"),
    Message("WakeUpRequest", ("repeated string", "tags", 1)),
    Message("WakeUpResponse"),
    Message("IsSleepingRequest"),
    Message("IsSleepingResponse", ("bool", "is_sleeping", 1)),
    Service(
        "Control",
        *(
            Method(name, f"{name}Request", f"{name}Response")
            for name in (
                "GetServerInfo",
                "GetModelInfo",
                "Shutdown",
                "Abort",
                "LoadLora",
                "UnloadLora",
                "ListLoras",
                "GetKvEventSources",
                "PauseGeneration",
                "ResumeGeneration",
                "IsPaused",
                "Sleep",
                "WakeUp",
                "IsSleeping",
            )
        ),
    ),
)
"""The file that would have the service."""


def answer_to(method: str, **members: Any) -> Any:
    """Make the message that a method gives.

    :param members: what is in it.
    :raises KeyError: when there is no such method.
    """
    return CONTROL.message(f"{method}Response")(**members)
