"""A sequence as the scheduler knows it."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.inference import Adapter, HashedPrompt
from vllmsim.scheduling.steps.computation import Computation


class ComputationTests(SynchronousTestCase):
    """What there is of it."""

    def test_tokens(self) -> None:
        """Its tokens are those of the prompt, and then those of the answer, whose last one ends it."""
        computation = Computation(HashedPrompt(range(3)))
        self.assertEqual((3, 0, False), (computation.tokens, computation.generated, computation.finished))
        computation.answer = [7, 8]
        computation.tokens += 1
        self.assertEqual((1, False), (computation.generated, computation.finished))
        computation.tokens += 1
        self.assertEqual((2, True), (computation.generated, computation.finished))

    def test_adapter(self) -> None:
        """It needs the adapter that its prompt was hashed with, unless it is told of another."""
        adapter, other = Adapter("a", "", "", 1), Adapter("b", "", "", 2)
        self.assertIs(adapter, Computation(HashedPrompt(range(3), adapter=adapter)).adapter)
        self.assertIs(other, Computation(HashedPrompt(range(3)), adapter=other).adapter)
        self.assertIsNone(Computation(HashedPrompt(range(3))).adapter)
