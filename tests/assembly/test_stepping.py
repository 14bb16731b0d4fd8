"""The engine of a rank that goes in steps, as the configuration asks for it."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.assembly.stepping import step_limits
from vllmsim.scheduling.steps.limits import StepLimits


class StepLimitTests(SynchronousTestCase):
    """Limits are options."""

    def limits(self, words: str) -> StepLimits:
        """Read a command line."""
        return step_limits(load_words(("--scheduling-model", "step", *words.split()), {}).configuration)

    def test_usual(self) -> None:
        """Where nobody says anything they are vLLM's, but for the number of sequences, which is the simulator's."""
        self.assertEqual(StepLimits(5, 2048, 1024), self.limits(""))

    def test_all(self) -> None:
        """Each limit is what its option says."""
        words = (
            "--max-num-seqs 3 --max-num-batched-tokens 400 --max-num-scheduled-tokens 300 --max-model-len 256"
            " --long-prefill-token-threshold 7 --long-prefill-token-threshold-adaptive --no-enable-chunked-prefill"
            " --no-scheduler-reserve-full-isl --watermark 0.1 --kv-cache-size 99 --max-loras 2"
        )
        expected = StepLimits(3, 400, 256, 300, 7, adaptive=True, chunked=False, whole=False, spare=9, adapters=2)
        self.assertEqual(expected, self.limits(words))

    def test_speculation(self) -> None:
        """Guesses take room in blocks and in steps."""
        limits = self.limits('--speculative-config {"method":"draft_model","model":"x","num_speculative_tokens":3}')
        self.assertEqual((3, 3), (limits.lookahead, limits.padding))
