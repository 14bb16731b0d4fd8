# -*- test-case-name: tests.scheduling.test_mediacache -*-
"""Which images, sounds and films have been read lately, so that they need not be read again.

Nothing is read here in any case: what is simulated is what vLLM counts of its cache of processed media, the least
recently used of which give way to others. How large an item would be nobody knows who does not decode it: each takes
16 MiB, as an image of a megapixel or so does in vLLM.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from attrs import define, field

from vllmsim.inference import Span
from vllmsim.interfaces import IRankMetrics
from vllmsim.media import source_of

_ITEMS_PER_GB: Final = 64
_MOST: Final = 65_536
"""So many are remembered, however large the cache would be."""


@define(eq=False)
class MediaCache:
    """Remembers media by their hashes.

    :param metrics: hears what was found.
    :param size: GiB; with 0 there is no cache, and nothing is looked up.
    """

    _metrics: IRankMetrics
    _size: float
    _known: OrderedDict[str, None] = field(init=False, factory=OrderedDict)
    _most: int = field(init=False)

    @_most.default
    def _count_most(self) -> int:
        return max(1, min(int(self._size * _ITEMS_PER_GB), _MOST)) if self._size else 0

    def look_up(self, media: Sequence[Span]) -> None:
        """Look for the media of a prompt, and remember them."""
        if not self._most:
            return
        hits, known = 0, self._known
        for item in media:
            source = source_of(item.identifier)
            hits += source in known
            known[source] = None
            known.move_to_end(source)
            if len(known) > self._most:
                known.popitem(last=False)
        self._metrics.media_looked_up(len(media), hits)

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
