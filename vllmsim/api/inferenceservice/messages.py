# -*- test-case-name: tests.api.inferenceservice.test_messages -*-
"""The messages of ``vllm.Inference``, the gRPC service that vLLM's front-end in Rust has beside HTTP.

``Generate`` takes a prompt, as text or as token ids, and gives its answer whole; ``GenerateStream`` gives it in pieces.
What a request does not say is 0, empty or false, and then holds what vLLM takes for usual: a single answer of 20 tokens
at most. ``response`` says what comes back; text does unless that is refused.

The numbers are vLLM's. What is known of the types is which fields tell 0 from nothing, which are messages, and which of
these is a ``Struct``. Chosen here, as the obvious, are:

- counts, token ids and ranks are ``uint32``, log probabilities and what sampling is told ``float``, flags ``bool``;
- a seed is an ``optional uint64``, as 0 is one; a priority is an ``int32``, as it may be below 0;
- ``prompt_candidates`` and ``output_candidates`` are how many candidates are told of each token, and the candidates of
  one token are three lists side by side: ids, log probabilities and ranks;
- what encoders hand over (``ec_transfer_params``) is a ``Struct`` too;
- an item of ``media`` is bytes that nobody here can read;
- the names of messages, and of what the numbers 7 and 8 of a finish leave open.
"""

from typing import Any, Final

from google.protobuf import struct_pb2

from vllmsim.api.declared import Declared, Enum, Message, Method, OneOf, Service, declare

_STRUCT: Final = "google.protobuf.Struct"

INFERENCE: Final[Declared] = declare(
    "vllm/inference.proto",
    "vllm",
    Message("TokenIds", ("repeated uint32", "ids", 1)),
    Message("Choices", ("repeated string", "choices", 1)),
    Message(
        "SamplingOptions",
        ("uint32", "num_sequences", 1),
        ("uint32", "top_k", 2),
        ("float", "top_p", 3),
        ("float", "min_p", 4),
        ("optional uint64", "seed", 5),
    ),
    Message(
        "DecodingOptions",
        ("float", "presence_penalty", 1),
        ("float", "frequency_penalty", 2),
        ("float", "repetition_penalty", 3),
        ("map<uint32, float>", "logit_bias", 4),
        ("repeated uint32", "allowed_token_ids", 5),
        OneOf(
            "constraint",
            ("string", "json", 6),
            ("string", "regex", 7),
            ("Choices", "choice", 8),
            ("string", "grammar", 9),
            ("bool", "json_object", 10),
            ("string", "structural_tag", 11),
        ),
    ),
    Message(
        "StoppingOptions",
        ("uint32", "max_new_tokens", 1),
        ("uint32", "min_new_tokens", 2),
        ("repeated uint32", "stop_token_ids", 3),
        ("repeated string", "stop_strings", 4),
        ("bool", "include_stop_strings", 5),
        ("bool", "ignore_eos", 6),
    ),
    Message(
        "ResponseOptions",
        ("bool", "prompt_token_ids", 1),
        ("bool", "prompt_logprobs", 2),
        ("uint32", "prompt_candidates", 3),
        ("optional bool", "output_text", 4),
        ("bool", "output_token_ids", 5),
        ("bool", "output_logprobs", 6),
        ("uint32", "output_candidates", 7),
        ("optional bool", "skip_special_tokens", 8),
    ),
    Message(
        "KvOptions",
        ("bool", "bypass_prefix_cache", 1),
        ("string", "cache_salt", 2),
        (_STRUCT, "kv_transfer_params", 3),
        (_STRUCT, "ec_transfer_params", 4),
    ),
    Message(
        "GenerateRequest",
        ("string", "request_id", 1),
        ("string", "model", 2),
        OneOf("prompt", ("string", "text", 3), ("TokenIds", "token_ids", 4)),
        ("optional float", "temperature", 5),
        ("SamplingOptions", "sampling", 6),
        ("DecodingOptions", "decoding", 7),
        ("StoppingOptions", "stopping", 8),
        ("ResponseOptions", "response", 9),
        ("KvOptions", "kv", 10),
        ("uint32", "truncate_prompt_tokens", 11),
        ("int32", "priority", 12),
        ("string", "session_id", 13),
        ("repeated bytes", "media", 14),
        ("string", "lora_name", 15),
    ),
    Message(
        "CandidateTokens",
        ("repeated uint32", "token_ids", 1),
        ("repeated float", "logprobs", 2),
        ("repeated uint32", "ranks", 3),
    ),
    Message(
        "PromptInfo",
        ("uint32", "num_prompt_tokens", 1),
        ("repeated uint32", "token_ids", 2),
        ("repeated float", "logprobs", 3),
        ("repeated uint32", "ranks", 4),
        ("repeated CandidateTokens", "candidate_tokens", 5),
    ),
    Message(
        "FinishInfo",
        Enum("FinishReason", "NOT_FINISHED", "LENGTH", "STOP", "ABORTED"),
        ("uint32", "num_output_tokens", 1),
        ("FinishReason", "finish_reason", 2),
        OneOf(
            "stop_reason", ("uint32", "stop_token_id", 3), ("uint32", "eos_token_id", 4), ("string", "stop_string", 5)
        ),
        (_STRUCT, "kv_transfer_params", 6),
        (_STRUCT, "ec_transfer_params", 8),
    ),
    Message(
        "Output",
        ("uint32", "index", 1),
        ("string", "text", 2),
        ("uint32", "num_tokens", 3),
        ("repeated uint32", "token_ids", 4),
        ("repeated float", "logprobs", 5),
        ("repeated uint32", "ranks", 6),
        ("repeated CandidateTokens", "candidate_tokens", 7),
        ("FinishInfo", "finish_info", 8),
    ),
    Message("GenerateResponse", ("PromptInfo", "prompt_info", 1), ("repeated Output", "outputs", 2)),
    Service(
        "Inference",
        Method("Generate", "GenerateRequest", "GenerateResponse"),
        Method("GenerateStream", "GenerateRequest", "GenerateResponse", streams_out=True),
    ),
    imports=[struct_pb2.DESCRIPTOR],
)
"""The file that would have the service."""

GenerateRequest: Final[Any] = INFERENCE.message("GenerateRequest")
"""A prompt, and what its answers are to be like."""
GenerateResponse: Final[Any] = INFERENCE.message("GenerateResponse")
"""Answers, or the next of their tokens; the first has what is to be known of the prompt."""
FinishInfo: Final[Any] = INFERENCE.message("FinishInfo")
"""Why an answer has ended; its class has the reasons, such as ``FinishInfo.LENGTH``."""
