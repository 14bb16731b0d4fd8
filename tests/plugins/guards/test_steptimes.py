"""A step time that comes from a plugin."""

import math
import random
from collections.abc import Callable
from typing import Any

from attrs import define
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.plugins.guards.case import GuardTestCase
from vllmsim.errors import InvalidRequest
from vllmsim.interfaces import IStepTime
from vllmsim.plugins.guards import steptimes
from vllmsim.plugins.guards.steptimes import LONGEST, REST, GuardedStepTime
from vllmsim.steps import StepWork
from vllmsim.steptime.linear import LinearStepTime

WORK = StepWork(decodes=3, read=70)
USUAL = 0.25


@implementer(IStepTime)
@define(eq=False)
class Made:
    """Does what it is told to."""

    do: Callable[[], Any]
    asked: int = 0

    def seconds(self, work: StepWork, generator: random.Random) -> float:
        """Do it."""
        assert work is WORK
        self.asked += 1
        given: float = self.do()
        return given


def fail(kind: type[BaseException]) -> Callable[[], Any]:
    """Make what raises."""

    def do() -> None:
        raise kind("mine")

    return do


class StepTimeTests(GuardTestCase):
    """The times that it draws."""

    def guarded(self, do: Callable[[], Any]) -> GuardedStepTime:
        """Put a guard before one."""
        self.made = Made(do)
        guarded = GuardedStepTime(self.made, LinearStepTime(USUAL), self.blame)
        self.assertTrue(verifyObject(IStepTime, guarded))
        return guarded

    def draw(self, guarded: GuardedStepTime) -> float:
        """Ask for a step's time."""
        return guarded.seconds(WORK, random.Random(1))

    def test_times(self) -> None:
        """Times come through, whole numbers too."""
        for seconds in (0, 0.0, 1.5, LONGEST):
            drawn = self.draw(self.guarded(lambda seconds=seconds: seconds))  # type: ignore[misc]
            self.assertEqual(seconds, drawn)
            self.assertIsInstance(drawn, float)
        self.assertBlamed()

    def test_nonsense(self) -> None:
        """What no step can take costs a line, and the step takes the usual time."""
        cases: list[Any] = [-0.1, math.nan, math.inf, LONGEST + 1, None, "1", [], 1j, 10**400]
        for seconds in cases:
            self.assertEqual(USUAL, self.draw(self.guarded(lambda seconds=seconds: seconds)))  # type: ignore[misc]
            self.assertBlamed("it takes ")

    def test_raises(self) -> None:
        """Whatever it raises costs a line too, even what would end a program or refuse a request."""
        for kind in (ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, RecursionError, InvalidRequest):
            self.assertEqual(USUAL, self.draw(self.guarded(fail(kind))))
            self.assertBlamed(kind.__name__)

    def test_few_lines(self) -> None:
        """One that breaks in every step fills no log: the first mistake is told, the tenth, the hundredth."""
        guarded = self.guarded(lambda: -1)
        for count, lines in ((1, 1), (8, 0), (1, 1), (89, 0), (1, 1), (500, 0)):
            for _ in range(count):
                self.assertEqual(USUAL, self.draw(guarded))
            self.assertEqual(lines, len(self.lines()))

    def test_hangs(self) -> None:
        """One that does not come back is given up, and left alone for a while, and the next time for a longer one."""
        self.patch(steptimes, "PATIENCE", 0.02)
        hanging = [True]

        def do() -> float:
            while hanging:
                pass
            return 2.0

        guarded = self.guarded(do)
        self.assertEqual(USUAL, self.draw(guarded))
        self.assertBlamed("it takes more than 0.02 s to answer")
        for count, asked in ((REST, 1), (1, 2), (2 * REST, 2)):
            for _ in range(count):
                self.assertEqual(USUAL, self.draw(guarded))
            self.assertEqual(asked, self.made.asked)
        hanging.clear()
        self.assertEqual(2.0, self.draw(guarded))
        self.assertBlamed()
