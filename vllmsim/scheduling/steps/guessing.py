# -*- test-case-name: tests.scheduling.steps.test_scheduler -*-
"""What a scheduler must know of speculative decoding, and no more."""

from typing import Protocol

from vllmsim.scheduling.steps.computation import Computation


class Guessing(Protocol):
    """Guesses the next tokens of sequences, and tells which guesses were right."""

    def guess(self, computation: Computation, sequences: int) -> int:
        """Guess behind the last token that a step has given.

        :param sequences: how many were in it.
        :return: how many tokens, to be verified with the next step.
        """

    def accept(self, computation: Computation, computed: int) -> int:
        """Verify what a step has computed behind the last token.

        :param computed: how many tokens, at least one. Of those `drafts` were guessed; a sequence that was just let in
            has others, which are there for the shape of the step alone. The first that is wrong makes all behind it
            wrong.
        :return: how many of them are right.
        """
