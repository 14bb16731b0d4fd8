"""How faults of a configuration are told."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.problems import Problem


class ProblemTests(SynchronousTestCase):
    """Lines that say what is wrong."""

    def test_long_values(self) -> None:
        """A value that fills pages is told by its beginning, and what is wrong with it is told all the same."""
        told = str(Problem("root-path", f"{'x' * 10_000!r} does not begin with /", "line 1"))
        self.assertLess(len(told), 500)
        self.assertTrue(told.startswith("root-path (line 1): 'xxx"))
        self.assertTrue(told.endswith("xxx' does not begin with /"))

    def test_short_ones(self) -> None:
        """What is short is told whole."""
        self.assertEqual("port (--port): is taken", str(Problem("port", "is taken", "--port")))
