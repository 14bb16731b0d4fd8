"""Durations as people write them."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.durations import format_duration, parse_duration


class ParseTests(SynchronousTestCase):
    """Reading."""

    def test_texts(self) -> None:
        """Text has units, several if need be, and may have a sign."""
        expected = {
            "100ms": 0.1, "1.5s": 1.5, "1m40s": 100, "2h0m0s": 7200, "3us": 3e-6, "400µs": 4e-4, "400μs": 4e-4,
            "100ns": 1e-7, "-5ms": -0.005, "+1s": 1, ".5s": 0.5, " 1s ": 1,
        }  # fmt: skip
        for text, seconds in expected.items():
            self.assertAlmostEqual(seconds, parse_duration(text), places=12, msg=text)

    def test_numbers(self) -> None:
        """A bare number counts milliseconds, or what the caller says."""
        self.assertEqual([0.25, 0.25, 0.0015, 0.0], [parse_duration(v) for v in (250, "250", 1.5, "0")])
        self.assertEqual(30.0, parse_duration("30", 1.0))

    def test_wrong(self) -> None:
        """Anything else is an error that says what is allowed."""
        texts = ["", "x", "5 parsecs", "1s x", "s", "-", "1ss2", "1e400s", "nan"]
        values: list[object] = [*texts, True, None, [], float("inf")]
        for value in values:
            error = self.assertRaises(ValueError, parse_duration, value)
            self.assertIn("100ms", str(error))


class FormatTests(SynchronousTestCase):
    """Writing."""

    def test_units(self) -> None:
        """The largest unit that keeps the number at 1 or more is used."""
        expected = {0: "0s", 0.1: "100ms", 1.5: "1.5s", 3e-6: "3us", 1e-7: "100ns", 100: "100s", -0.25: "-250ms"}
        self.assertEqual(list(expected.values()), list(map(format_duration, expected)))

    @given(st.integers(0, 10**14))
    def test_round_trip(self, nanoseconds: int) -> None:
        """Any whole number of nanoseconds is read back as it was."""
        seconds = nanoseconds / 1e9
        self.assertAlmostEqual(seconds, parse_duration(format_duration(seconds)), places=9)
