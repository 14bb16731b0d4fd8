"""Which step time a configuration wants."""

import random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.interfaces import IStepTime
from vllmsim.steps import StepWork
from vllmsim.steptime.choice import make_step_time
from vllmsim.steptime.jitter import JitteredStepTime
from vllmsim.steptime.linear import LinearStepTime
from vllmsim.steptime.profile import ProfiledStepTime
from vllmsim.steptime.roofline import RooflineStepTime

MEASURED = """--step-profile [{"decodes":1,"time":"3ms"}]"""


class ChoiceTests(SynchronousTestCase):
    """What options make."""

    def made(self, words: str = "") -> IStepTime:
        """Make the one of a command line."""
        return make_step_time(load_words(words.split(), {}).configuration)

    def test_named(self) -> None:
        """The one that is named, or the one that there are options for."""
        kinds: dict[str, type[Any]] = {
            "": LinearStepTime,
            "--step-time-constant 3ms": LinearStepTime,
            "--model-preset phi-4": RooflineStepTime,
            "--model-preset phi-4 --step-time linear": LinearStepTime,
            MEASURED: ProfiledStepTime,
            f"{MEASURED} --model-preset phi-4": ProfiledStepTime,
            f"{MEASURED} --model-preset phi-4 --step-time roofline": RooflineStepTime,
            "--step-time-jitter 10": JitteredStepTime,
        }
        for words, kind in kinds.items():
            self.assertIsInstance(self.made(words), kind, words)

    def test_linear(self) -> None:
        """Every option of the sum counts."""
        words = "--step-time-constant 1s --step-time-per-prefill-token 100ms --step-time-per-decode-sequence 10ms"
        work = StepWork(prefill_tokens=2, decodes=3, read=4)
        seconds = self.made(f"{words} --step-time-per-cached-token 1ms").seconds(work, random.Random(1))
        self.assertAlmostEqual(1.234, seconds)

    def test_roofline(self) -> None:
        """Every option of the roofline counts, and so do how many devices there are and what the cache is made of."""
        work = StepWork(prefill_tokens=300, decodes=9, read=90_000, pairs=10**6)
        usual = self.made("--model-preset llama-3.1-8b").seconds(work, random.Random(1))
        for words, longer in {
            "--device-preset l4": True,
            '--device-shape {"bandwidth":100}': True,
            '--model-shape {"parameters":4}': False,
            "--roofline-flops-efficiency 0.1": True,
            "--roofline-bandwidth-efficiency 0.1": True,
            "--roofline-overhead 9ms": True,
            "-tp 2 --roofline-exchange 9ms": True,
            "-tp 2": False,
            "--kv-cache-dtype fp8": False,
        }.items():
            seconds = self.made(f"--model-preset llama-3.1-8b {words}").seconds(work, random.Random(1))
            self.assertNotEqual(usual, seconds, words)
            self.assertEqual(longer, seconds > usual, words)

    def test_profile(self) -> None:
        """What was measured is taken."""
        self.assertAlmostEqual(0.003, self.made(MEASURED).seconds(StepWork(decodes=1), random.Random(1)))

    def test_jitter(self) -> None:
        """Jitter is a share of the time."""
        words = "--step-time-constant 1s --step-time-jitter 10"
        generator = random.Random(1)
        times = [self.made(words).seconds(StepWork(decodes=1), generator) for _ in range(200)]
        self.assertGreater(max(times) - min(times), 0.3)
        self.assertLess(max(times), 1.6)
