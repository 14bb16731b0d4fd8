"""How batches of KV events are read again."""

from attrs import asdict
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.blockevents import BlockEvent
from vllmsim.inference import Adapter, StoredBlocks
from vllmsim.kvcache.events.decoding import decode
from vllmsim.kvcache.events.encoding import BatchEncoder

WHOLE = bytes(range(32)), bytes(range(100, 132))
HASHES = [WHOLE[0][-8:], WHOLE[1][-8:]]
KEYS = [("poet", "salty"), ("poet", ("image", -5), b"digest", 7)]
EVENTS: list[BlockEvent] = [
    StoredBlocks(WHOLE, None, (*range(15), 2**32 - 1), KEYS, Adapter("poet", "/p", "m", 3)),
    StoredBlocks(WHOLE[:1], WHOLE[1], range(8), [None]),
    WHOLE[0],
    None,
]


class DecodingTests(SynchronousTestCase):
    """What is read is what was written."""

    def test_forms(self) -> None:
        """Whether events are arrays or maps, and hashes numbers or bytes, the same is read."""
        for maps in (False, True):
            for numbers in (False, True):
                payload = BatchEncoder(2, 8, maps, numbers).encode(7.5, EVENTS)
                self.check(payload, HASHES if numbers else [*WHOLE])

    def check(self, payload: bytes, hashes: list[bytes]) -> None:
        """Read a batch."""
        batch = decode(payload, 9)
        self.assertEqual((9, 7.5), (batch.sequence, batch.time))
        first, second, removed, cleared = batch.events
        assert isinstance(first, StoredBlocks)
        assert isinstance(second, StoredBlocks)
        keys = [("poet", "salty"), ("poet", ["image", -5], b"digest", 7)]
        poet = Adapter("poet", "", "", 3)
        expected = StoredBlocks(hashes, None, [*range(15), 2**32 - 1], keys, poet)
        self.assertEqual(asdict(expected), asdict(first))
        self.assertEqual(asdict(StoredBlocks(hashes[:1], hashes[1], [*range(8)], [None])), asdict(second))
        self.assertEqual((hashes[0], None), (removed, cleared))
