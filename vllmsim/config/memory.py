# -*- test-case-name: tests.config.test_memory -*-
"""How many KV blocks a model leaves room for in the memory of its devices, as vLLM finds out when it starts."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from vllmsim.config.blocks import FEWEST_BLOCKS
from vllmsim.config.steptimes import device_of, kv_bytes_of, model_of, step_time_of

if TYPE_CHECKING:
    from vllmsim.config.schema import Configuration

_GIB: Final = 1 << 30
_GIGA: Final = 1e9
OTHERS: Final = 2.0
"""GiB of a device that hold neither weights nor keys and values: what is computed between layers, captured graphs."""
_SIZES: Final = frozenset({"kv-cache-size", "num-gpu-blocks-override"})


def room_for_blocks(configuration: "Configuration", given: Collection[str]) -> int | None:
    """Find out how many blocks there are where nobody says so and a model on devices is simulated.

    :param configuration: what was given, which may be wrong.
    :param given: the names of options that were given a value.
    :return: None where that cannot be known, or there is no room at all.
    """
    blocks = None if _SIZES & {*given} else _blocks(configuration)
    return blocks if blocks is not None and blocks >= FEWEST_BLOCKS else None


def memory_doubt(configuration: "Configuration") -> str:
    """Say in a sentence that a model does not fit into the memory of its devices; empty if it does."""
    blocks, c = _blocks(configuration), configuration
    if blocks is None or blocks >= FEWEST_BLOCKS:
        return ""
    devices = max(1, c.tensor_parallel_size)
    return (
        f"The model's weights leave no memory of {devices} device{'s' * (devices > 1)} for a KV cache: vLLM would not"
        " start without a larger tensor-parallel-size."
    )


def _blocks(c: "Configuration") -> int | None:
    """Count the blocks that there is room for; None where nobody can know."""
    if not c.steps or step_time_of(c) != "roofline":
        return None
    try:
        model, device = model_of(c), device_of(c)
    except ValueError:
        return None
    if not device.memory or model.fault():
        return None
    devices = max(1, c.tensor_parallel_size)
    free = (device.memory * c.gpu_memory_utilization - OTHERS) * _GIB - model.weight_size * _GIGA / devices
    token = model.kept_numbers * kv_bytes_of(c) / min(devices, model.kv_heads)
    return int(free // (token * c.block_size))
