# -*- test-case-name: tests.web.http2.test_allowance -*-
"""How much of what costs much and is worth little a client may send."""

from attrs import define, field
from twisted.internet.interfaces import IReactorTime


@define(eq=False)
class Allowance:
    """A number that grows with time and with what is earned, up to a limit, and becomes less as it is spent.

    :param most: the limit, which is there at the beginning.
    :param per_second: how much comes with time.
    """

    _clock: IReactorTime
    _most: float
    _per_second: float
    _left: float = field(init=False)
    _since: float = field(init=False)

    @_left.default
    def _all(self) -> float:
        return self._most

    @_since.default
    def _now(self) -> float:
        return self._clock.seconds()

    def earn(self, amount: float) -> None:
        """Allow more."""
        self._left = min(self._most, self._left + amount)

    def spend(self, amount: float = 1.0) -> bool:
        """Take from it.

        :return: whether there was enough.
        """
        now = self._now()
        self.earn((now - self._since) * self._per_second)
        self._since = now
        self._left -= amount
        return self._left >= 0
