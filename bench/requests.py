# -*- test-case-name: tests.bench.test_requests -*-
"""The requests that are sent."""

import json
from typing import Final

from vllmsim.api.frames import frame

_QUESTION: Final = "How long does a request take in a server that has no model to wait for?"
SHORT: Final = 16
"""Tokens of an answer that is no stream."""
_PROMPT: Final = 16
"""Tokens of a prompt that is sent as numbers."""


def chat(*, stream: bool, max_tokens: int, question: str = _QUESTION) -> bytes:
    """Write a chat request, its head included.

    :param max_tokens: how many tokens the answer has, neither more nor less.
    """
    messages = [{"role": "user", "content": question}]
    fields = {"stream": stream, "max_tokens": max_tokens, "ignore_eos": True, "messages": messages}
    body = json.dumps(fields, separators=(",", ":")).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


def get(path: str) -> bytes:
    """Write a request for a path."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def generate(*, stream: bool, max_tokens: int) -> bytes:
    """Write a message for vLLM's Generate in its frame: numbers of tokens, as a gateway sends them.

    :param max_tokens: how many tokens the answer has, neither more nor less.
    """
    # Nobody who measures HTTP alone needs the packages.
    from smg_grpc_proto.generated import vllm_engine_pb2 as pb  # noqa: PLC0415

    return frame(
        pb.GenerateRequest(
            tokenized=pb.TokenizedInput(input_ids=range(_PROMPT)),
            sampling_params=pb.SamplingParams(max_tokens=max_tokens, ignore_eos=True),
            stream=stream,
        ).SerializeToString()
    )


NOTHING: Final = frame(b"")
"""A message without fields in its frame, which is what some methods take."""
