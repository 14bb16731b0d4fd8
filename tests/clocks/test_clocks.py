"""Which clocks a rank goes by."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.clocks.clocks import VIRTUAL_EPOCH, Clocks, make_clocks
from vllmsim.clocks.virtual import VirtualClock


class ClocksTests(SynchronousTestCase):
    """The choice."""

    def setUp(self) -> None:
        """Have the machine's time go on."""
        self.reactor = Clock()

    def make(self, kind: str, scale: float) -> Clocks:
        """Make clocks; half a second later, look at them."""
        clocks = make_clocks(kind, scale, self.reactor, lambda: 1000.0 + self.reactor.seconds())  # type: ignore[arg-type]
        self.reactor.advance(0.5)
        self.assertIs(self.reactor, clocks.real)
        return clocks

    def test_real(self) -> None:
        """Without a scale there is one time, the machine's."""
        clocks = self.make("real", 1.0)
        self.assertEqual([self.reactor] * 2, [clocks.simulated, clocks.background])
        self.assertEqual(1000.5, clocks.epoch())

    def test_scaled(self) -> None:
        """With a scale simulated time goes faster, by the calendar too."""
        clocks = self.make("real", 4.0)
        self.assertEqual((2.0, 2.0, 1002.0), (clocks.simulated.seconds(), clocks.background.seconds(), clocks.epoch()))

    def test_virtual(self) -> None:
        """Virtual time begins at the same date whenever the server starts, and is moved."""
        clocks = self.make("virtual", 1.0)
        assert isinstance(clocks.simulated, VirtualClock)
        self.assertIs(clocks.background, clocks.simulated.background)
        self.assertEqual(VIRTUAL_EPOCH, clocks.epoch())
        clocks.simulated.move(2.5)
        self.assertEqual(VIRTUAL_EPOCH + 2.5, clocks.epoch())
