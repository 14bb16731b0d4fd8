# -*- test-case-name: tests.steptime.test_roofline -*-
"""How long a step takes on a device, from what it computes and what it reads: the longer of both counts.

With T tokens in the step, R tokens whose keys and values are read, and Q pairs of a token and one that it attends to:

==========  ==============================================  ============================================================
part        computes                                        reads
==========  ==============================================  ============================================================
weights     2 T active parameters                           all weights but those of experts to whom no token goes:
                                                            of E experts, k for each token, E (1 - (1 - k/E) ** T)
attention   4 Q heads head size layers                      R layers (2 kv heads head size, or the latent size) bytes
exchange    nothing                                         2 layers times a constant, and T hidden size 2 bytes, of
                                                            which 2 (n - 1)/n goes over the link
==========  ==============================================  ============================================================

The time is the sum of the parts and an overhead. Devices that share a model divide work and reading evenly; keys and
values among as many as there are heads of them. Peaks are not reached: both have an efficiency.
"""

import random
from typing import Final

from attrs import frozen
from zope.interface import implementer

from vllmsim.interfaces import IStepTime
from vllmsim.shapes import DeviceShape, ModelShape
from vllmsim.steps import StepWork

_TERA: Final = 1e12
_GIGA: Final = 1e9
_ACTIVATION_BYTES: Final = 2


@implementer(IStepTime)
@frozen(kw_only=True)
class RooflineStepTime:
    """The time of one model on its devices; all parameters but one are seconds.

    :param fixed: of each step.
    :param per_token: to compute a token.
    :param weights: to read those that each token needs.
    :param experts: to read all experts.
    :param miss: the chance that a token goes past an expert.
    :param per_pair: to compute the attention of a token to one.
    :param per_read: to read the keys and values of a token.
    :param per_exchange: to tell all devices of a token.
    """

    fixed: float
    per_token: float
    weights: float
    experts: float
    miss: float
    per_pair: float
    per_read: float
    per_exchange: float

    @classmethod
    def of(
        cls,
        model: ModelShape,
        device: DeviceShape,
        *,
        devices: int = 1,
        kv_bytes: float = 2.0,
        flops_efficiency: float,
        bandwidth_efficiency: float,
        overhead: float,
        exchange: float,
    ) -> "RooflineStepTime":
        """Work out the times.

        :param devices: how many share the model (tensor parallelism), at least one.
        :param kv_bytes: bytes of a number in the KV cache.
        :param flops_efficiency: the share of the device's operations that is reached, above 0.
        :param bandwidth_efficiency: the share of its memory's bandwidth that is reached, above 0.
        :param overhead: seconds of a step, whatever it computes.
        :param exchange: seconds that an exchange among several devices takes at least; there are two in each layer.
        """
        m = model
        flops = device.tflops * _TERA * flops_efficiency * devices
        weight_flops = flops * (device.fp8_tflops / device.tflops if m.math == "fp8" and device.fp8_tflops else 1.0)
        bandwidth = device.bandwidth * _GIGA * bandwidth_efficiency
        everyones = m.parameters - m.expert_parameters
        sent = 2 * m.layers * m.hidden_size * _ACTIVATION_BYTES * 2 * (devices - 1) / devices
        return cls(
            fixed=overhead + (2 * m.layers * exchange if devices > 1 else 0.0),
            per_token=2 * (m.active_parameters or m.parameters) * _GIGA / weight_flops,
            weights=everyones * _GIGA * m.weight_bytes / (bandwidth * devices),
            experts=m.expert_parameters * _GIGA * (m.expert_bytes or m.weight_bytes) / (bandwidth * devices),
            miss=1.0 - m.experts_per_token / m.experts,
            per_pair=4 * m.heads * m.head_size * m.reading_layers / flops,
            per_read=m.kept_numbers * kv_bytes / (bandwidth * min(devices, m.kv_heads)),
            per_exchange=sent / (device.link * _GIGA),
        )

    def seconds(self, work: StepWork, generator: random.Random) -> float:
        """Add up its parts; see :class:`vllmsim.interfaces.IStepTime`."""
        tokens = work.tokens
        return (
            self.fixed
            + max(tokens * self.per_token, self.weights + self.experts * (1.0 - self.miss**tokens))
            + max(work.pairs * self.per_pair, work.read * self.per_read)
            + tokens * self.per_exchange
        )
