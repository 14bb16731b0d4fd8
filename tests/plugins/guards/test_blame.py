"""What becomes of mistakes."""

from twisted.internet.defer import CancelledError

from tests.plugins.guards.case import GuardTestCase
from vllmsim.errors import InvalidRequest
from vllmsim.plugins.guards.blame import Nonsense


def fail(error: BaseException) -> None:
    """Raise."""
    raise error


class BlameTests(GuardTestCase):
    """Calls of a plugin."""

    def test_result(self) -> None:
        """What works is as if nobody stood between."""
        self.assertEqual(3, self.blame.call(max, 1, 3))
        self.assertBlamed()

    def test_mistakes(self) -> None:
        """A client learns nothing of a mistake, and the log all: the traceback of each kind once."""
        for error in (ZeroDivisionError("by\n0"), ZeroDivisionError("by\n0"), SystemExit("out")):
            with self.assertRaisesRegex(Exception, "^Internal server error$"):
                self.blame.call(fail, error)
        failures = ["log_failure" in each for each in self.events]
        self.assertEqual([True, False, True], failures)
        self.assertBlamed("ZeroDivisionError: by 0 (", "ZeroDivisionError: by 0 (", "SystemExit: out (")

    def test_many_kinds(self) -> None:
        """Mistakes that are never the same take no memory without end."""
        for number in range(150):
            with self.assertRaises(Exception):  # noqa: B017 - the test above says which
                self.blame.call(fail, KeyError(number))
        self.assertEqual(100, sum("log_failure" in each for each in self.events))
        self.assertEqual(150, len(self.lines()))

    def test_nonsense(self) -> None:
        """What is told of nonsense needs no traceback: it is the guard's own."""
        self.assertBroken("it is late", self.blame.call, fail, Nonsense("it is late"))

    def test_on_purpose(self) -> None:
        """What a client may be told, and that nobody waits any more, is no mistake."""
        for error in (InvalidRequest("no"), CancelledError()):
            with self.assertRaises(type(error)):
                self.blame.call(fail, error)
        self.assertBlamed()
