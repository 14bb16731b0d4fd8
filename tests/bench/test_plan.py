"""Tables."""

from twisted.trial.unittest import SynchronousTestCase

from bench.plan import Result


class ResultTests(SynchronousTestCase):
    """What was found, as text."""

    def test_table(self) -> None:
        """Names are on the left, values on the right, and all lines are as long."""
        table = Result("Speed", ("server", "us"), [["vllmsim", "7"], ["floor", "12.5"]], {}).table()
        expected = ["| server  |   us |", "|---------|-----:|", "| vllmsim |    7 |", "| floor   | 12.5 |"]
        self.assertEqual(expected, table.splitlines())
