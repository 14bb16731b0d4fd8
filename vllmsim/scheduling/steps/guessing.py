# -*- test-case-name: tests.scheduling.steps.test_scheduler -*-
"""What a scheduler must know of speculative decoding, and no more."""

from typing import Protocol

from vllmsim.scheduling.steps.computation import Computation


class Guessing(Protocol):
    """Guesses the next tokens of sequences, and tells which guesses were right."""

    def guess(self, computation: Computation) -> int:
        """Guess behind the last token that a step has given.

        :return: how many tokens, to be verified with the next step.
        """

    def accept(self, computation: Computation, guesses: int) -> int:
        """Verify some guesses. The first that is wrong makes all behind it wrong.

        :param guesses: how many a step has computed, at least one.
        :return: how many of them are right.
        """
