# -*- test-case-name: tests.plugins.guards.test_steptimes -*-
"""A step time that comes from a plugin."""

import random
from typing import Any, Final

from attrs import define, field
from zope.interface import implementer

from vllmsim.interfaces import IStepTime
from vllmsim.plugins.guards.blame import MISTAKES, Blame, Nonsense
from vllmsim.plugins.guards.limits import Overdue, within
from vllmsim.steps import StepWork

LONGEST: Final = 60.0
"""The most seconds that a step may take; more is a mistake."""
PATIENCE: Final = 1.0
"""Seconds of real time after which nobody waits for the plugin any longer."""
REST: Final = 1000
"""Steps for which one that has not come back is not asked again; the next time twice as many, and so on."""
_TENFOLD: Final = 10


@implementer(IStepTime)
@define(eq=False)
class GuardedStepTime:
    """Looks at the times that a plugin draws.

    Where it draws none, the step takes the usual time: all have it together, and none has asked for the plugin. The
    first mistake is told, the tenth, the hundredth and so on.
    """

    _made: Any
    _usual: IStepTime
    _blame: Blame
    _mistakes: int = field(init=False, default=0)
    _next_told: int = field(init=False, default=1)
    _rest: int = field(init=False, default=0)
    _next_rest: int = field(init=False, default=REST)

    def seconds(self, work: StepWork, generator: random.Random) -> float:
        """Draw a step's duration; see :class:`vllmsim.interfaces.IStepTime`."""
        if self._rest:
            self._rest -= 1
            return self._usual.seconds(work, generator)
        try:
            seconds: Any = within(PATIENCE, self._made.seconds, work, generator)
            # No comparison holds for what is no number.
            if not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST:
                raise Nonsense(f"it takes {seconds!r:.60} s for a step, which is not from 0 to {LONGEST:g}")
            return float(seconds)
        except MISTAKES as error:
            self._count(error)
        return self._usual.seconds(work, generator)

    def _count(self, error: BaseException) -> None:
        if isinstance(error, Overdue):
            self._rest = self._next_rest
            self._next_rest *= 2
        self._mistakes += 1
        if self._mistakes == self._next_told:
            self._next_told *= _TENFOLD
            self._blame.tell(error)
