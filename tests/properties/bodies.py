"""Requests on every surface, drawn at random: small ones, many of which share the beginnings of their prompts."""

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs
from hypothesis import strategies as st
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from tests.properties.asked import Asked, Surface
from vllmsim.api.frames import frame
from vllmsim.api.inferenceservice.messages import GenerateRequest

_WORDS: Final = "one two three four five six seven eight nine ten eleven twelve"
_SCHEMA: Final = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
_TOOLS: Final = [{"type": "function", "function": {"name": "f", "parameters": _SCHEMA}}]

ids = st.tuples(st.integers(1, 3), st.integers(1, 20)).map(lambda two: list(range(two[0], two[0] + two[1])))
texts = st.integers(1, 12).map(lambda count: " ".join(_WORDS.split()[:count]))
models = st.sampled_from((None, "a", "b", "m", "a", "b", None, "nix"))
limits = st.integers(1, 12)
streams = st.booleans()
_odds: Final[dict[str, st.SearchStrategy[Any]]] = {
    "seed": st.just(3),
    "stop": st.sampled_from((["three"], " ")),
    "ignore_eos": st.just(value=True),
    "min_tokens": st.integers(0, 3),
    "priority": st.integers(-1, 1),
    "cache_salt": st.just("salt"),
    "cache_hit_threshold": st.sampled_from((0.0, 0.5)),
    "request_id": st.sampled_from(("twin", "other")),
}
"""What every surface of vLLM's understands, now and then."""
_transfers = st.sampled_from(
    (
        {"do_remote_decode": True},
        {"do_remote_prefill": True, "remote_num_tokens": 9},
    )
)


def _some(of: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a few members, most often none."""
    one = st.sampled_from(sorted(of)).flatmap(lambda name: st.fixed_dictionaries({name: of[name]}))
    return st.lists(one, max_size=2).map(lambda parts: {name: value for part in parts for name, value in part.items()})


def _json(
    surface: Surface, path: str, body: Mapping[str, Any], choices: int | None, headers: Mapping[str, str]
) -> Asked:
    named = {name: value for name, value in body.items() if value is not None}
    return Asked(
        0,
        surface,
        "POST",
        path,
        json.dumps(named).encode(),
        {"content-type": "application/json", **headers},
        bool(body.get("stream")),
        choices,
    )


_headers: Final[st.SearchStrategy[dict[str, str]]] = st.sampled_from(
    (
        *[{}] * 10,
        {"X-Request-Id": "twin"},
        {"X-Return-Error": "503"},
        {"X-Vllm-Priority": "-3"},
        {"X-Data-Parallel-Rank": "1"},
        {"Authorization": "Bearer key-1"},
        {"Authorization": "Bearer key-2"},
        {"Connection": "close"},
        {"X-Team": "red"},
    )
)
_usage = st.sampled_from((None, {"include_usage": True}, {"include_usage": True, "continuous_usage_stats": True}))


@st.composite
def completions(draw: st.DrawFn) -> Asked:
    """Have prompts completed."""
    prompts: Any = draw(
        st.one_of(ids, texts, st.lists(ids, min_size=1, max_size=3), st.lists(texts, min_size=1, max_size=3))
    )
    count = len(prompts) if isinstance(prompts, list) and not isinstance(prompts[0], int) else 1
    n, stream = draw(st.integers(1, 3)), draw(streams)
    more = draw(
        _some({**_odds, "echo": st.just(value=True), "logprobs": st.integers(0, 2), "kv_transfer_params": _transfers})
    )
    body = {"prompt": prompts, "n": n, "max_tokens": draw(limits), "stream": stream, "model": draw(models), **more}
    if stream:
        body["stream_options"] = draw(_usage)
    return _json("completions", "/v1/completions", body, count * n, draw(_headers))


@st.composite
def chats(draw: st.DrawFn) -> Asked:
    """Have a conversation continued."""
    n, stream = draw(st.integers(1, 3)), draw(streams)
    more = draw(
        _some(
            {
                **_odds,
                "logprobs": st.just(value=True),
                "tools": st.just(_TOOLS),
                "response_format": st.sampled_from(
                    ({"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "s", "schema": _SCHEMA}})
                ),
                "structured_outputs": st.sampled_from(({"choice": ["yes", "no"]}, {"regex": "[a-c]{2,5}"})),
                "kv_transfer_params": _transfers,
            }
        )
    )
    if "tools" in more:
        more["tool_choice"] = draw(st.sampled_from(("auto", "required", "none")))
    messages = [{"role": "user", "content": draw(texts)}]
    body = {"messages": messages, "n": n, "max_tokens": draw(limits), "stream": stream, "model": draw(models), **more}
    if stream:
        body["stream_options"] = draw(_usage)
    return _json("chat", "/v1/chat/completions", body, n, draw(_headers))


@st.composite
def responses(draw: st.DrawFn) -> Asked:
    """Have a response made, perhaps in the background."""
    body = {
        "input": draw(texts),
        "max_output_tokens": draw(limits),
        "stream": draw(streams),
        "background": draw(st.sampled_from((None, None, True))),
        "store": draw(st.sampled_from((None, False, True))),
        "model": draw(models),
        **draw(_some({"priority": _odds["priority"], "request_id": _odds["request_id"]})),
    }
    return _json("responses", "/v1/responses", body, 1, draw(_headers))


@st.composite
def messages(draw: st.DrawFn) -> Asked:
    """Ask in Anthropic's words."""
    said = [{"role": "user", "content": draw(texts)}]
    body = {
        "model": draw(models) or "m",
        "messages": said,
        "max_tokens": draw(limits),
        "stream": draw(streams),
        **draw(
            _some(
                {
                    "stop_sequences": st.just(["three"]),
                    "tools": st.just([{"name": "f", "input_schema": _SCHEMA}]),
                    "kv_transfer_params": _transfers,
                }
            )
        ),
    }
    return _json("messages", "/v1/messages", body, 1, draw(_headers))


@st.composite
def generates(draw: st.DrawFn) -> Asked:
    """Send token ids for token ids."""
    n = draw(st.integers(1, 3))
    sampling = {
        "n": n,
        "max_tokens": draw(limits),
        **draw(_some({"ignore_eos": st.just(value=True), "logprobs": st.integers(0, 1)})),
    }
    body = {
        "token_ids": draw(ids),
        "sampling_params": sampling,
        "stream": draw(streams),
        "model": draw(models),
        **draw(_some({"priority": _odds["priority"], "kv_transfer_params": _transfers, "cache_salt": st.just("salt")})),
    }
    if body["stream"]:
        body["stream_options"] = draw(_usage)
    return _json("generate", "/inference/v1/generate", body, n, draw(_headers))


@st.composite
def pools(draw: st.DrawFn) -> Asked:
    """Have vectors or scores made."""
    path, name = draw(
        st.sampled_from(
            (("/v1/embeddings", "input"), ("/pooling", "input"), ("/classify", "input"), ("/rerank", "documents"))
        )
    )
    body: dict[str, Any] = {name: draw(st.lists(texts, min_size=1, max_size=4)), "model": draw(models)}
    if path == "/rerank":
        body["query"] = "one"
    return _json("pooling", path, body, None, draw(_headers))


@st.composite
def wrongs(draw: st.DrawFn) -> Asked:
    """Ask for what cannot be, or is too much."""
    asked: Asked = draw(right)
    way = draw(st.integers(0, len(_WAYS) + 1))
    assert asked.body is not None
    value = json.loads(asked.body)
    if way < len(_WAYS):
        return attrs.evolve(asked, body=json.dumps({**value, **_WAYS[way]}).encode(), choices=None)
    if way == len(_WAYS):
        return attrs.evolve(asked, body=asked.body[:-3], choices=None)
    return attrs.evolve(asked, path="/v1/nowhere", choices=None)


_WAYS: Final[tuple[dict[str, Any], ...]] = (
    {"max_tokens": 0, "max_output_tokens": 0, "sampling_params": {"max_tokens": 0}, "input": 1},
    {"prompt": [], "messages": [], "token_ids": [], "input": [], "documents": []},
    {"n": 129, "temperature": -1, "model": "nix"},
    {"prompt": [1] * 600, "token_ids": [1] * 600, "input": "word " * 600, "documents": ["word " * 600],
     "messages": [{"role": "user", "content": "word " * 600}]},
    {"n": 100, "sampling_params": {"n": 100}},
)  # fmt: skip
"""What makes a request wrong, or too much."""
_ONE_WRONG_IN: Final = 8

right = st.one_of(completions(), chats(), responses(), messages(), generates(), pools())


def _among(number: int) -> st.SearchStrategy[Asked]:
    return wrongs() if number == _ONE_WRONG_IN - 1 else right


anything = st.integers(0, _ONE_WRONG_IN - 1).flatmap(_among)
_metadata = st.sampled_from(
    ({}, {}, {}, {}, {"x-return-error": "503"}, {"grpc-timeout": "2S"}, {"grpc-timeout": "700m"})
)


def _call(
    surface: Surface, path: str, body: bytes, choices: int | None, metadata: Mapping[str, str], *, streams: bool
) -> Asked:
    headers = {"content-type": "application/grpc", "te": "trailers", **metadata}
    return Asked(0, surface, "POST", path, frame(body), headers, streams, choices)


@st.composite
def engine_calls(draw: st.DrawFn) -> Asked:
    """Call vllm.grpc.engine.VllmEngine."""
    n, stream = draw(st.integers(1, 3)), draw(streams)
    sampling = pb.SamplingParams(n=n, max_tokens=draw(limits), ignore_eos=draw(st.booleans()))
    request = pb.GenerateRequest(
        request_id=draw(st.sampled_from(("", "twin", "call"))),
        tokenized=pb.TokenizedInput(input_ids=draw(ids)),
        sampling_params=sampling,
        stream=stream,
    )
    path = "/vllm.grpc.engine.VllmEngine/Generate"
    return _call("engine", path, request.SerializeToString(), n, draw(_metadata), streams=stream)


@st.composite
def inference_calls(draw: st.DrawFn) -> Asked:
    """Call vllm.Inference."""
    n, stream = draw(st.integers(1, 3)), draw(streams)
    request = GenerateRequest(
        text=draw(texts),
        sampling={"num_sequences": n},
        stopping={"max_new_tokens": draw(limits)},
        priority=draw(st.integers(-1, 1)),
        lora_name=draw(st.sampled_from(("", "a", "b", "nix"))),
        request_id=draw(st.sampled_from(("", "twin", "call"))),
    )
    path = "/vllm.Inference/" + ("GenerateStream" if stream else "Generate")
    return _call("inference", path, request.SerializeToString(), n, draw(_metadata), streams=stream)


calls = st.one_of(engine_calls(), inference_calls())
