# -*- test-case-name: tests.config.test_schema -*-
"""What the steps of an engine are made of, for who has one: vLLM's options for its scheduler, under its names."""

from typing import Final

from attrs import frozen

from vllmsim.config.kinds import Flag, Integer, Number, Text
from vllmsim.config.option import option

MODELS: Final = ("per-request", "step")
"""What decides when tokens leave: a time for each request, or the steps of an engine that batches."""
USUAL_STEP_TOKENS: Final = 2048
"""The most tokens of a step where nobody says, as in a vLLM whose GPU is not large."""


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class StepOptions:
    """What the steps of an engine are made of."""

    # fmt: off
    scheduling_model: str = option("steps", Text(choices=MODELS), MODELS[0],
        "What decides when tokens leave: per-request draws times for each sequence alone; step runs vLLM's scheduler,"
        " where what is computed together takes its time together, out of a KV cache that is always simulated then.")
    max_num_batched_tokens: int | None = option("steps", Integer(least=1, human=True), None,
        "Most tokens that a step computes; if nobody says, 2048, or max-num-seqs if that is more, or max-model-len"
        " where prompts are computed whole.", unit="tokens", live=True)
    max_num_scheduled_tokens: int | None = option("steps", Integer(least=1), None,
        "Most tokens that a step is given to compute, if that is fewer.", unit="tokens", live=True)
    long_prefill_token_threshold: int = option("steps", Integer(least=0), 0,
        "Most tokens of one sequence that a step computes; 0 for any number.", unit="tokens", live=True)
    long_prefill_token_threshold_adaptive: bool = option("steps", Flag(), False,
        "Let that be at least an even share of a step's tokens.")
    enable_chunked_prefill: bool | None = option("steps", Flag(), None,
        "Spread a prompt over steps, which is so unless this says no; then a sequence waits for a step that has room"
        " for all of its prompt.")
    scheduler_reserve_full_isl: bool = option("steps", Flag(), True,
        "Let a sequence run when there are blocks for all of its prompt, not just for what its first step computes.")
    watermark: float = option("steps", Number(least=0, most=1), 0.0,
        "Share of the KV cache's blocks that must be left free when a sequence begins to run while others do.")
    # fmt: on
