"""What a scenario is."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.scenario.values import Ramp, Step


class RampTests(SynchronousTestCase):
    """Values that go from one to another."""

    def test_even(self) -> None:
        """A ramp goes evenly from where it begins, and stays where it goes to."""
        ramp = Ramp("x", 1.0, 3.0, 10.0, 14.0)
        self.assertEqual([1.0, 1.0, 1.5, 2.0, 3.0, 3.0], [ramp.value(time, 1.0) for time in (0, 10, 11, 12, 14, 99)])
        self.assertEqual([5.0, 4.0, 3.0], [ramp.value(time, 5.0) for time in (10, 12, 14)])

    def test_whole(self) -> None:
        """One of integers has no fractions on the way."""
        ramp = Ramp("x", 0, 10, 0.0, 4.0, whole=True)
        self.assertEqual([0, 2, 5, 8, 10], [ramp.value(time, 0) for time in range(5)])

    def test_end(self) -> None:
        """A step is at its end when its last ramp is."""
        self.assertEqual(7.0, Step(1, 7.0, {}).end)
        self.assertEqual(9.0, Step(1, 7.0, {}, ramps=(Ramp("x", 0, 1, 7.0, 9.0), Ramp("y", 0, 1, 7.0, 8.0))).end)
