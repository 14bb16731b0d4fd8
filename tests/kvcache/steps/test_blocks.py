"""The blocks of a sequence that is computed step by step."""

from collections.abc import Sequence
from typing import cast

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.scheduling.steps.rig import Rig
from vllmsim.inference import Adapter, Prefill
from vllmsim.interfaces import IStepBlocks
from vllmsim.kvcache.steps.blocks import StepBlocks


class StepBlocksTestCase(SynchronousTestCase):
    """Blocks have four tokens."""

    def setUp(self) -> None:
        """Have twenty of them."""
        self.have()

    def have(self, usable: int = 20, *, hashed: bool = True, outside: bool = False) -> None:
        """Have some blocks."""
        self.rig = Rig(usable, hashed=hashed, outside=outside)

    def open(
        self,
        prompt: Sequence[int],
        answer: Sequence[int] = range(100, 200),
        *,
        reads: bool = True,
        remote: int = 0,
        shared: int = 0,
        adapter: Adapter | None = None,
        salt: str = "",
    ) -> StepBlocks:
        """Have a sequence that has no blocks."""
        hashed = self.rig.hasher.prompt(prompt, adapter, salt, shared)
        return cast("StepBlocks", self.rig.cache.open(hashed, answer, reads, remote))

    def start(self, prompt: Sequence[int], tokens: int | None = None, **how: object) -> StepBlocks:
        """Let a sequence in with all its prompt, or some of it."""
        blocks = self.open(prompt, **how)  # type: ignore[arg-type]
        blocks.find(len(prompt))
        reached = len(prompt) if tokens is None else tokens
        self.assertTrue(blocks.enter(0, reached, reached, 0))
        return blocks


class FindingTests(StepBlocksTestCase):
    """What is computed already."""

    def test_interface(self) -> None:
        """A scheduler may use them."""
        verifyObject(IStepBlocks, self.open(range(4)))

    def test_full_blocks(self) -> None:
        """A prefix is found in whole blocks, as soon as a step computes them."""
        self.start(range(9))
        self.assertEqual((8, 0), self.open(range(9)).find(9))
        self.assertEqual((4, 0), self.open([0, 1, 2, 3, 9, 9]).find(6))
        self.assertEqual((0, 0), self.open(range(1, 9)).find(8))

    def test_last_token(self) -> None:
        """The last token is computed in any case, since it gives the next one."""
        self.start(range(8))
        self.assertEqual((4, 0), self.open(range(8)).find(8))
        self.assertEqual((8, 0), self.open(range(8)).find(9))

    def test_parts(self) -> None:
        """Of a prompt of which a part was computed just that is found."""
        self.start(range(12), 6)
        self.assertEqual((4, 0), self.open(range(12)).find(12))

    def test_others(self) -> None:
        """Who has another adapter, or another salt, finds nothing; who may not read does not look."""
        self.start(range(8))
        adapter = Adapter("ad", "", "", 1)
        self.assertEqual((0, 0), self.open(range(8), adapter=adapter).find(8))
        self.assertEqual((0, 0), self.open(range(8), salt="s").find(8))
        self.start(range(8), reads=False)
        self.assertEqual([(8, 0)], self.rig.metrics.looked_up)

    def test_no_prefixes(self) -> None:
        """Where prefixes are not cached nothing is found, told or counted."""
        self.have(hashed=False)
        self.start(range(8)).release()
        self.assertEqual((0, 0), self.open(range(8)).find(8))
        self.assertEqual(([], []), (self.rig.metrics.looked_up, self.rig.listener.events))

    def test_own(self) -> None:
        """Who has lost its blocks finds what it had computed of prompt and answer, and is not counted again."""
        blocks = self.start(range(6))
        self.assertTrue(blocks.grow(9, 9))
        blocks.release()
        self.assertEqual((8, 0), blocks.find(10))
        self.assertTrue(blocks.enter(10, 10, 10, 0))
        self.assertTrue(blocks.grow(12, 12))
        self.assertEqual([(6, 0)], self.rig.metrics.looked_up)
        ends = [event[2][-1] for event in self.rig.listener.events]
        self.assertEqual([b"/0,1,2,3", b"/0,1,2,3/4,5,100,101", b"/0,1,2,3/4,5,100,101/102,103,104,105"], ends)

    def test_answers(self) -> None:
        """A prompt that has another's prompt and answer finds both."""
        self.start(range(6)).grow(12, 12)
        self.assertEqual((12, 0), self.open([*range(6), *range(100, 107)]).find(13))


class ElsewhereTests(StepBlocksTestCase):
    """What others have computed."""

    def test_remote(self) -> None:
        """What another server has computed is fetched once, but for the last token."""
        blocks = self.open(range(8), remote=8)
        self.assertEqual((0, 7), blocks.find(8))
        self.assertTrue(blocks.enter(8, 7, 0, 0))
        self.assertEqual(Prefill(8, external=7, blocks=(1, 2)), blocks.prefill)
        blocks.release()
        self.assertEqual((0, 0), blocks.find(8))
        self.assertEqual([(8, 7)], self.rig.metrics.looked_outside)

    def test_remote_that_must_not_be_read(self) -> None:
        """Who may not read what others have computed fetches nothing either, as in vLLM."""
        self.assertEqual((0, 0), self.open(range(8), remote=8, reads=False).find(8))

    def test_reserved(self) -> None:
        """Where blocks are reserved for others, one gets its own if these stay free; later ones may be theirs."""
        self.have(4)
        blocks = self.open(range(12), remote=8)
        self.assertEqual((0, 8), blocks.find(12))
        self.assertFalse(blocks.enter(12, 8, 0, 0, 3))
        self.assertTrue(blocks.enter(12, 8, 0, 0, 2))

    def test_outside(self) -> None:
        """What a cache outside has is fetched in whole blocks, beyond those that are here, as often as it is needed."""
        self.have(outside=True)
        self.start(range(5))
        blocks = self.open(range(12), shared=3)
        self.assertEqual((4, 4), blocks.find(12))
        self.assertTrue(blocks.enter(0, 8, 4, 0))
        blocks.release()
        self.assertEqual((4, 4), blocks.find(13))
        self.assertTrue(blocks.enter(0, 8, 4, 0))
        self.assertEqual([(5, 0), (8, 4)], self.rig.metrics.looked_outside)
        self.assertEqual((0, 0), self.open(range(20, 32), shared=3, reads=False).find(12))

    def test_stored(self) -> None:
        """What is fetched can be found by others when it is there."""
        blocks = self.open(range(9), remote=9)
        blocks.find(9)
        blocks.enter(9, 8, 0, 0)
        self.assertEqual((0, 0), self.open(range(9)).find(9))
        blocks.grow(8, 8)
        self.assertEqual((8, 0), self.open(range(9)).find(9))


class TakingTests(StepBlocksTestCase):
    """Who has which blocks."""

    def test_grow(self) -> None:
        """Blocks are taken as tokens need them, and the last may be as empty as it is."""
        blocks = self.start(range(10), 3)
        counts = [(blocks.count, blocks.missing(10))]
        for tokens in (4, 5, 8, 9):
            self.assertTrue(blocks.grow(tokens, tokens))
            counts.append((blocks.count, blocks.missing(10)))
        self.assertEqual([(1, 2), (1, 2), (2, 1), (2, 1), (3, 0)], counts)
        self.assertEqual((3, 1), (self.rig.pool.used, self.rig.cache.running))

    def test_too_few(self) -> None:
        """When there are not enough blocks, none is taken."""
        self.have(3)
        self.start(range(8))
        other = self.open(range(50, 60))
        other.find(10)
        self.assertFalse(other.enter(0, 5, 5, 0))
        self.assertFalse(other.enter(5, 4, 4, 0), "not all of it has room")
        self.assertFalse(other.enter(0, 4, 4, 1), "nothing is left")
        self.assertEqual((2, 0), (self.rig.pool.used, other.count))
        self.assertTrue(other.enter(4, 4, 4, 0))
        self.assertFalse(other.grow(5, 5))
        self.assertEqual((3, 1), (self.rig.pool.used, other.count))

    def test_found_blocks_are_free(self) -> None:
        """Blocks that are found and that nobody has are no longer free for others: they need room like all."""
        self.have(3)
        self.start(range(9)).release()
        other = self.start(range(50, 54))
        again = self.open(range(9))
        self.assertEqual((8, 0), again.find(9))
        self.assertFalse(again.enter(9, 9, 9, 0))
        other.release()
        self.assertTrue(again.enter(9, 9, 9, 0))

    def test_shared(self) -> None:
        """Blocks that somebody has are shared, and need no room."""
        self.have(3)
        first = self.start(range(9))
        second = self.open(range(8))
        second.find(9)
        self.assertTrue(second.enter(8, 8, 8, 0))
        first.release()
        self.assertEqual((2, 2), (self.rig.pool.used, second.count))

    def test_order(self) -> None:
        """Of what is given back, blocks that hold nothing go first, then the end of a prefix, last its beginning."""
        self.have(4)
        self.start(range(14)).release()
        other = self.start(range(50, 65), 15)
        self.assertEqual((4, 3, 2, 1), other.prefill.blocks)
        removed = [event[1] for event in self.rig.listener.events if event[0] == "removed"]
        self.assertEqual([b"/0,1,2,3/4,5,6,7/8,9,10,11", b"/0,1,2,3/4,5,6,7", b"/0,1,2,3"], removed)

    def test_copies(self) -> None:
        """Two that compute the same at the same time have blocks of their own, and both are told."""
        first, second = self.open(range(6)), self.open(range(6))
        for each in (first, second):
            each.find(6)
        for each in (first, second):
            self.assertTrue(each.enter(6, 6, 6, 0))
        self.assertEqual((4, 2), (self.rig.pool.used, self.rig.listener.known[b"/0,1,2,3"]))

    def test_events(self) -> None:
        """What is stored is told with what it follows, its tokens, and what was hashed beside them."""
        adapter = Adapter("ad", "", "", 1)
        blocks = self.start(range(6), adapter=adapter, salt="s")
        blocks.grow(12, 12)
        first = b"ad+s/0,1,2,3"
        second = first + b"/4,5,100,101"
        third = second + b"/102,103,104,105"
        ids = [4, 5, 100, 101, 102, 103, 104, 105]
        self.assertEqual(
            [
                ("stored", None, [first], [0, 1, 2, 3], [("ad", "s")]),
                ("stored", first, [second, third], ids, [("ad",), ("ad",)]),
            ],
            self.rig.listener.events,
        )

    def test_prefill(self) -> None:
        """Where the prompt is, is known to the end and behind it."""
        self.start(range(5)).release()
        blocks = self.start(range(7))
        blocks.grow(12, 12)
        prefill = blocks.prefill
        self.assertEqual((7, 4, 2), (prefill.tokens, prefill.cached, len(prefill.blocks)))
        blocks.release()
        blocks.release()
        self.assertEqual(prefill, blocks.prefill)
        self.assertEqual((0, 0), (self.rig.pool.used, self.rig.cache.running))
