"""Steps that were measured, and those between them."""

import itertools
import random

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.interfaces import IStepTime
from vllmsim.steps import StepWork
from vllmsim.steptime.profile import ProfiledStepTime

MEASURED = [
    (0, 1, 500, 0.007), (0, 8, 4000, 0.0075), (0, 64, 30_000, 0.011), (0, 256, 120_000, 0.024),
    (256, 0, 0, 0.014), (512, 0, 0, 0.02), (2048, 0, 0, 0.071), (8192, 0, 0, 0.3),
    (512, 32, 16_000, 0.026), (2048, 64, 30_000, 0.08),
]  # fmt: skip


def at(made: ProfiledStepTime, prefill: int, decodes: int, read: int, draft: int = 0) -> float:
    """Ask for a step."""
    return made.seconds(StepWork(prefill, decodes, draft, read), random.Random(1))


class ProfileTests(SynchronousTestCase):
    """What is interpolated."""

    def test_measured(self) -> None:
        """A step that was measured takes what it took, and of equal ones the mean."""
        made = ProfiledStepTime.of([*MEASURED, (256, 0, 0, 0.016)])
        self.assertTrue(verifyObject(IStepTime, made))
        for prefill, decodes, read, seconds in MEASURED:
            expected = 0.015 if prefill == 256 else seconds
            self.assertAlmostEqual(expected, at(made, prefill, decodes, read), places=12)

    def test_between(self) -> None:
        """What is between two steps takes something between."""
        made = ProfiledStepTime.of(MEASURED)
        self.assertTrue(0.0075 < at(made, 0, 24, 12_000) < 0.011)
        self.assertTrue(0.02 < at(made, 1024, 0, 0) < 0.071)
        self.assertTrue(0.071 < at(made, 4096, 0, 0) < 0.3)

    def test_sum(self) -> None:
        """Steps that follow a sum are followed everywhere, far from those that were measured too."""
        measured = [(p, d, r, 0.005 + p * 3e-5 + d * 2e-5 + r * 4e-8) for p, d, r, _ in MEASURED]
        made = ProfiledStepTime.of(measured)
        for p, d, r in ((0, 3, 900), (1000, 100, 70_000), (16_384, 512, 400_000)):
            self.assertAlmostEqual(0.005 + p * 3e-5 + d * 2e-5 + r * 4e-8, at(made, p, d, r), places=9)

    def test_draft(self) -> None:
        """Tokens that were guessed count as those of prompts do."""
        made = ProfiledStepTime.of(MEASURED)
        self.assertEqual(at(made, 500, 9, 4000), at(made, 400, 9, 4000, draft=100))

    def test_continuous(self) -> None:
        """No step is much longer than one that hardly differs, whichever of the measured ones are next to it."""
        generator = random.Random(5)
        measured = [
            (generator.randrange(4096), generator.randrange(1, 256), generator.randrange(100_000), generator.random())
            for _ in range(60)
        ]
        made = ProfiledStepTime.of(measured)
        times = [at(made, tokens, 16, 8000) for tokens in range(1000, 3000, 2)]
        self.assertGreater(max(times) - min(times), 0.01)
        self.assertLess(max(abs(a - b) for a, b in itertools.pairwise(times)), 0.002)

    def test_few(self) -> None:
        """One step is enough; what it does not tell, nobody knows."""
        made = ProfiledStepTime.of([(0, 4, 0, 0.01)])
        self.assertAlmostEqual(0.01, at(made, 0, 4, 0))
        self.assertGreater(at(made, 0, 8, 0), 0.0)
        two = ProfiledStepTime.of([(0, 4, 0, 0.01), (0, 8, 0, 0.014)])
        self.assertAlmostEqual(0.012, at(two, 0, 6, 0), places=9)

    def test_never_negative(self) -> None:
        """Whatever was measured, no step takes less than no time."""
        made = ProfiledStepTime.of([(100, 0, 0, 1.0), (200, 0, 0, 0.001), (400, 0, 0, 0.0), (800, 0, 0, 5.0)])
        for tokens in range(1, 2000, 7):
            self.assertGreaterEqual(at(made, tokens, 0, 0), 0.0)
