# -*- test-case-name: tests.kvcache.events.test_allowance -*-
"""How many messages may wait for a reader, when they may be neither too many nor too large together."""

from collections import deque

from attrs import define, field


@define(eq=False)
class Allowance:
    """Watches the sizes of messages, so that a bound on their number is one on their bytes too.

    As many may wait as those that came last would be, if they had no more bytes than allowed. When small messages
    follow large ones that still wait, there may be twice as many bytes for a while.

    :param messages: the most messages, at least one.
    :param size: the most bytes.
    """

    _messages: int
    _size: int
    _sizes: deque[int] = field(init=False, factory=deque)
    _sum: int = field(init=False, default=0)
    _scarce: bool = field(init=False, default=False)

    def take(self, size: int) -> int:
        """Learn of a message.

        :param size: its bytes.
        :return: how many may wait now, at least one.
        """
        sizes = self._sizes
        sizes.append(size)
        self._sum += size
        while self._sum > self._size:
            self._sum -= sizes.popleft()
            self._scarce = True
        if len(sizes) > self._messages:
            self._sum -= sizes.popleft()
        if len(sizes) == self._messages:
            self._scarce = False
        return max(1, len(sizes)) if self._scarce else self._messages
