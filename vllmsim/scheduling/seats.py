# -*- test-case-name: tests.scheduling.test_seats -*-
"""Places for some at a time, more or fewer of them from one moment to the next; first come first served."""

from collections import OrderedDict
from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred, succeed


@define(eq=False)
class Seats:
    """Lets some in; the others wait.

    :param most: tells how many may be in now. When there are fewer than are in, nobody has to leave.
    """

    _most: Callable[[], int]
    taken: int = field(init=False, default=0)
    """How many are in."""
    _waiting: OrderedDict[Deferred[None], None] = field(init=False, factory=OrderedDict)

    @property
    def free(self) -> bool:
        """Whether somebody would be let in at once."""
        return self.taken < self._most()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take(self) -> Deferred[None]:
        """Be let in.

        :return: fires then. Who is in must :meth:`leave`; cancelling gives up waiting.
        """
        if self.free:
            self.taken += 1
            return succeed(None)
        turn: Deferred[None] = Deferred(self._waiting.pop)
        self._waiting[turn] = None
        return turn

    def leave(self) -> None:
        """Make room."""
        self.taken -= 1
        self.fill()

    def fill(self) -> None:
        """Let in who waits, as far as there is room: there may be more than before."""
        while self._waiting and self.free:
            self.taken += 1
            self._waiting.popitem(last=False)[0].callback(None)
