"""Which blocks there are behind a row of batches."""

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.blockevents import BlockPicture
from vllmsim.inference import Adapter, StoredBlocks
from vllmsim.kvcache.events.standing import StandingBlocks

LORA = Adapter("poet", "/p", "m", 1)


def digest(number: int) -> bytes:
    """Make a hash."""
    return number.to_bytes(8, "big")


def stored(*numbers: int, parent: int | None = None, adapter: Adapter | None = None) -> StoredBlocks:
    """Make blocks of two tokens, which are their number and the next."""
    ids = [each for number in numbers for each in (number, number + 1)]
    keys = [(number,) for number in numbers]
    return StoredBlocks([*map(digest, numbers)], None if parent is None else digest(parent), ids, keys, adapter)


class StandingBlocksTests(SynchronousTestCase):
    """What is stored, and not gone since."""

    def setUp(self) -> None:
        """Know no blocks."""
        self.standing = StandingBlocks(2)

    def told(self, picture: BlockPicture | None = None) -> list[tuple[int, int | None]]:
        """Tell all blocks and their parents."""
        picture = picture or self.standing.picture(5, 1)
        blocks = [*picture.stored]
        self.assertEqual(picture.blocks, len(blocks))
        for block in blocks:
            number = int.from_bytes(block.hashes[0], "big")
            self.assertEqual(([number, number + 1], [(number,)]), ([*block.ids], [*block.keys]))
        parents = [None if each.parent is None else int.from_bytes(each.parent, "big") for each in blocks]
        return [(int.from_bytes(block.hashes[0], "big"), parent) for block, parent in zip(blocks, parents, strict=True)]

    def test_stored(self) -> None:
        """A block is told with all that was told of it, and with the block before it."""
        self.standing.fold([stored(10, 12, adapter=LORA), stored(14, parent=12, adapter=LORA), stored(20)])
        self.assertEqual([(10, None), (12, 10), (14, 12), (20, None)], self.told())
        picture = self.standing.picture(5, 1)
        self.assertEqual((5, 4, 1), (picture.sequence, picture.blocks, picture.unknown))
        self.assertEqual([LORA, LORA, LORA, None], [block.adapter for block in picture.stored])

    def test_removed(self) -> None:
        """One that is gone is not told; that one is gone that nobody has heard of does no harm."""
        self.standing.fold([stored(10, 12, 14), digest(14), digest(99)])
        self.assertEqual([(10, None), (12, 10)], self.told())

    def test_copies(self) -> None:
        """Blocks that have the same hash are told each, and go one by one."""
        self.standing.fold([stored(10, 12), stored(12, parent=10), stored(12, parent=10)])
        self.assertEqual([(10, None), (12, 10), (12, 10), (12, 10)], self.told())
        for left in (3, 2, 1):
            self.standing.fold([digest(12)])
            self.assertEqual(left, len(self.told()))

    def test_cleared(self) -> None:
        """What was there before all were cleared is not told."""
        self.standing.fold([stored(10, 12), stored(12, parent=10), None, stored(20), stored(12, parent=10)])
        self.assertEqual([(20, None), (12, 10)], self.told())

    def test_parents_first(self) -> None:
        """A block that went and came back is told before those that go on with it."""
        self.standing.fold([stored(10, 12, 14), stored(30, parent=14), digest(10), digest(12)])
        self.standing.fold([stored(12, parent=10), stored(10)])
        self.assertEqual([(10, None), (12, 10), (14, 12), (30, 14)], self.told())

    def test_later(self) -> None:
        """What is learned while blocks are told changes nothing of what is told."""
        self.standing.fold([stored(10, 12), stored(12, parent=10)])
        picture = self.standing.picture(5, 0)
        self.standing.fold([digest(12), stored(20), None])
        self.assertEqual([(10, None), (12, 10), (12, 10)], self.told(picture))

    def test_at_random(self) -> None:
        """Whatever comes and goes, all that is left is told, parents before children."""
        random, left = Random(3), dict[int, int]()
        for _ in range(400):
            number = 2 * random.randrange(1, 40)
            if left.get(number) and random.random() < 0.5:
                self.standing.fold([digest(number)])
                left[number] -= 1
            else:
                # In halves, so that lines go on and meet.
                self.standing.fold([stored(number, parent=number // 4 * 2 or None)])
                left[number] = left.get(number, 0) + 1
            told = self.told()
            self.assertEqual(sorted(each for each in left for _ in range(left[each])), sorted(each for each, _ in told))
            place = {each: index for index, (each, _) in reversed([*enumerate(told)])}
            for each, parent in told:
                self.assertTrue(parent not in place or place[parent] < place[each])
