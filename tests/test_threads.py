"""Threads whose functions do not come back."""

from collections.abc import Callable
from queue import Queue
from threading import Event
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.errors import Unavailable
from vllmsim.threads import LAST, LONG, MORE, PATIENCE, PoolThread, Threads

_SOON = 20.0


class Reactor(Clock):
    """A clock with real threads, whose results come when the test takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = ThreadPool(0, 2)
        self.pool.threadFactory = PoolThread
        self.results: Queue[Callable[[], object]] = Queue()

    def getThreadPool(self) -> ThreadPool:
        """Return the pool."""
        return self.pool

    def callFromThread(self, function: Callable[..., object], *arguments: Any) -> None:
        """Keep it for the test."""
        self.results.put(lambda: function(*arguments))


class ThreadsTests(SynchronousTestCase):
    """Who waits for a thread, and who is in one."""

    def setUp(self) -> None:
        """Have two threads."""
        self.reactor = Reactor()
        self.threads = Threads(self.reactor)
        self.release = Event()
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.patch(PoolThread, "_end", None)
        self.reactor.pool.start()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Have all come back."""
        self.release.set()
        if not self.reactor.pool.joined:
            self.reactor.pool.stop()

    def hang(self, count: int = 1) -> list[Deferred[Any]]:
        """Have functions begin that do not come back."""
        begun = [Event() for _ in range(count)]
        hanging = [self.threads.defer(self.wait, each) for each in begun]
        for each in begun:
            self.assertTrue(each.wait(_SOON))
        return hanging

    def wait(self, begun: Event) -> str:
        """Begin, and come back when the test is over."""
        begun.set()
        self.release.wait()
        return "late"

    def pass_by(self, seconds: float) -> None:
        """Let time go by."""
        for _ in range(int(seconds)):
            self.reactor.advance(1)

    def take(self, count: int = 1) -> None:
        """Take results."""
        for _ in range(count):
            self.reactor.results.get(timeout=_SOON)()

    def said(self) -> list[str]:
        """List what was logged here."""
        return [formatEvent(event) for event in self.events if event.get("log_namespace", "").startswith("vllmsim.th")]

    def test_usual(self) -> None:
        """What a function returns and raises comes back, and no timer is left."""
        found = self.threads.defer(max, 3, 4), self.threads.defer(int, "x")
        self.take(2)
        self.assertEqual(4, self.successResultOf(found[0]))
        self.failureResultOf(found[1], ValueError)
        self.assertEqual(([], []), (self.reactor.getDelayedCalls(), self.said()))

    def test_others_go_on(self) -> None:
        """Functions that hang in all threads hold up others for a while only, and one line of the log says which."""
        hanging = self.hang(2)
        waiting = self.threads.defer(max, 3, 4)
        self.pass_by(LONG)
        self.assertNoResult(waiting)
        self.pass_by(2)
        self.take()
        self.assertEqual(4, self.successResultOf(waiting))
        [line] = self.said()
        self.assertIn("tests.test_threads.ThreadsTests.wait. Another thread takes its place", line)
        self.assertEqual(4, self.reactor.pool.max)
        self.release.set()
        self.take(2)
        self.assertEqual(["late", "late"], [self.successResultOf(each) for each in hanging])
        self.assertEqual((2, 2), (self.reactor.pool.max, len(self.said())))
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_too_many(self) -> None:
        """When too many hang, who waits is told in time, and what is cancelled is never called."""
        for _ in range(MORE + 2):
            self.hang(1)
            self.pass_by(LONG + 2)
        called: list[int] = []
        waiting, cancelled = (self.threads.defer(called.append, 1) for _ in range(2))
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.pass_by(PATIENCE)
        self.assertNoResult(waiting)
        self.pass_by(2)
        self.assertEqual(503, self.failureResultOf(waiting, Unavailable).value.status)
        self.stop()
        self.assertEqual([], called)

    def test_much_to_do(self) -> None:
        """Who waits long is told nothing as long as threads begin what others have asked for before."""
        self.hang(1)
        begun, going = [Event() for _ in range(5)], [Event() for _ in range(5)]

        def work(number: int) -> None:
            begun[number].set()
            going[number].wait()

        working = [self.threads.defer(work, number) for number in range(5)]
        waiting = self.threads.defer(max, 3, 4)
        for number in range(5):
            self.assertTrue(begun[number].wait(_SOON))
            self.pass_by(LONG - 1)
            going[number].set()
            self.take()
        self.take()
        self.assertEqual(4, self.successResultOf(waiting))
        self.assertEqual([None] * 5, list(map(self.successResultOf, working)))

    def test_gone(self) -> None:
        """Who waits no more for a function that hangs leaves its place taken until it comes back."""
        [hanging] = self.hang()
        hanging.cancel()
        self.failureResultOf(hanging, CancelledError)
        self.pass_by(LONG + 2)
        self.assertEqual(3, self.reactor.pool.max)
        self.release.set()
        self.take()
        self.pass_by(2)
        self.assertEqual((2, []), (self.reactor.pool.max, self.reactor.getDelayedCalls()))

    def test_end(self) -> None:
        """The end of the process waits for threads, but not for those that hang."""
        self.hang(2)
        ender = PoolThread(target=self.reactor.pool.stop)
        ender.start()
        ender.join(LAST + _SOON)
        self.assertEqual((False, False), (ender.is_alive(), self.release.is_set()))
