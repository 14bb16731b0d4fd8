# -*- test-case-name: tests.config.test_edits -*-
"""How llm-d-inference-sim words what is wrong with options that change while it runs.

Clients of its ``/admin/config`` may look for these words; ours, which say more, stand beside them.
"""

from collections.abc import Mapping
from typing import Final

from vllmsim.config.failurerule import FAILURE_TYPES

_SPREAD: Final = "{0} standard deviation cannot be more than 30% of {0}"
_PERCENT: Final = "{} should be between 0 and 100"
_ORDER: Final = "Max{0} cannot be less than Min{0}"

VALUES: Final[Mapping[str, str]] = {
    "time-to-first-token": "time to first token cannot be negative",
    "time-to-first-token-std-dev": "time to first token standard deviation cannot be negative",
    "inter-token-latency": "inter token latency cannot be negative",
    "inter-token-latency-std-dev": "inter token latency standard deviation cannot be negative",
    "prefill-overhead": "prefill overhead cannot be negative",
    "prefill-time-per-token": "prefill time per token cannot be negative",
    "prefill-time-std-dev": "prefill time standard deviation cannot be negative",
    "kv-cache-transfer-latency": "kv-cache transfer time cannot be negative",
    "kv-cache-transfer-latency-std-dev": "kv-cache transfer time standard deviation cannot be negative",
    "kv-cache-transfer-time-per-token": "kv-cache transfer time per token cannot be negative",
    "kv-cache-transfer-time-std-dev": "kv-cache transfer time standard deviation cannot be negative",
    "time-to-generate-image": "time to generate image cannot be negative",
    "time-to-generate-image-std-dev": "time to generate image standard deviation cannot be negative",
    "time-factor-under-load": "time factor under load cannot be less than 1.0",
    "latency-calculator": "unknown latency-calculator {value}, supported calculators are: constant and per-token",
    "max-num-seqs": "max num seqs cannot be less than 1",
    "max-waiting-queue-length": "max waiting queue size cannot be less than 0",
    "max-loras": "max LoRAs cannot be less than 1",
    "failure-injection-rate": _PERCENT.format("failure injection rate"),
    "failure-types": f"invalid failure type '{{value}}', valid types are: {', '.join(FAILURE_TYPES)}",
    "image-emission-rate": _PERCENT.format("image emission rate"),
    "tool-call-not-required-param-probability": _PERCENT.format("ToolCallNotRequiredParamProbability"),
    "object-tool-call-not-required-field-probability": _PERCENT.format("ObjectToolCallNotRequiredParamProbability"),
    "tool-call-extra-call-probability": _PERCENT.format("ToolCallExtraCallProbability"),
    "min-tool-call-array-param-length": "MinToolCallArrayParamLength cannot be negative",
    "global-cache-hit-threshold": "global cache hit threshold must be between in range [0, 1]",
    "fake-metrics-refresh-interval": "fake metrics refresh interval must be positive",
}
"""By option, what is wrong with a value that it cannot have; that of a duration is said of negative ones alone."""
RULES: Final[Mapping[str, str]] = {
    "time-to-first-token-std-dev": _SPREAD.format("time to first token"),
    "inter-token-latency-std-dev": _SPREAD.format("inter token latency"),
    "time-to-generate-image-std-dev": _SPREAD.format("time to generate image"),
    "kv-cache-transfer-latency-std-dev": _SPREAD.format("kv-cache transfer"),
    "max-cpu-loras": "max CPU LoRAs cannot be less than max LoRAs",
    "max-tool-call-integer-param": _ORDER.format("ToolCallIntegerParam"),
    "max-tool-call-number-param": _ORDER.format("ToolCallNumberParam"),
    "max-tool-call-array-param-length": _ORDER.format("ToolCallArrayParamLength"),
}
"""By option, what is wrong when it does not go with others."""
NOT_LIVE: Final = "field '{}' is not admin-configurable"
REAL_METRICS: Final = "the simulator is reporting real metrics; fake metrics cannot be updated"
