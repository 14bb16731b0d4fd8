# -*- test-case-name: tests.test_shapes -*-
"""What a model and a device are like, in the numbers that decide how long a step takes."""

from attrs import frozen


@frozen(kw_only=True)
class ModelShape:
    """A model, as its config.json and its card describe it.

    :param layers: how many there are.
    :param full_attention_layers: how many of them attend to everything; 0 for all. Of the others, whose window slides
        or who keep a state, it is said that they read nothing.
    :param hidden_size: numbers that stand for a token between layers.
    :param heads: query heads.
    :param kv_heads: heads of keys and values, as many of which are on different devices at most.
    :param head_size: numbers of a head; where those of queries and values differ, their mean.
    :param latent_size: numbers that are cached of a token in a layer, where these are not keys and values; else 0.
    :param parameters: all, in thousands of millions.
    :param active_parameters: those that compute a token, in thousands of millions; 0 for all.
    :param experts: how many experts a token may go to; 1 for a dense model.
    :param experts_per_token: to how many of these it goes.
    :param weight_bytes: bytes of a parameter.
    :param expert_bytes: bytes of a parameter of an expert; 0 if that is the same.
    :param math: ``bf16`` or ``fp8``: what weights are multiplied as.
    """

    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_size: int
    parameters: float
    full_attention_layers: int = 0
    latent_size: int = 0
    active_parameters: float = 0.0
    experts: int = 1
    experts_per_token: int = 1
    weight_bytes: float = 2.0
    expert_bytes: float = 0.0
    math: str = "bf16"

    @property
    def expert_parameters(self) -> float:
        """Parameters of all experts, in thousands of millions: what a token does not use says how many these are."""
        unused = 1.0 - self.experts_per_token / self.experts
        return (self.parameters - (self.active_parameters or self.parameters)) / unused if unused else 0.0

    @property
    def weight_size(self) -> float:
        """Gigabytes of all weights."""
        experts = self.expert_parameters
        return (self.parameters - experts) * self.weight_bytes + experts * (self.expert_bytes or self.weight_bytes)

    @property
    def reading_layers(self) -> int:
        """Layers that attend to everything."""
        return self.full_attention_layers or self.layers

    @property
    def kept_numbers(self) -> int:
        """Numbers of a token that are kept in the KV cache, and read again."""
        return self.reading_layers * (self.latent_size or 2 * self.kv_heads * self.head_size)

    def fault(self) -> str | None:
        """Say in a sentence what cannot be; None when all can."""
        if self.experts_per_token > self.experts:
            return f"experts-per-token, {self.experts_per_token}, is more than experts, which is {self.experts}"
        if self.active_parameters > self.parameters:
            return f"active-parameters, {self.active_parameters:g}, is more than parameters, {self.parameters:g}"
        if self.full_attention_layers > self.layers:
            return f"full-attention-layers, {self.full_attention_layers}, is more than layers, which is {self.layers}"
        if self.expert_parameters > self.parameters:
            return "fewer parameters are active than experts-per-token say"
        return None


@frozen(kw_only=True)
class DeviceShape:
    """A device, as its data sheet describes it.

    :param tflops: million million operations a second in bfloat16, without sparsity.
    :param fp8_tflops: the same in FP8; 0 where that is no faster.
    :param bandwidth: of its memory, in gigabytes a second.
    :param memory: in GiB, which data sheets call GB; 0 where nobody knows.
    :param link: from it to the other devices, in gigabytes a second and one direction.
    """

    tflops: float
    bandwidth: float
    link: float
    fp8_tflops: float = 0.0
    memory: float = 0.0
