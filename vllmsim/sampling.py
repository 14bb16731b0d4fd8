# -*- test-case-name: tests.test_inference -*-
"""Sampling parameters: how an answer is to be chosen and where it ends."""

from typing import Final

from attrs import frozen

from vllmsim.errors import InvalidParameter, InvalidRequest

MAX_SEQUENCES: Final = 16384
"""The most choices of one prompt, unless the configuration says otherwise."""
MOST_ALTERNATIVES: Final = 128
"""What "all of the vocabulary" means where the vocabulary has no end."""


def entries(alternatives: int | None) -> int:
    """Tell how many tokens are told for one: itself, and its alternatives.

    :param alternatives: how many are asked for; -1 for all, None without log probabilities.
    """
    if alternatives is None:
        return 1
    return 1 + (MOST_ALTERNATIVES if alternatives < 0 else min(alternatives, MOST_ALTERNATIVES))


@frozen
class Sampling:
    """How an answer is to be chosen and where it ends: vLLM's sampling parameters.

    Fields that a simulator has no use for are kept because their ranges are checked.

    :param max_tokens: the most tokens of one choice, the ending token included; None for all that the context holds.
    :param min_tokens: no choice ends by itself before it has so many tokens.
    :param stop: texts that end a choice when they appear.
    :param stop_token_ids: tokens that end a choice.
    :param ignore_eos: go on after the end-of-sequence token.
    :param logprobs: how many alternatives to report per token; None for no log probabilities, -1 for all.
    :param prompt_logprobs: the same for the prompt's tokens.
    :param logit_bias: the tokens that are to be made more or less likely.
    :param allowed_token_ids: the tokens that may be chosen; None for all.
    """

    n: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    seed: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    logit_bias: tuple[int, ...] = ()
    allowed_token_ids: tuple[int, ...] | None = None

    @property
    def detailed(self) -> bool:
        """Whether the answer shows every token for itself, so that a long one takes long to write."""
        return self.logprobs is not None or self.prompt_logprobs is not None

    def check(self, limit: int, sequences: int = MAX_SEQUENCES) -> None:
        """Check every range, in vLLM's order.

        :param limit: how many tokens a choice may have, as `max_tokens` and the context allow.
        :param sequences: how many choices it may ask for.
        :raises InvalidRequest: for the first field out of range.
        """
        self._check_count(sequences)
        self._check_penalties()
        self._check_distribution()
        if self.min_tokens > limit:
            raise InvalidRequest(f"min_tokens must be less than or equal to max_tokens={limit}, got {self.min_tokens}.")
        if self.min_tokens < 0:
            raise InvalidRequest(f"min_tokens must be greater than or equal to 0, got {self.min_tokens}.")
        if "" in self.stop:
            raise InvalidRequest("stop cannot contain an empty string.")
        if self.temperature == 0 and self.n > 1:
            raise InvalidRequest(f"n must be 1 when using greedy sampling, got {self.n}.")

    def _check_count(self, most: int) -> None:
        if self.n < 1:
            raise InvalidRequest(f"n must be at least 1, got {self.n}.")
        if self.n > most:
            raise InvalidRequest(
                f"n must be at most {most}, got {self.n}. "
                "To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
            )

    def _check_penalties(self) -> None:
        for name in ("presence_penalty", "frequency_penalty"):
            value: float = getattr(self, name)
            if not -2 <= value <= 2:  # noqa: PLR2004 - OpenAI's range
                raise InvalidRequest(f"{name} must be in [-2, 2], got {value}.")
        if not self.repetition_penalty > 0:
            raise InvalidRequest(f"repetition_penalty must be greater than zero, got {self.repetition_penalty}.")

    def _check_distribution(self) -> None:
        temperature, top_p = self.temperature, self.top_p
        if temperature < 0:
            raise InvalidParameter(f"temperature must be non-negative, got {temperature}.", "temperature", temperature)
        if not temperature <= 2:  # noqa: PLR2004 - OpenAI's range
            raise InvalidParameter(f"temperature must be in [0, 2], got {temperature}.", "temperature", temperature)
        if not 0 < top_p <= 1:
            raise InvalidParameter(f"top_p must be in (0, 1], got {top_p}.", "top_p", top_p)
        if self.top_k < -1:
            raise InvalidRequest(f"top_k must be 0 (disable), or at least 1, got {self.top_k}.")
        if not 0 <= self.min_p <= 1:
            raise InvalidRequest(f"min_p must be in [0, 1], got {self.min_p}.")
