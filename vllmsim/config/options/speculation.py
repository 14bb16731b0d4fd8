# -*- test-case-name: tests.config.test_speculation -*-
"""Tokens that are guessed ahead, and verified by the step that follows."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from vllmsim.config.kinds import Integer, Json, Text
from vllmsim.config.option import option
from vllmsim.config.speculation import METHODS, MOST_TOKENS


@frozen(kw_only=True, init=False, eq=False, repr=False, slots=False)
class SpeculationOptions:
    """Tokens that are guessed ahead, and verified by the step that follows."""

    # fmt: off
    speculative_config: Mapping[str, Any] | None = option("steps", Json(), None,
        "Speculative decoding in vLLM's form, with scheduling-model step: method, num_speculative_tokens and"
        " others; and acceptance_rate, how many of the guessed tokens are right.", aliases=("-sc",))
    spec_method: str | None = option("steps", Text(choices=METHODS), None,
        "The method of speculative decoding, if speculative-config does not say it.")
    spec_model: str | None = option("steps", Text(required=True), None,
        "What guesses tokens, if speculative-config does not say it.")
    spec_tokens: int | None = option("steps", Integer(least=1, most=MOST_TOKENS), None,
        "How many tokens are guessed at a time, if speculative-config does not say it.", unit="tokens")
    # fmt: on
