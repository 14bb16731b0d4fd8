"""Signals."""

import signal

from twisted.internet.error import ReactorNotRunning
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.stopping import SignalService


class Reactor(MemoryReactor):
    """A reactor that remembers that it was stopped."""

    stopped = 0
    from_thread = 0

    def callFromThread(self, function: object, *arguments: object) -> None:
        """Call at once, and count: a signal may come at any time, also while the reactor waits."""
        self.from_thread += 1
        assert callable(function)
        function(*arguments)

    def stop(self) -> None:
        """Remember."""
        self.stopped += 1


class SignalTests(SynchronousTestCase):
    """Who stops the daemon, and how."""

    def setUp(self) -> None:
        """Keep the handlers of the test's own process."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def test_signals(self) -> None:
        """The first signal stops the reactor, the second ends the process with status 1."""
        reactor = Reactor()
        left: list[int] = []
        service = SignalService(reactor, left.append)
        service.startService()
        before = signal.getsignal(signal.SIGTERM)
        reactor.run()
        reactor.stopped = 0
        handler = signal.getsignal(signal.SIGTERM)
        self.assertNotEqual(before, handler)
        assert callable(handler)
        handler(signal.SIGTERM, None)
        self.assertEqual([], left)
        handler(signal.SIGINT, None)
        self.assertEqual([1], left)
        self.assertEqual((1, 1), (reactor.stopped, reactor.from_thread))

    def test_told(self) -> None:
        """Whoever is to be told hears before the reactor stops, and once, which signal it was."""
        reactor = Reactor()
        told: list[tuple[str, int]] = []
        SignalService(reactor, None, None, lambda why: told.append((why, reactor.stopped))).startService()
        reactor.run()
        reactor.stopped = 0
        handler = signal.getsignal(signal.SIGINT)
        assert callable(handler)
        handler(signal.SIGINT, None)
        handler(signal.SIGTERM, None)
        self.assertEqual([("after SIGINT", 0)], told)

    def test_patient(self) -> None:
        """Where somebody else decides about the end, signals after the first change nothing."""
        reactor = Reactor()
        SignalService(reactor, None).startService()
        reactor.run()
        reactor.stopped = 0
        handler = signal.getsignal(signal.SIGTERM)
        assert callable(handler)
        handler(signal.SIGINT, None)
        handler(signal.SIGTERM, None)
        self.assertEqual((1, 1), (reactor.stopped, reactor.from_thread))

    def test_reload(self) -> None:
        """SIGHUP has the configuration read again, until the daemon stops, and never ends it."""
        asked: list[str] = []
        for reload, expected in ((asked.append, ["SIGHUP", "SIGHUP"]), (None, [])):
            asked.clear()
            reactor = Reactor()
            SignalService(reactor, reload=reload).startService()
            reactor.run()
            hang_up, stop = signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)
            assert callable(hang_up)
            assert callable(stop)
            hang_up(signal.SIGHUP, None)
            hang_up(signal.SIGHUP, None)
            stop(signal.SIGTERM, None)
            hang_up(signal.SIGHUP, None)
            self.assertEqual(expected, asked)

    def test_stopped_already(self) -> None:
        """A signal that comes when the reactor stops already is no error."""
        reactor = Reactor()
        SignalService(reactor).startService()
        reactor.run()

        def refuse() -> None:
            raise ReactorNotRunning

        reactor.stop = refuse  # type: ignore[method-assign]
        handler = signal.getsignal(signal.SIGTERM)
        assert callable(handler)
        handler(signal.SIGTERM, None)
