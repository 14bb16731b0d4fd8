# -*- test-case-name: tests.config.scenario.test_reading -*-
"""Reads scenarios: a map of ``name``, ``note``, ``seed``, ``duration``, ``repeat``, ``keep``, ``rank`` and ``steps``.

A step is a map too: ``at`` says when, and every other member what happens then. Times have units, and ``-`` and ``_``
are the same in all names. Everything that is wrong is found at once.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import evolve

from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.members import Members, flag, integer, positive, text
from vllmsim.config.scenario.fitting import Fault, misfits
from vllmsim.config.scenario.members import blame_unknown, normal, read_name, read_time
from vllmsim.config.scenario.steps import MOST_FAULTS, read_steps
from vllmsim.config.scenario.text import read_text
from vllmsim.config.scenario.values import FOR_EVER, TICK, Scenario
from vllmsim.config.schema import Configuration
from vllmsim.errors import InvalidRequest

_SEEDS: Final = 1 << 64
_MEMBERS: Final = ("name", "note", "seed", "duration", "repeat", "keep", "rank", "steps")


def read_scenario(
    text: bytes, configurations: Mapping[int, Configuration], *, json: bool, rank: int | None = None
) -> Scenario:
    """Read the text of a scenario, and check that it goes with a server.

    A long one takes some hundred milliseconds.

    :param configurations: what the ranks have that it may be for, by their numbers.
    :param json: whether it is JSON, or else YAML.
    :param rank: the rank that it is for; None for what it says itself.
    :raises InvalidRequest: with everything that is wrong.
    """
    try:
        scenario = parse_scenario(read_text(text, json=json))
    except InvalidMembers as error:
        raise _refusal(error.faults) from None
    except ValueError as error:
        raise InvalidRequest(f"This is no scenario: {error}") from None
    if rank is not None:
        scenario = evolve(scenario, rank=rank)
    # One that is for none of them does not go with the first: that says which ranks there are.
    concerned = [each for number, each in configurations.items() if scenario.rank in {None, number}]
    concerned = concerned or [*configurations.values()][:1]
    faults = dict.fromkeys(fault for each in concerned for fault in misfits(scenario, each))
    if faults:
        raise _refusal(list(faults))
    return scenario


def scenario_of(configuration: Configuration) -> Scenario | None:
    """Read the scenario that a server begins with, if there is one.

    :raises InvalidRequest: with everything that is wrong with it, or does not go with the server.
    """
    file = configuration.scenario
    if file is None:
        return None
    configurations = dict.fromkeys(configuration.ranks, configuration)
    return read_scenario(file.text, configurations, json=file.path.endswith(".json"))


def _refusal(faults: Sequence[Fault]) -> InvalidRequest:
    count = "1 problem" if len(faults) == 1 else f"{len(faults)} problems"
    if len(faults) > MOST_FAULTS:
        count = f"More than {MOST_FAULTS} problems"
    texts = [f"{member}: {fault}" for member, fault in faults[:MOST_FAULTS]]
    return InvalidRequest(f"{count} in the scenario: {'; '.join(texts)}", faults[0][0])


def parse_scenario(value: object) -> Scenario:
    """Read a scenario.

    :param value: what JSON can say.
    :raises InvalidMembers: naming every member that is wrong, those of steps by their numbers from 1.
    :raises ValueError: when it is no map at all.
    """
    if not isinstance(value, Mapping):
        raise ValueError("a scenario must be a map")
    members = Members(normal(value))
    take = members.take
    name, steps = take("name", read_name), take("steps", read_steps, ())
    for needed in ("name", "steps"):
        if needed not in members.given:
            members.fault(needed, "is missing")
    end = max((step.end for step in steps), default=0.0)
    scenario = Scenario(
        name or "",
        steps,
        take("duration", read_time, end),
        take("note", text, ""),
        take("seed", _seed),
        take("repeat", _repeat, 1),
        take("keep", flag, False),
        take("rank", _rank),
    )
    if scenario.duration < end:
        members.fault("duration", f"ends before step {max(steps, key=lambda step: step.end).number} does")
    if scenario.repeat != 1 and scenario.duration < TICK and "steps" in members.given:
        members.fault("duration", f"must be at least {TICK:g}s for a scenario that is repeated")
    blame_unknown(members, _MEMBERS)
    if members.faults:
        raise InvalidMembers([(_placed(member), fault) for member, fault in members.faults])
    return scenario


def _placed(member: str) -> str:
    """Write the path of a member for people."""
    if not member.startswith("steps."):
        return member
    _, number, *rest = member.split(".", 2)
    return ", ".join([f"step {number}", *rest])


def _seed(value: object) -> int:
    return integer(value, -_SEEDS, _SEEDS)


def _rank(value: object) -> int:
    return integer(value, 0, 1 << 16)


def _repeat(value: object) -> int | None:
    try:
        return None if value == FOR_EVER else positive(value)
    except ValueError as error:
        raise ValueError(f"{error}, or {FOR_EVER}") from None
