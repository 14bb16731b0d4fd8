"""JSON bodies that are right and rich: what they are made of, and where they are served."""

from collections.abc import Sequence
from typing import Any, Final

_SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string", "pattern": "[a-z]+"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
}
TALK: Final = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "data:,x"}}],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"city": "x"}'}}],
    },
    {"role": "tool", "tool_call_id": "a", "content": "warm"},
    {"role": "user", "content": "And tomorrow?"},
]
_SAMPLING: Final = {
    "max_tokens": 4,
    "n": 2,
    "seed": 1,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "min_p": 0.1,
    "stop": ["x"],
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "repetition_penalty": 1.1,
    "logit_bias": {"5": 1.5},
    "stop_token_ids": [7],
    "bad_words": ["y"],
    "min_tokens": 1,
    "ignore_eos": False,
    "priority": 1,
    "user": "u",
    "truncate_prompt_tokens": 100,
    "cache_salt": "s",
    "request_id": "r",
    "vllm_xargs": {"a": 1},
    "model": "m",
    "skip_special_tokens": True,
    "allowed_token_ids": [1, 2],
    "kv_transfer_params": {"do_remote_decode": False},
}
_TOOLS: Final = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": _SCHEMA}}]
_CHAT: Final = {
    **_SAMPLING,
    "messages": TALK,
    "tools": _TOOLS,
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "stream": False,
    "logprobs": True,
    "top_logprobs": 2,
    "metadata": {"a": "b"},
    "chat_template_kwargs": {"enable_thinking": True},
    "reasoning_effort": "low",
    "add_generation_prompt": True,
    "echo": False,
    "documents": [{"title": "t"}],
}
_FORM: Final = {"type": "json_schema", "json_schema": {"name": "a", "schema": _SCHEMA, "strict": True}}
_MESSAGES: Final = {
    "model": "m",
    "max_tokens": 4,
    "system": [{"type": "text", "text": "s"}],
    "stop_sequences": ["x"],
    "top_k": 3,
    "tools": [{"name": "f", "description": "d", "input_schema": _SCHEMA}],
    "tool_choice": {"type": "auto"},
    "metadata": {"user_id": "u"},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "temperature": 0.5,
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"city": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "warm"}]},
    ],
}
_RESPONSE: Final = {
    "model": "m",
    "max_output_tokens": 4,
    "instructions": "i",
    "temperature": 0.5,
    "top_logprobs": 1,
    "store": False,
    "text": {"format": {"type": "json_schema", "name": "a", "schema": _SCHEMA}},
    "reasoning": {"effort": "low"},
    "tools": [{"type": "function", "name": "f", "parameters": _SCHEMA}],
    "metadata": {"a": "b"},
    "truncation": "auto",
    "input": [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": "data:,x"}],
        },
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "warm"},
    ],
}
_TEXTS: Final = {"model": "m", "encoding_format": "float", "dimensions": 8, "truncate_prompt_tokens": 9, "user": "u"}
_GENERATED: Final = {
    "request_id": "generate-tokens-1",
    "choices": [{"index": 0, "token_ids": [1, 2], "finish_reason": "stop", "logprobs": None}],
    "prompt_logprobs": None,
    "kv_transfer_params": {"a": 1},
}
RICH: Final[Sequence[tuple[str, Any]]] = (
    *[("/v1/chat/completions", _CHAT)] * 3,
    (
        "/v1/chat/completions",
        {**_CHAT, "stream": True, "stream_options": {"include_usage": True}, "response_format": _FORM},
    ),
    ("/v1/chat/completions", {"messages": TALK, "max_tokens": 9, "structured_outputs": {"regex": "[a-z]{3}"}}),
    ("/v1/chat/completions/batch", {**_CHAT, "messages": [TALK, TALK]}),
    *[("/v1/completions", {**_SAMPLING, "prompt": ["a", "b c"], "echo": True, "suffix": "", "logprobs": 2})] * 2,
    ("/v1/completions", {"prompt": [[1, 2], [3]], "max_tokens": 3, "prompt_logprobs": 1, "stream": True}),
    *[("/v1/messages", _MESSAGES)] * 2,
    ("/v1/messages/count_tokens", _MESSAGES),
    *[("/v1/responses", _RESPONSE)] * 2,
    (
        "/v1/responses",
        {**_RESPONSE, "stream": True, "store": True, "previous_response_id": None, "tool_choice": "auto"},
    ),
    ("/v1/embeddings", {**_TEXTS, "input": ["a", "b"]}),
    (
        "/v2/embed",
        {"model": "m", "texts": ["a"], "embedding_types": ["float", "int8"], "input_type": "query", "truncate": "END"},
    ),
    ("/pooling", {**_TEXTS, "input": "a", "task": "token_embed"}),
    ("/classify", {"model": "m", "input": ["a"], "use_activation": True}),
    ("/score", {"queries": ["a"], "documents": ["b"], "truncate_prompt_tokens": 9}),
    ("/v1/score", {"queries": "a", "documents": [{"content": [{"type": "text", "text": "b"}]}]}),
    ("/rerank", {"query": "a", "documents": ["b", "c"], "top_n": 1}),
    ("/v2/rerank", {"model": "m", "query": "a", "documents": [{"text": "b"}], "top_n": 1}),
    ("/generative_scoring", {"query": "q", "items": ["a", "b"], "label_token_ids": [1, 2], "apply_softmax": True}),
    ("/tokenize", {"prompt": "a b", "add_special_tokens": True, "return_token_strs": True}),
    (
        "/tokenize",
        {"messages": TALK, "tools": _TOOLS, "chat_template_kwargs": {"a": 1}, "continue_final_message": False},
    ),
    ("/detokenize", {"tokens": [1, 2]}),
    ("/inference/v1/generate", {"token_ids": [1, 2], "sampling_params": {**_SAMPLING, "logprobs": 1}, "stream": True}),
    ("/v1/chat/completions/render", _CHAT),
    ("/v1/completions/render", {**_SAMPLING, "prompt": ["a", "b"]}),
    ("/v1/messages/render", _MESSAGES),
    ("/v1/responses/render", _RESPONSE),
    ("/v1/chat/completions/derender", {"generate_response": _GENERATED, "model": "m"}),
    ("/v1/completions/derender", {"generate_responses": [_GENERATED, _GENERATED], "model": "m"}),
    ("/invocations", _CHAT),
    ("/invocations", {"input": ["a"], "model": "m"}),
    ("/v1/load_lora_adapter", {"lora_name": "poet", "lora_path": "/poet", "load_inplace": True}),
    ("/v1/unload_lora_adapter", {"lora_name": "poet", "lora_int_id": 1}),
    ("/adapters", {"name": "painter", "src": "/painter", "preload": True}),
    ("/abort_requests", {"request_ids": ["a"]}),
    ("/inference/v1/abort_requests", {"request_ids": ["a"]}),
    ("/collective_rpc", {"method": "check_health", "args": ["a"], "kwargs": {"a": 1}, "timeout": 1.0}),
    ("/scale_elastic_ep", {"new_data_parallel_size": 1, "drain_timeout": 5}),
    ("/admin/config", {"time-to-first-token": "0s", "max-model-len": 512, "failure-types": ["rate_limit"]}),
    ("/admin/config", {"fake-metrics": {"running-requests": 1}, "tenants": [{"name": "a", "keys": ["k"]}], "seed": 1}),
    (
        "/admin/config",
        {"failure-rules": [{"status": 400, "route": "/none", "first": 1}], "log-level": {"vllmsim": "info"}},
    ),
    ("/fake_metrics", {"running-requests": 3, "kv-cache-usage": 0.3, "ttft-buckets-values": [1, 2], "loras": []}),
    (
        "/admin/scenario",
        {"name": "s", "duration": "1s", "steps": [{"at": "0s", "set": {"inter-token-latency": "1ms"}}]},
    ),
)
"""Paths and bodies that are served there, with most of the members that there are."""
