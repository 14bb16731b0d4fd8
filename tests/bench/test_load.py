"""The load client's output."""

from twisted.trial.unittest import SynchronousTestCase

from bench.load import Window

_OUTPUT = (
    "nanoseconds 2000000000\ntokens 1000\nanswers 10\nserver_nanoseconds 500000000\nclient_nanoseconds 100000000\n"
)


class WindowTests(SynchronousTestCase):
    """What happened between two points of a run."""

    def test_parse(self) -> None:
        """Every line is a name and a number."""
        self.assertEqual(Window(2_000_000_000, 1000, 10, 500_000_000, 100_000_000), Window.parse(_OUTPUT))

    def test_incomplete(self) -> None:
        """Output that lacks a number is refused by its name."""
        error = self.assertRaises(ValueError, Window.parse, "nanoseconds 1\n")
        self.assertIn("tokens", str(error))

    def test_rates(self) -> None:
        """Rates are by the second, processor time by the token in microseconds, and shares of one core."""
        window = Window.parse(_OUTPUT)
        self.assertEqual(
            (500.0, 5.0, 500.0), (window.tokens_per_second, window.answers_per_second, window.cpu_per_token)
        )
        self.assertEqual((0.25, 0.05), (window.server_share, window.client_share))
