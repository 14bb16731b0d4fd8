# -*- test-case-name: tests.web.http2.test_counting -*-
"""h2 for connections with thousands of streams.

Whenever a stream begins h2 goes through all that it knows, to count those that are open and to forget the others; with
five thousand of them that takes milliseconds. Here it does so when about as many have begun as there were the last
time, or when there may be too many: what one costs does not depend on how many there are.
"""

from typing import Final

from h2.connection import H2Connection

_FEW: Final = 32
"""How many streams begin at least before all are counted again."""


class CountedConnection(H2Connection):
    """What knows the protocol of a connection."""

    _counted = 0
    """How many streams were open when they were counted."""
    _begun = 0
    """How many have begun since."""

    @property
    def open_inbound_streams(self) -> int:
        """How many streams the client has open, or may have at the most.

        Each time it is asked, which is when a stream is about to begin, one more is thought to.
        """
        most = self._counted + self._begun
        if self._begun > self._counted + _FEW or most >= self.local_settings.max_concurrent_streams:
            most = self._counted = super().open_inbound_streams
            self._begun = 0
        self._begun += 1
        return most
