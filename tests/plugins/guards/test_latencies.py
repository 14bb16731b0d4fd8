"""A latency model that comes from a plugin."""

import math
import random
from typing import Any

from zope.interface.verify import verifyObject

from tests.fakes import FixedLatency
from tests.plugins.guards.case import GuardTestCase
from vllmsim.interfaces import ILatencyModel
from vllmsim.plugins.guards.latencies import GuardedLatency

RANDOM = random.Random(1)


class LatencyTests(GuardTestCase):
    """The times that it draws."""

    def guarded(self, seconds: Any) -> GuardedLatency:
        """Put a guard before one that takes some time for everything."""
        made = GuardedLatency(FixedLatency(seconds, [seconds], image=seconds), self.blame)
        self.assertTrue(verifyObject(ILatencyModel, made))
        return made

    def test_times(self) -> None:
        """Times come through, whole numbers too."""
        for seconds in (0.0, 0, 1.5, 1_000_000):
            model = self.guarded(seconds)
            self.assertEqual(seconds, model.time_to_first_token(1, 0, False, 1, RANDOM))
            self.assertEqual(seconds, model.inter_token_latency(1, RANDOM))
            self.assertEqual(seconds, model.image_latency(RANDOM))
            self.assertEqual(not seconds, model.instant)

    def test_nonsense(self) -> None:
        """What no answer can take is a mistake, wherever it is drawn."""
        cases: list[Any] = [-0.1, math.nan, math.inf, 2e6, None, "1", [], 1j]
        for seconds in cases:
            model = self.guarded(seconds)
            text = f"it takes {seconds!r} s, which is not from 0 to 1e+06"
            self.assertBroken(text, model.time_to_first_token, 1, 0, False, 1, RANDOM)
            self.assertBroken(text, model.inter_token_latency, 1, RANDOM)
            self.assertBroken(text, model.image_latency, RANDOM)

    def test_broken(self) -> None:
        """One that raises is told of, in each of its methods."""
        model = GuardedLatency(FixedLatency(gaps=[]), self.blame)
        self.assertBroken("IndexError: list index", model.inter_token_latency, 1, RANDOM)
        none = GuardedLatency(model, self.blame)
        none._model = None  # type: ignore[assignment]
        self.assertBroken("AttributeError: ", none.time_to_first_token, 1, 0, False, 1, RANDOM)
        self.assertBroken("AttributeError: ", none.image_latency, RANDOM)
