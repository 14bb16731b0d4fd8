"""The control of a rank, at its edges; what clients see of it is in tests.web.test_control."""

from zope.interface.verify import verifyObject

from tests.harness import RankTestCase
from vllmsim.interfaces import IRankControl


class RankControlTests(RankTestCase):
    """Pausing and sleeping."""

    def setUp(self) -> None:
        """Have a rank that may sleep."""
        self.make_rank("--enable-sleep-mode", "--time-to-first-token", "1s")
        self.control = self.rank.control

    def test_provides(self) -> None:
        """It controls a rank."""
        verifyObject(IRankControl, self.control)

    def test_idle(self) -> None:
        """With nothing in flight every mode is done at once, and there is nothing to abort."""
        self.assertEqual((0, 0), (self.control.abort([]), self.control.abort(["a"])))
        for mode in ("abort", "wait", "keep"):
            self.successResultOf(self.control.pause(mode, clear_cache=True))
            self.successResultOf(self.control.sleep(1, mode))
        self.control.resume()
        self.control.wake_up([])
        self.assertEqual((False, False), (self.control.paused(), self.control.sleeping()))

    def test_wake_up_awake(self) -> None:
        """To wake a rank that is awake changes nothing, whatever holds it."""
        self.successResultOf(self.control.pause("keep", clear_cache=False))
        self.control.wake_up(["weights"])
        self.control.wake_up([])
        self.assertEqual((True, False), (self.control.paused(), self.control.sleeping()))

    def test_cancelled_wait(self) -> None:
        """Who waits for the rank to halt may stop to wait; the rank stays paused, and others who wait are told."""
        exchange = self.complete()
        self.clock.advance(0)
        first, second = self.control.pause("wait", clear_cache=True), self.control.pause("wait", clear_cache=True)
        first.addErrback(lambda _: None).cancel()
        self.clock.advance(1)
        self.assertEqual(200, exchange.status)
        self.successResultOf(second)
        self.assertTrue(self.control.paused())
