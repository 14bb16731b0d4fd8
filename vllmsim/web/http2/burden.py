# -*- test-case-name: tests.web.http2.test_burden -*-
"""How much the streams of a connection have kept here, all together, whatever their number."""

from typing import Final

from attrs import define

HEADS: Final = 1 << 24
"""How large the heads of all open streams may be: what repeats itself in them is small on its way."""
BODIES: Final = 1 << 26
"""How large all bodies may be that are not complete, where that is enough for two of the largest."""


@define(eq=False)
class Burden:
    """What is kept.

    :param heads: bytes of the heads of open streams.
    :param bodies: bytes of the bodies that are not complete.
    """

    heads: int = 0
    bodies: int = 0

    def admits(self, head_bytes: int) -> bool:
        """Tell whether there may be one stream more."""
        return self.heads + head_bytes <= HEADS

    def overfull(self, largest: int) -> bool:
        """Tell whether bodies are too much together.

        :param largest: how large one may be.
        """
        return self.bodies > max(BODIES, 2 * largest)
