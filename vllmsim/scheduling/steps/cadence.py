# -*- test-case-name: tests.scheduling.steps.test_cadence -*-
"""Prompts in one of several steps, so that the others are quick.

Nobody is held when there is nobody to be quick for, nor when the last step that took prompts has left somebody behind:
then the engine has more to do than it can.
"""

from collections.abc import Iterable

from attrs import define, field

from vllmsim.scheduling.steps.computation import Computation


@define(eq=False)
class Cadence:
    """Says when prompts are computed."""

    crowded: bool = field(init=False, default=False)
    """Whether somebody was not let in who could have been, the last time that anybody might."""
    _steps: int = field(init=False, default=0)
    """How many steps there were."""
    _last: int | None = field(init=False, default=None)
    """Which of them was the last with a prompt in it."""

    def holds(self, interval: int, running: Iterable[Computation]) -> bool:
        """Tell whether prompts are left for a later step.

        :param interval: in one of how many steps they are computed.
        """
        if interval <= 1 or self.crowded or self._last is None or self._steps + 1 - self._last >= interval:
            return False
        return any(not each.partial for each in running)

    def stepped(self, prompts: bool) -> None:
        """Learn that a step begins.

        :param prompts: whether it takes any.
        """
        self._steps += 1
        if prompts:
            self._last = self._steps
