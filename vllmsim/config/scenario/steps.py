# -*- test-case-name: tests.config.scenario.test_steps -*-
"""Reads the steps of scenarios."""

from collections.abc import Mapping
from typing import Any, Final

from vllmsim.config.describing import masked
from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.members import Members, flag, integer, read_members, text
from vllmsim.config.scenario.course import touched
from vllmsim.config.scenario.members import (
    blame_unknown,
    normal,
    read_lasting,
    read_name,
    read_several,
    read_share,
    read_time,
    read_yes,
)
from vllmsim.config.scenario.ramps import read_options, read_ramps
from vllmsim.config.scenario.values import PRESSURE, NewAdapter, Pause, Sleep, Step
from vllmsim.interfaces import PauseMode

MOST_FAULTS: Final = 50
"""After so many things that are wrong the rest of the steps is not read: it takes time to say what was meant."""
_MOST_STEPS: Final = 1000
_LONGEST_PATH: Final = 1024
_DEEPEST_SLEEP: Final = 2
_MODES: Final = ("abort", "wait", "keep")
_SLEEPERS: Final = ("weights", "kv_cache")
_MEMBERS: Final = (
    "at", "note", "set", "ramp", "over", "fake-metrics", PRESSURE, "load-adapter", "unload-adapter", "ready",
    "healthy", "pause", "resume", "sleep", "wake-up", "abort", "reset-prefix-cache",
)  # fmt: skip
_OPPOSITES: Final = (("pause", "resume"), ("sleep", "wake-up"))


def read_steps(value: object) -> tuple[Step, ...]:
    """Read all steps.

    :raises InvalidMembers: naming every member that is wrong, by the number of its step, from 1, and its own name; of
        very many the first.
    """
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_STEPS:
        raise ValueError(f"must be a list of 1 to {_MOST_STEPS} steps")
    steps: list[Step] = []
    faults: list[tuple[str, str]] = []
    latest = 0.0
    for number, each in enumerate(value, 1):
        if not isinstance(each, Mapping):
            faults.append((str(number), "must be a map"))
            continue
        members = Members(normal(each))
        step = _step(number, members, each, latest)
        if step.at < latest:
            members.fault("at", f"is before the step before it, which is at {latest:g}s")
        latest = max(latest, step.at)
        steps.append(step)
        faults += [(f"{number}.{member}", fault) for member, fault in members.faults]
        if len(faults) > MOST_FAULTS:
            break
    if faults:
        raise InvalidMembers(faults)
    return tuple(steps)


def _step(number: int, members: Members, written: Mapping[str, Any], latest: float) -> Step:
    """Read a step.

    :param latest: when those before it are.
    """
    take = members.take
    if "at" not in members.given:
        members.fault("at", "is missing")
    at = take("at", read_time, latest)
    over = take("over", read_lasting, 0.0)
    if ("over" in members.given) != ("ramp" in members.given):
        members.fault("over", "is how long a ramp takes, and goes together with one")
    values = take("set", read_options, {})
    if "fake-metrics" in members.given:
        values = values | take("fake-metrics", lambda value: read_options({"fake-metrics": value}), {})
    ramps = take("ramp", lambda value: read_ramps(value, at, over), ())
    step = Step(
        number,
        at,
        _shown(written),
        note=take("note", text, ""),
        set=values,
        ramps=ramps,
        kv_pressure=take(PRESSURE, read_share),
        load=take("load-adapter", lambda value: read_several(value, _adapter), ()),
        unload=take("unload-adapter", lambda value: read_several(value, read_name), ()),
        ready=take("ready", flag),
        healthy=take("healthy", flag),
        pause=take("pause", _pause),
        resume=take("resume", read_yes, False),
        sleep=take("sleep", _sleep),
        wake_up=take("wake-up", _wake_up),
        abort=take("abort", read_yes, False),
        reset_prefix_cache=take("reset-prefix-cache", read_yes, False),
    )
    _blame_contradictions(step, members)
    blame_unknown(members, _MEMBERS)
    return step


def _shown(written: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in written.items() if name not in {"at", "note"}}
    options = shown.get("set")
    return {**shown, "set": masked(options)} if isinstance(options, Mapping) else shown


def _blame_contradictions(step: Step, members: Members) -> None:
    for one, other in _OPPOSITES:
        if {one, other} <= members.given:
            members.fault(one, f"goes with no {other} at the same time")
    fixed = touched(step)
    for ramp in step.ramps:
        if ramp.name in fixed:
            members.fault(f"ramp.{ramp.name}", "is given a value in the same step")
    if members.given <= {"at", "over"}:
        members.fault("at", "is all that the step has")


def _adapter(value: object) -> NewAdapter:
    if not isinstance(value, Mapping):
        raise ValueError("must be a map of name and path")
    read = read_members(normal(value), "name", name=read_name, path=_path)
    if set(read) != {"name", "path"}:
        raise ValueError("must have a name and a path")
    return NewAdapter(**read)


def _path(value: object) -> str:
    path = text(value)
    if not 1 <= len(path) <= _LONGEST_PATH:
        raise ValueError(f"must have 1 to {_LONGEST_PATH} characters")
    return path


def _mode(value: object) -> PauseMode:
    if value not in _MODES:
        raise ValueError(f"must be one of {', '.join(_MODES)}")
    return value


def _pause(value: object) -> Pause:
    if value is True:
        return Pause()
    read = read_members(value, "mode", **{"mode": _mode, "clear-cache": flag})
    return Pause(**{name.replace("-", "_"): member for name, member in read.items()})


def _sleep(value: object) -> Sleep:
    if value is True:
        return Sleep()
    return Sleep(**read_members(value, "level", level=lambda level: integer(level, 0, _DEEPEST_SLEEP), mode=_mode))


def _wake_up(value: object) -> tuple[str, ...]:
    tags = () if value is True else read_several(value, text)
    if not {*tags} <= {*_SLEEPERS}:
        raise ValueError(f"must be true, or some of {', '.join(_SLEEPERS)}")
    return tags
