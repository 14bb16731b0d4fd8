"""Where values are in the course of a scenario."""

import math
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.scenario.course import Course, options_of, touched
from vllmsim.config.scenario.steps import read_steps
from vllmsim.config.scenario.values import Step

LATENCY = "inter-token-latency"


def step(at: str, **members: Any) -> Step:
    """Read a step; names have ``_`` for ``-``."""
    [read] = read_steps([{"at": at, **{name.replace("_", "-"): value for name, value in members.items()}}])
    return read


class CourseTests(SynchronousTestCase):
    """Ramps, one after the other and at the same time."""

    def setUp(self) -> None:
        """Have no ramps."""
        self.course = Course()

    def begin(self, at: str, current: dict[str, float] | None = None, **members: Any) -> dict[str, float]:
        """Begin a step."""
        return self.course.begin(step(at, **members), current or {})

    def test_ticks(self) -> None:
        """Values change ten times a second, and when a ramp is at its end; never when nothing goes on."""
        self.assertEqual(math.inf, self.course.next(0.0))
        self.begin("1s", ramp={LATENCY: [0, "1s"]}, over="250ms")
        seen = [self.course.next(time) for time in (1.0, 1.05, 1.1, 1.2, 1.24)]
        self.assertEqual([1.1, 1.1, 1.2, 1.25, 1.25], [round(time, 9) for time in seen])
        self.assertEqual((1.25, {LATENCY: 1.0}), (self.course.end, self.course.go_on(1.25)))
        self.assertEqual((math.inf, {}), (self.course.next(1.25), self.course.go_on(1.3)))

    def test_every_tick(self) -> None:
        """No tick comes twice, and none is left out, whatever fractions of a second are like inside."""
        self.begin("0s", ramp={LATENCY: [0, "1s"]}, over="1h")
        time, seen = 0.0, []
        while time < 100:
            time = self.course.next(time)
            seen.append(round(time * 10, 6))
        self.assertEqual([float(tick) for tick in range(1, 1001)], seen)

    def test_current(self) -> None:
        """A ramp that does not say where it begins does so where the value is then."""
        self.assertEqual({LATENCY: 0.5}, self.begin("1s", {LATENCY: 0.5}, ramp={LATENCY: "1.5s"}, over="2s"))
        self.assertEqual({LATENCY: 1.0}, self.course.go_on(2.0))

    def test_goes_on(self) -> None:
        """One that follows another before it is at its end goes on from where that has come."""
        self.begin("0s", ramp={LATENCY: [0, "1s"]}, over="4s")
        self.assertEqual({LATENCY: 0.5}, self.begin("2s", {LATENCY: 77.0}, ramp={LATENCY: 0}, over="1s"))
        self.assertEqual(({LATENCY: 0.25}, 3.0), (self.course.go_on(2.5), self.course.end))

    def test_ended_by_value(self) -> None:
        """A new value ends a ramp; others go on."""
        self.begin("0s", ramp={LATENCY: [0, "1s"], "kv-pressure": [0, 1]}, over="4s")
        self.assertEqual({"kv-pressure": 0.25}, self.begin("1s", set={LATENCY: "9s"}))
        self.assertEqual({LATENCY: "9s"}, options_of(step("1s", set={LATENCY: "9s"}), {"kv-pressure": 0.25}))
        self.assertEqual({"kv-pressure": 0.5}, self.course.go_on(2.0))
        self.assertEqual({}, self.begin("3s", kv_pressure=0))
        self.assertEqual(math.inf, self.course.end)

    def test_end_at_step(self) -> None:
        """One that is at its end just when a step begins gets there."""
        self.begin("0s", ramp={LATENCY: [0, "1s"]}, over="4s")
        self.assertEqual({LATENCY: 1.0}, self.begin("4s", ready=True))
        self.assertEqual(math.inf, self.course.end)

    def test_options(self) -> None:
        """What changes is written as a file would have it, and what is no option is not there."""
        values = {LATENCY: 0.0123, "failure-injection-rate": 7, "kv-pressure": 0.5, "time-factor-under-load": 1.5}
        self.assertEqual(
            {LATENCY: "12.3ms", "failure-injection-rate": 7, "time-factor-under-load": 1.5}, options_of(None, values)
        )
        set_too = options_of(step("1s", set={"prefill_overhead": 3}), {LATENCY: 1.0})
        self.assertEqual({"prefill-overhead": 3, LATENCY: "1s"}, set_too)

    def test_touched(self) -> None:
        """A step gives new values at once to options, and to the pressure."""
        self.assertEqual([LATENCY, "kv-pressure"], touched(step("1s", set={"inter_token_latency": 1}, kv_pressure=0)))
