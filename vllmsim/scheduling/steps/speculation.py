# -*- test-case-name: tests.scheduling.steps.test_speculation -*-
"""Guesses of a sequence's next tokens, of which chance says how many are right."""

from attrs import frozen

from vllmsim.interfaces import IRankMetrics
from vllmsim.scheduling.steps.computation import Computation
from vllmsim.speculation import Speculation


@frozen(eq=False)
class SpeculativeDecoding:
    """Guesses for all sequences of a rank; see :class:`vllmsim.scheduling.steps.guessing.Guessing`.

    :param metrics: hears of what is verified.
    """

    _speculation: Speculation
    _metrics: IRankMetrics

    def guess(self, _computation: Computation, sequences: int) -> int:
        """Guess as many tokens as ever, though the answer may end before them: who guesses does not know."""
        return self._speculation.guessed(sequences)

    def accept(self, computation: Computation, computed: int) -> int:
        """Draw how many of a sequence's guesses are right; as in vLLM, what was never guessed counts as wrong."""
        assert computation.generator is not None
        accepted = self._speculation.accepted(computation.drafts, computation.generator)
        self._metrics.draft_verified(computed, accepted)
        return accepted
