"""Values of metrics that change with time."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.metricfunctions import FUNCTIONS, MetricFunction, parse_function

NUMBERS = st.floats(0, allow_infinity=False)
VALUES = st.builds(MetricFunction, st.sampled_from(FUNCTIONS), NUMBERS, NUMBERS, st.sampled_from((1e-9, 0.55, 1e6)))


class FunctionTests(SynchronousTestCase):
    """How values follow time."""

    def values(self, text: str, *times: float) -> list[float]:
        """Compute a function's values."""
        function = parse_function(text)
        return [round(function.at(seconds), 9) for seconds in times]

    def test_oscillate(self) -> None:
        """A sine begins in the middle, goes to the end first, and then to the start."""
        self.assertEqual([3, 5, 3, 1, 3, 5], self.values("oscillate:1:5:4s", 0, 1, 2, 3, 4, 5))
        self.assertEqual([3, 1, 5], self.values("oscillate:5:1:4s", 0, 1, 3))

    def test_ramp(self) -> None:
        """A ramp goes to its end evenly, and stays there."""
        self.assertEqual([0, 0.5, 1, 1], self.values("ramp:0:1:700ms", 0, 0.35, 0.7, 100))
        self.assertEqual([8, 4, 0, 0], self.values("ramp:8:0:2s", 0, 1, 2, 9))

    def test_rampreset(self) -> None:
        """A ramp that is reset begins anew after each period."""
        self.assertEqual([1, 0.5, 1, 0.5], self.values("rampreset:1:0:500ms", 0, 0.25, 0.5, 0.75))

    def test_squarewave(self) -> None:
        """A square wave is the start for half a period, then the end."""
        self.assertEqual([10, 10, 15, 15, 10], self.values("squarewave:10:15:2s", 0, 0.999, 1, 1.999, 2))

    @given(VALUES, st.floats(0, 1e12))
    def test_range(self, function: MetricFunction, seconds: float) -> None:
        """No function leaves the range between its start and its end, at any time."""
        low, high = sorted((function.start, function.end))
        self.assertTrue(low <= function.at(seconds) <= high)

    @given(VALUES)
    def test_round_trip(self, function: MetricFunction) -> None:
        """A function is read back as it is written, to the last digit."""
        self.assertEqual(function, parse_function(str(function)))

    def test_written(self) -> None:
        """It is written as short as it can be."""
        self.assertEqual("ramp:0:1.5:100ms", str(parse_function("ramp:0:1.50:0.1s")))

    def test_shortest(self) -> None:
        """A period of no whole nanosecond is none."""
        self.assertIn("above 0", str(self.assertRaises(ValueError, parse_function, "ramp:0:1:0.1ns")))
