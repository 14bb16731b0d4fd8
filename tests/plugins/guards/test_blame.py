"""What becomes of mistakes."""

import contextlib

from twisted.internet.defer import CancelledError, Deferred

from tests.plugins.guards.case import GuardTestCase
from vllmsim.errors import InvalidRequest
from vllmsim.plugins.guards.blame import Nonsense


def fail(error: BaseException) -> None:
    """Raise."""
    raise error


async def fail_later(error: BaseException) -> None:
    """Raise when it is awaited."""
    raise error


async def give_later(value: object) -> object:
    """Give a value when it is awaited."""
    return value


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
        """What a client may be told is no mistake."""
        with self.assertRaises(InvalidRequest):
            self.blame.call(fail, InvalidRequest("no"))
        with self.assertRaises(InvalidRequest):
            self.result(self.blame.wait(fail_later, InvalidRequest("no")))
        self.assertBlamed()

    def test_later(self) -> None:
        """The same holds for what takes time."""
        waiting: Deferred[int] = Deferred()
        result = Deferred.fromCoroutine(self.blame.wait(lambda: waiting))
        self.assertNoResult(result)
        waiting.callback(3)
        self.assertEqual(3, self.successResultOf(result))
        self.assertBroken("KeyError: 1", self.blame.wait, fail_later, KeyError(1))
        self.assertBroken("SystemExit: ", self.blame.wait, fail_later, SystemExit())
        self.assertBroken("TypeError: ", self.blame.wait, int)

    def test_fatal(self) -> None:
        """What is no Exception is a mistake like others, though it would end the program, or whoever waits."""
        for error in (KeyboardInterrupt(), GeneratorExit()):
            kind = type(error).__name__
            self.assertBroken(kind, self.blame.call, fail, error)
            self.assertBroken(kind, self.blame.wait, fail_later, error)
        self.assertBroken("what it gives at last is something to wait for", self.blame.wait, give_later, Deferred())

    def test_speechless(self) -> None:
        """So is one that cannot be told of."""

        class Speechless(Exception):
            def __str__(self) -> str:
                raise KeyboardInterrupt

        self.assertBroken("Speechless: it cannot be told, but raises Keyb", self.blame.call, fail, Speechless())

    def test_cancelling_breaks(self) -> None:
        """One that breaks when it is cancelled is let go like others."""

        def refuse(_: object) -> None:
            raise KeyError("not me")

        waiting: Deferred[None] = Deferred(refuse)
        result = Deferred.fromCoroutine(self.blame.wait(lambda: waiting))
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertBlamed()

    def test_cancelled(self) -> None:
        """When nobody waits any more a plugin hears of it, and need not agree; what it cancels itself is a mistake."""
        heard: list[object] = []
        for waiting in (Deferred[int](heard.append), Deferred[int](), Deferred[int](lambda each: each.callback(1))):
            result = Deferred.fromCoroutine(self.blame.wait(lambda waiting=waiting: waiting))
            result.cancel()
            self.failureResultOf(result, CancelledError)
        self.assertEqual(1, len(heard))

        async def stubborn() -> None:
            with contextlib.suppress(CancelledError):
                await Deferred[None]()
            await later

        later: Deferred[None] = Deferred()
        result = Deferred.fromCoroutine(self.blame.wait(stubborn))
        result.cancel()
        self.failureResultOf(result, CancelledError)
        later.errback(KeyError(1))
        self.assertBlamed()
        self.assertBroken("CancelledError: ", self.blame.wait, fail_later, CancelledError())
        self.assertBroken("CancelledError: ", self.blame.call, fail, CancelledError())
