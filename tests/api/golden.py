"""What vLLM 0.33 sent, and what a dialect sends for the same request and the same tokens."""

import json
import re
from pathlib import Path
from typing import Any

from attrs import evolve

from tests.fakes import prefilled
from tests.harness import EPOCH
from vllmsim.api.body import Head
from vllmsim.api.dialect import Dialect, Settings
from vllmsim.inference import Answer, Span, TextPrompt, TokenizedPrompt
from vllmsim.models import ModelCatalogue

FOLDER = Path(__file__).parents[1] / "golden" / "vllm-0.33"
HEAD = Head("application/json")
CHAT_PROMPT = [1, 91, 89, 282, 205, 78, 79, 2, 1, 71, 89, 89, 264, 90, 281, 90]
"""The ids that the recorded server's tokenizer gave the chat prompt."""
EOS = 2
WORDS = {71: "a", 72: "b", 73: "c", 74: "d", 227: " ", EOS: "<|im_end|>"}
"""The recorded model's vocabulary, as far as it was used."""


def recorded(name: str) -> bytes:
    """Read a recording."""
    return FOLDER.joinpath(f"{name}.txt").read_bytes()


def settings(**more: Any) -> Settings:
    """Make the settings of the recorded server."""
    facts: dict[str, Any] = {
        "models": ModelCatalogue("/models/m1", ("m1", "m2")),
        "new_id": lambda: "0123456789abcdef",
        "now": lambda: int(EPOCH),
        "fingerprint": "vllm-0.33.0-88d5fae6",
    }
    return Settings(**(facts | more))


def prompt(ids: list[int], text: str = "", *media: Span) -> TokenizedPrompt:
    """Make a tokenized prompt."""
    return TokenizedPrompt(TextPrompt(text), text, ids, [""] * len(ids), media)


def answer(*ids: int, reason: str = "stop", stop: str | int | None = None, pieces: list[str] | None = None) -> Answer:
    """Make the recorded model's answer from its tokens; the ending one shows no text."""
    texts = [WORDS[token] for token in ids]
    shown = ["" if token == EOS else text for token, text in zip(ids, texts, strict=True)]
    return Answer(ids, texts, pieces or shown, reason, stop)  # type: ignore[arg-type]


def written(
    dialect: Dialect,
    body: dict[str, Any],
    prompts: list[TokenizedPrompt],
    answers: list[Answer],
    cached: int = 0,
    step: int = 1,
) -> bytes:
    """Write a whole answer, or a stream whose choices take turns.

    :param cached: how many tokens of the first prompt were.
    :param step: how many tokens come at a time.
    """
    call, prefill = dialect.parse(json.dumps(body).encode(), HEAD), prefilled(prompts, cached)
    answers = [evolve(each, prefill=prefill) for each in answers]
    if call.stream_encoder is None:
        return call.whole_encoder().body(prompts, prefill, answers)
    encoder = call.stream_encoder()
    parts = [encoder.opening(prompts, prefill)]
    for token in range(0, max(map(len, answers)), step):
        parts += [
            encoder.tokens(i, each, token, min(len(each), token + step))
            for i, each in enumerate(answers)
            if token < len(each)
        ]
    return b"".join([*parts, encoder.closing()])


def normal(data: bytes) -> bytes:
    """Take out what differs from answer to answer: ids, times and log probabilities with their alternatives."""
    data = re.sub(rb'"(chatcmpl|cmpl)-[0-9a-f]{16}"', rb'"\1-ID"', data)
    data = re.sub(rb'"(resp|msg|rs|fc|chatcmpl-tool)([-_])[0-9a-f]{16}"', rb'"\1\2ID"', data)
    data = re.sub(rb'"(created|created_at)":\d+', rb'"\1":0', data)
    data = re.sub(rb'("token":"[^"]*","logprob":)-?[\d.]+', rb"\1 0", data)
    data = re.sub(rb'("top_logprobs":\[\{"token[^]]*?\]\}),\{[^]]*\]\}\]', rb"\1,...]", data)
    data = re.sub(rb'("token_logprobs":\[)[^]]*', rb"\1", data)
    return re.sub(rb'("top_logprobs":\[)\{"[^"]{1,12}":-[^]]*', rb"\1", data)
