# -*- test-case-name: tests.config.test_schema -*-
"""How long the steps of an engine take that goes in steps."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from vllmsim.config.kinds import Duration, Number
from vllmsim.config.option import option
from vllmsim.config.pluginnames import STEP_TIMES, PluginName
from vllmsim.config.profiles import StepProfile, StepProfileKind
from vllmsim.config.steptimes import DEVICE_PRESET, DEVICE_SHAPE, MODEL_PRESET, MODEL_SHAPE


def _seconds(help: str, default: float = 0.0) -> Any:  # noqa: A002
    """Declare a duration that can change live."""
    return option("step-time", Duration(), default, help, unit="ms", live=True)


def _efficiency(help: str, default: float) -> Any:  # noqa: A002
    """Declare a share of a device's peak that is reached, which can change live."""
    return option("step-time", Number(least=0.01, most=1.0), default, help, live=True)


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class StepTimeOptions:
    """How long the steps of an engine take that goes in steps. Durations are seconds."""

    # fmt: off
    step_time: str = option("step-time", PluginName(STEP_TIMES), "",
        "How long an engine step takes: linear, a sum; roofline, found from model and device; profile, found from steps"
        " that were measured; or a plugin. If empty, whichever of them there are options for, and else linear.",
        live=True)
    step_time_constant: float = _seconds("Time of each step (linear).")
    step_time_per_prefill_token: float = _seconds("Time of each prompt or draft token that a step computes (linear).")
    step_time_per_decode_sequence: float = _seconds("Time of each sequence that computes its latest token (linear).")
    step_time_per_cached_token: float = _seconds("Time of each token in the KV cache that a step reads (linear).")
    step_time_jitter: float = option("step-time", Number(least=0, most=30), 0.0,
        "Standard deviation of a step's time, as a share of it; not of a plugin's.", unit="%", live=True)
    step_profile: StepProfile | None = option("step-time", StepProfileKind(), None,
        "Steps that were measured, from which others are interpolated (profile).", live=True, files=True,
        inline=True)
    model_preset: str = option("step-time", MODEL_PRESET, "",
        "Model whose layers, heads and parameters are known (roofline); if empty, the one that is served, if that is"
        " one of them.", live=True)
    model_shape: Mapping[str, Any] | None = option("step-time", MODEL_SHAPE, None,
        "What is otherwise than in the preset, or all: layers, hidden-size, heads, kv-heads, head-size, parameters in"
        " thousands of millions, and others (roofline).", live=True)
    device_preset: str = option("step-time", DEVICE_PRESET, "h100-sxm",
        "Device whose speed is known (roofline); tensor-parallel-size says how many share the model.", live=True)
    device_shape: Mapping[str, Any] | None = option("step-time", DEVICE_SHAPE, None,
        "What is otherwise than in the preset, or all: tflops, fp8-tflops, and bandwidth and link in GB/s (roofline).",
        live=True)
    roofline_flops_efficiency: float = _efficiency("Share of the device's operations that is reached.", 0.6)
    roofline_bandwidth_efficiency: float = _efficiency("Share of its memory's bandwidth that is reached.", 0.8)
    roofline_overhead: float = _seconds("Time of each step, whatever it computes (roofline).", 1e-3)
    roofline_exchange: float = _seconds("Least time of each of the two exchanges in a layer, where several devices"
        " share a model (roofline).", 10 * 1e-6)
    # fmt: on
