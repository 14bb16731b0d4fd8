"""The pacer on a real reactor."""

import sys
import time
from collections.abc import Callable

from attrs import define, field
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scheduling.alarm import TimerAlarm
from vllmsim.scheduling.pacing import TokenPacer

PATIENCE = 20.0


@define(eq=False)
class Stream:
    """Emits a token at each of its deadlines, and remembers how late."""

    due: float
    left: int
    done: Callable[[], None]
    late: list[float] = field(factory=list)

    def emit(self, _now: float) -> float | None:
        """Emit every token that is due."""
        now = time.monotonic()
        while self.left and self.due <= now:
            self.late.append(now - self.due)
            self.left -= 1
            self.due += 0.005
        if self.left:
            return self.due
        self.done()
        return None

    def fail(self, reason: Failure) -> None:
        """Raise: nothing fails here."""
        reason.raiseException()


class RealPacerTests(SynchronousTestCase):
    """Tokens come at their deadlines by epoll and a timer of the kernel."""

    if not sys.platform.startswith("linux"):
        skip = "Only Linux has epoll."

    def setUp(self) -> None:
        """Make a reactor of our own."""
        from twisted.internet.epollreactor import EPollReactor  # noqa: PLC0415 - there is none elsewhere

        self.reactor = EPollReactor()
        self.reactor.seconds = time.monotonic

    def stream(self, count: int) -> list[Stream]:
        """Run so many streams of twenty tokens to their end."""
        pacer = TokenPacer(self.reactor, lambda: None)
        streams: list[Stream] = []

        def done() -> None:
            if not any(stream.left for stream in streams):
                pacer.stop()
                self.reactor.stop()

        def start() -> None:
            pacer.start()
            for number in range(count):
                streams.append(Stream(time.monotonic() + 0.01 + number * 0.0002, 20, done))
                pacer.add(streams[-1].due, streams[-1])

        self.reactor.callWhenRunning(start)
        self.reactor.callLater(PATIENCE, self.reactor.stop)
        self.reactor.run(installSignalHandlers=False)
        self.assertEqual([], [reader for reader in self.reactor.getReaders() if isinstance(reader, TimerAlarm)])
        return streams

    def test_deadlines(self) -> None:
        """Every token comes, and none before its deadline."""
        streams = self.stream(50)
        self.assertEqual([20] * 50, [len(stream.late) for stream in streams])
        self.assertGreaterEqual(min(min(stream.late) for stream in streams), 0)

    def test_reader_that_breaks(self) -> None:
        """When the reactor gives the timer up since it could not be read, tokens come all the same."""

        def broken(_alarm: TimerAlarm) -> None:
            raise RuntimeError("broken")

        self.patch(TimerAlarm, "doRead", broken)
        streams = self.stream(2)
        self.assertEqual([20, 20], [len(stream.late) for stream in streams])
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
