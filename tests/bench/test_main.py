"""The command line."""

import io
from contextlib import redirect_stderr

from twisted.trial.unittest import SynchronousTestCase

from bench.__main__ import MEASUREMENTS, parse_arguments


class ArgumentsTests(SynchronousTestCase):
    """What may be asked for."""

    def test_everything(self) -> None:
        """Without words everything is measured in the usual way."""
        arguments = parse_arguments([])
        self.assertEqual(
            ([], None, None, False), (arguments.names, arguments.streams, arguments.rounds, arguments.alone)
        )

    def test_some(self) -> None:
        """Names, and numbers of streams, may be several."""
        arguments = parse_arguments(["paced", "burst", "--streams", "64", "512", "--rounds", "1"])
        self.assertEqual((["paced", "burst"], [64, 512], 1), (arguments.names, arguments.streams, arguments.rounds))

    def test_unknown(self) -> None:
        """A name that is none is refused, with those that there are."""
        with redirect_stderr(io.StringIO()) as said:
            self.assertRaises(SystemExit, parse_arguments, ["speed"])
        for name in MEASUREMENTS:
            self.assertIn(name, said.getvalue())
