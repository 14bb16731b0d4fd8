# -*- test-case-name: tests.config.scenario.test_values -*-
"""What a scenario is: a timeline of what happens to a server, and the seed of everything that is drawn meanwhile.

:mod:`vllmsim.config.scenario.reading` reads them, :mod:`vllmsim.config.scenario.course` says what becomes of options in
the course of one, and :mod:`vllmsim.scenario` plays them.
"""

from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from vllmsim.interfaces import PauseMode

FOR_EVER: Final = "forever"
TICK: Final = 0.1
"""Seconds between two values of a ramp."""
PRESSURE: Final = "kv-pressure"
"""What can be ramped beside options."""


@frozen
class Ramp:
    """A value that goes evenly from one number to another.

    :param name: the option's name, or :data:`PRESSURE`.
    :param start: where it begins; None for what it is then.
    :param begin: when it begins, in seconds from the start of the scenario.
    :param end: when it is at `stop`; later than `begin`.
    :param whole: whether it has no fractions.
    """

    name: str
    start: float | None
    stop: float
    begin: float
    end: float
    whole: bool = False

    def value(self, time: float, start: float) -> float:
        """Find the value at a time.

        :param start: what it was when it began.
        """
        if time >= self.end:
            return self.stop
        value = start + (self.stop - start) * max(0.0, time - self.begin) / (self.end - self.begin)
        return round(value) if self.whole else value


@frozen
class NewAdapter:
    """An adapter to be loaded."""

    name: str
    path: str


@frozen
class Pause:
    """How to pause; see :meth:`vllmsim.interfaces.IRankControl.pause`."""

    mode: PauseMode = "abort"
    clear_cache: bool = True


@frozen
class Sleep:
    """How to sleep; see :meth:`vllmsim.interfaces.IRankControl.sleep`."""

    level: int = 1
    mode: PauseMode = "abort"


@frozen
class Step:
    """What happens at one time. What is None, or empty, stays as it is.

    :param number: from 1.
    :param at: seconds from the start of the scenario.
    :param shown: what it does as it was given, but for what is secret.
    :param set: options and their new values, as a file would have them, secrets too.
    :param kv_pressure: the share of the KV blocks that is used by nobody.
    :param wake_up: what wakes up; nothing for all.
    """

    number: int
    at: float
    shown: Mapping[str, Any]
    note: str = ""
    set: Mapping[str, object] = field(default={}, repr=False)
    ramps: tuple[Ramp, ...] = ()
    kv_pressure: float | None = None
    load: tuple[NewAdapter, ...] = ()
    unload: tuple[str, ...] = ()
    ready: bool | None = None
    healthy: bool | None = None
    pause: Pause | None = None
    resume: bool = False
    sleep: Sleep | None = None
    wake_up: tuple[str, ...] | None = None
    abort: bool = False
    reset_prefix_cache: bool = False

    @property
    def end(self) -> float:
        """When its last ramp is at its end."""
        return max((ramp.end for ramp in self.ramps), default=self.at)


@frozen
class Scenario:
    """A whole scenario.

    :param seed: of everything random meanwhile; None for the server's own.
    :param duration: seconds; at least until the end of the last step.
    :param repeat: how often it is played; None for ever.
    :param keep: whether what it has changed stays so when it ends.
    :param rank: the data-parallel rank that it is for; None for all.
    :param steps: in the order of their times; at least one.
    """

    name: str
    steps: tuple[Step, ...]
    duration: float
    note: str = ""
    seed: int | None = None
    repeat: int | None = 1
    keep: bool = False
    rank: int | None = None
