"""The last batches of KV events."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.interfaces import IBlockEventPublisher
from vllmsim.kvcache.window import ReplayWindow


class ReplayWindowTests(SynchronousTestCase):
    """What is kept."""

    def test_provide(self) -> None:
        """A window takes batches as a publisher does."""
        verifyObject(IBlockEventPublisher, ReplayWindow(1))

    def test_last(self) -> None:
        """As many batches are kept as the window has steps, and they are found by their numbers."""
        window = ReplayWindow(3)
        self.assertEqual((0, 0), (window.begin, window.end))
        for number in range(8):
            window.publish(number, b"%d" % number, 1)
            self.assertEqual((max(0, number - 2), number + 1), (window.begin, window.end))
            kept = [window.payload(each) for each in range(window.begin, window.end)]
            self.assertEqual([b"%d" % each for each in range(max(0, number - 2), number + 1)], kept)
