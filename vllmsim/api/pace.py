# -*- test-case-name: tests.api.test_pace -*-
"""How many tokens of a stream leave in one chunk."""

from attrs import frozen


@frozen
class Pace:
    """When chunks leave.

    :param interval: how many tokens each has at least, but for the first and the last.
    :param together: whether tokens that come at the same time leave in one: an engine's step may give several.
    """

    interval: int = 1
    together: bool = False

    @property
    def single(self) -> bool:
        """Whether each token has a chunk of its own."""
        return self.interval == 1 and not self.together

    def due(self, sent: int, count: int, stop: int) -> bool:
        """Tell whether there are enough tokens for a chunk.

        :param sent: how many have left before.
        :param count: how many will have left then.
        :param stop: how many there are by now.
        """
        return count - sent >= self.interval and (count == stop or not self.together)
