"""When listeners are told of blocks."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.kvcache.fakes import RecordingListener
from vllmsim.inference import StoredBlocks
from vllmsim.interfaces import IBlockListener
from vllmsim.kvcache.steps.events import StepEvents

STORED = StoredBlocks([b"a"], None, [1, 2], [None])


class StepEventTests(SynchronousTestCase):
    """What a step does is told at its end."""

    def setUp(self) -> None:
        """Have two listeners."""
        self.listeners = RecordingListener(), RecordingListener()
        self.told = 0
        self.events = StepEvents(self.listeners, self.count)

    def count(self) -> None:
        """Count how often a step was told of."""
        self.told += 1

    def happen(self) -> None:
        """Have one of each happen."""
        self.events.removed(b"b")
        self.events.stored(STORED)
        self.events.cleared()

    def taken(self) -> list[list[str]]:
        """Tell what each listener has heard since."""
        return [[event[0] for event in each.take()] for each in self.listeners]

    def test_interface(self) -> None:
        """Whoever has blocks may tell it."""
        verifyObject(IBlockListener, self.events)

    def test_step(self) -> None:
        """During a step nobody hears anything, and at its end everyone hears all in its order, and that it is all."""
        self.events.begin()
        self.happen()
        self.assertEqual(([[], []], 0), (self.taken(), self.told))
        self.events.end()
        self.assertEqual(([["removed", "stored", "cleared"]] * 2, 1), (self.taken(), self.told))

    def test_nothing(self) -> None:
        """A step that has done nothing is not told of."""
        self.events.begin()
        self.events.end()
        self.events.end()
        self.assertEqual(0, self.told)

    def test_between(self) -> None:
        """What happens between steps is heard at once."""
        self.happen()
        self.assertEqual([["removed", "stored", "cleared"]] * 2, self.taken())
        self.events.begin()
        self.events.end()
        self.assertEqual(([[], []], 0), (self.taken(), self.told))
