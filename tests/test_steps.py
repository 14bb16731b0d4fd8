"""What a step computes is counted once."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.steps import StepWork


class StepWorkTests(SynchronousTestCase):
    """Work is a value."""

    def test_tokens(self) -> None:
        """A step computes tokens of prompts, the latest of answers, and those that were guessed."""
        self.assertEqual(512 + 3 + 6, StepWork(prefill_tokens=512, decodes=3, draft_tokens=6, read=9, pairs=99).tokens)
        self.assertEqual(0, StepWork().tokens)
