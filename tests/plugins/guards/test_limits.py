"""How long plugins may take."""

import signal
import threading
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.plugins.guards.limits import Overdue, within

SOON = 0.05


def hang() -> None:
    """Compute for ever."""
    while True:
        pass


def wait() -> None:
    """Wait for what never comes."""
    threading.Event().wait()


class LimitTests(SynchronousTestCase):
    """What does not come back."""

    def test_in_time(self) -> None:
        """What comes back in time gives what it gives, or raises what it raises."""
        self.assertEqual(3, within(60.0, max, 1, 3))
        self.assertRaises(ZeroDivisionError, within, 60.0, divmod, 1, 0)

    def test_overdue(self) -> None:
        """What computes for ever, and what waits for ever, is ended."""
        for function in (hang, wait, lambda: time.sleep(1000)):
            error = self.assertRaises(Overdue, within, SOON, function)
            self.assertEqual("it takes more than 0.05 s to answer", str(error))

    def test_stubborn(self) -> None:
        """What catches everything is ended all the same, once it is outside of what it catches."""

        def stubborn() -> None:
            caught = 0
            while True:
                try:
                    hang()
                except BaseException:
                    caught += 1
                    if caught == 3:
                        raise

        self.assertRaises(Overdue, within, SOON, stubborn)

    def test_nothing_left(self) -> None:
        """Afterwards no alarm is set, and who listens to alarms listens again."""
        rung: list[Any] = []
        before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        self.assertRaises(Overdue, within, SOON, hang)
        within(SOON, max, 1, 2)
        self.assertEqual((0.0, 0.0), signal.getitimer(signal.ITIMER_REAL))
        signal.raise_signal(signal.SIGALRM)
        self.assertEqual([1], rung)

    def test_other_thread(self) -> None:
        """In a thread that gets no signals it is called all the same."""
        given: list[int] = []
        thread = threading.Thread(target=lambda: given.append(within(SOON, max, 1, 3)))
        thread.start()
        thread.join()
        self.assertEqual([3], given)
