"""The last batches of KV events."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.interfaces import IBlockEventPublisher
from vllmsim.kvcache.events.window import ReplayWindow


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

    def test_size(self) -> None:
        """Of large batches fewer are kept, and the last one however large it is; later there is room for more again."""
        window = ReplayWindow(5, 100)
        begins = []
        for number, length in enumerate((30, 30, 30, 30, 101, 50, 50, 0, 10, 10, 10, 10, 10, 10)):
            window.publish(number, bytes([number]) * length, 1)
            begins.append(window.begin)
            self.assertEqual(bytes([number]) * length, window.payload(number))
            for each in range(window.begin, number):
                self.assertEqual({each} if window.payload(each) else set(), set(window.payload(each)))
        self.assertEqual([0, 0, 0, 1, 4, 5, 5, 5, 6, 6, 6, 7, 8, 9], begins)
        self.assertEqual(50, sum(map(len, window._batches)))

    def test_dropped(self) -> None:
        """What goes is told once, in order, and with its number."""
        window, gone = ReplayWindow(2, 100, end=7), list[tuple[int, bytes]]()
        self.assertEqual((7, 7), (window.begin, window.end))
        window.dropped = lambda number, payload: gone.append((number, payload[:1]))
        for number, length in ((7, 1), (8, 1), (9, 1), (10, 100), (11, 1)):
            window.publish(number, bytes([number]) * length, 1)
        self.assertEqual([(number, bytes([number])) for number in (7, 8, 9, 10)], gone)
