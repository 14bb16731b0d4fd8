# -*- test-case-name: tests.config.test_blocks -*-
"""What options of the KV cache come to together.

Some ask for the cache without naming it, vLLM has a name of its own for its size, and the context window must fit: vLLM
does not start when a single sequence of it does not, and llm-d-inference-sim starts and fails later. We start, with the
window that fits, as vLLM does with ``--max-model-len auto``. A size that nobody has said grows with the window.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from vllmsim.config.schema import Configuration

FEWEST_BLOCKS: Final = 2
"""The null block, and one to use."""


def settle(configuration: "Configuration", given: Collection[str]) -> "Configuration":
    """Work out the effective values of options that depend on each other.

    :param configuration: what was given, which may be wrong.
    :param given: the names of options that were given a value.
    """
    c = configuration
    cached = c.enable_kvcache
    if "enable-kvcache" not in given:
        cached = cached or c.steps or bool(c.enable_prefix_caching) or _wants_events(c)
    blocks = c.kv_cache_size if c.num_gpu_blocks_override is None else c.num_gpu_blocks_override
    window = c.max_model_len
    if cached and not {"kv-cache-size", "num-gpu-blocks-override"} & {*given}:
        blocks = max(blocks, _blocks_for(window, c))
    if cached and blocks >= FEWEST_BLOCKS:
        window = min(window, (blocks - 1) * c.block_size)
    return attrs.evolve(c, enable_kvcache=cached, kv_cache_size=blocks, max_model_len=window)


def window_doubt(asked: int, configuration: "Configuration") -> str:
    """Say in a sentence that the context window is smaller than it should be; empty if it is not.

    :param asked: how long it should be, in tokens.
    :param configuration: what has been settled.
    """
    c = configuration
    if c.max_model_len >= asked:
        return ""
    name = "kv-cache-size" if c.num_gpu_blocks_override is None else "num-gpu-blocks-override"
    return (
        f"The context window has {c.max_model_len} tokens and not {asked}, since the KV cache has no more room;"
        f" for all of them it takes {name} {_blocks_for(asked, c)} or more."
    )


def _blocks_for(window: int, c: "Configuration") -> int:
    """Count the blocks that a sequence of the whole context window takes, with the null block."""
    return -(-window // c.block_size) + 1


def _wants_events(c: "Configuration") -> bool:
    return c.kv_events_config is not None and c.kv_events_config.get("enable_kv_cache_events") is True
