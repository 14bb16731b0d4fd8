# -*- test-case-name: tests.steptime.test_choice -*-
"""Which of our step times a configuration wants, made."""

from typing import Final

from vllmsim.config.schema import Configuration
from vllmsim.config.steptimes import device_of, kv_bytes_of, model_of, step_time_of
from vllmsim.interfaces import IStepTime
from vllmsim.steptime.jitter import JitteredStepTime
from vllmsim.steptime.linear import LinearStepTime
from vllmsim.steptime.profile import ProfiledStepTime
from vllmsim.steptime.roofline import RooflineStepTime

_PERCENT: Final = 100


def make_step_time(configuration: Configuration) -> IStepTime:
    """Make it.

    :param configuration: complete and checked; it names no plugin.
    """
    c = configuration
    usual = _usual(c)
    return JitteredStepTime(usual, c.step_time_jitter / _PERCENT) if c.step_time_jitter else usual


def _usual(c: Configuration) -> IStepTime:
    kind = step_time_of(c)
    if kind == "roofline":
        return RooflineStepTime.of(
            model_of(c),
            device_of(c),
            devices=max(1, c.tensor_parallel_size),
            kv_bytes=kv_bytes_of(c),
            flops_efficiency=c.roofline_flops_efficiency,
            bandwidth_efficiency=c.roofline_bandwidth_efficiency,
            overhead=c.roofline_overhead,
            exchange=c.roofline_exchange,
        )
    if kind == "profile" and c.step_profile is not None:
        return ProfiledStepTime.of((s.prefill_tokens, s.decodes, s.read, s.seconds) for s in c.step_profile.steps)
    return LinearStepTime(
        c.step_time_constant,
        c.step_time_per_prefill_token,
        c.step_time_per_decode_sequence,
        c.step_time_per_cached_token,
    )
