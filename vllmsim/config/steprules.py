# -*- test-case-name: tests.config.test_rules -*-
"""What the options of engine steps must satisfy together, where there are steps: else some would wait for ever."""

from typing import Final

from vllmsim.config.rankrules import Rule
from vllmsim.config.schema import Configuration

_STEPS: Final = "scheduling-model"
_SPECULATION: Final = ("speculative-config", "spec-method", "spec-model", "spec-tokens")


def _cached(c: Configuration) -> str | None:
    return (
        "step has its blocks from a KV cache, and enable-kvcache says no" if c.steps and not c.enable_kvcache else None
    )


def _batched(c: Configuration) -> str | None:
    most = c.max_num_batched_tokens
    if not c.steps or most is None:
        return None
    if most < c.max_num_seqs:
        return f"{most} tokens are fewer than max-num-seqs, which is {c.max_num_seqs}"
    return _too_short(most, c)


def _scheduled(c: Configuration) -> str | None:
    most = c.max_num_scheduled_tokens
    return None if not c.steps or most is None else _too_short(most, c)


def _speculation(c: Configuration) -> str | None:
    try:
        speculation = c.speculation
    except ValueError as error:
        return str(error)
    if speculation is None or not c.steps:
        return None
    most = min(c.step_tokens, c.batched_tokens - speculation.slots)
    needed = 1 + max(speculation.tokens, speculation.lookahead)
    if most < needed:
        return f"a step has {most} tokens for a sequence, and {needed} are verified together"
    return _too_short(most, c)


def speculation_doubt(configuration: Configuration) -> str:
    """Say in a sentence that nothing is guessed though it seems that it should be; empty if it is as it seems."""
    if configuration.steps or configuration.speculation is None:
        return ""
    return "speculative-config wants tokens guessed ahead, and none are without scheduling-model step."


def _too_short(most: int, c: Configuration) -> str | None:
    if c.chunks_prefills or most >= c.max_model_len:
        return None
    return f"{most} tokens have no room for a prompt of max-model-len, {c.max_model_len}, and none is spread over steps"


_SIZES: Final = (_STEPS, "enable-chunked-prefill", "max-model-len")
STEP_RULES: Final[tuple[Rule, ...]] = (
    ((_STEPS, "enable-kvcache"), _cached),
    (("max-num-batched-tokens", "max-num-seqs", *_SIZES), _batched),
    (("max-num-scheduled-tokens", *_SIZES), _scheduled),
    ((*_SPECULATION, "max-num-batched-tokens", "max-num-scheduled-tokens", *_SIZES), _speculation),
)
