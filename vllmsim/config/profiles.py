# -*- test-case-name: tests.config.test_profiles -*-
"""The ``step-profile`` option: how long steps took that somebody has measured."""

import csv
import os
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from attrs import frozen

from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.kinds import Kind
from vllmsim.config.members import Members, count, duration
from vllmsim.config.regular import read_regular
from vllmsim.config.scenario.text import MOST_BYTES, read_text
from vllmsim.durations import format_duration

MOST_STEPS: Final = 1000
"""Each is looked at for each step."""
_NAMES: Final = ("prefill-tokens", "decodes", "cached-tokens", "time")


@frozen
class MeasuredStep:
    """A step, and how long it took.

    :param prefill_tokens: tokens of prompts that it computed.
    :param decodes: sequences that computed their latest token.
    :param read: tokens whose keys and values it read.
    :param seconds: how long it took.
    """

    prefill_tokens: int
    decodes: int
    read: int
    seconds: float


@frozen
class StepProfile:
    """Steps that have been measured, at least one, and the file that they are from; empty for none."""

    steps: tuple[MeasuredStep, ...]
    path: str = ""


@frozen
class StepProfileKind(Kind):
    """The path of a file with measured steps, which is read at once; or the steps themselves."""

    placeholder: ClassVar[str] = "FILE"

    @property
    def allowed(self) -> str:
        """What may be given."""
        return "the path of a CSV or YAML file with measured steps, or a list of maps, each a step"

    def from_text(self, text: str) -> StepProfile | None:
        """Read the file, or a list in JSON."""
        if text.lstrip().startswith("["):
            return self.from_value(read_text(text.encode(), json=True))
        return _read_file(text) if text else None

    def from_value(self, value: object) -> StepProfile | None:
        """Read the steps, or the file."""
        return StepProfile(_read_steps(value)) if isinstance(value, list) else super().from_value(value)

    def to_value(self, value: StepProfile | None) -> object:
        """Write the path, or the steps."""
        if value is None or value.path:
            return value.path if value else None
        return [
            dict(zip(_NAMES, (s.prefill_tokens, s.decodes, s.read, format_duration(s.seconds)), strict=True))
            for s in value.steps
        ]


def _read_file(path: str) -> StepProfile:
    try:
        content = read_regular(path, MOST_BYTES + 1)
        steps = _read_steps(_rows(content) if path.lower().endswith(".csv") else _listed(content, path))
    except ValueError as error:
        raise ValueError(f"cannot read {path!r}: {error}") from None
    # It is read again when the program has left the folder that it was started in.
    return StepProfile(steps, os.path.abspath(path))  # noqa: PTH100 - links stay as they are


def _listed(content: bytes, path: str) -> object:
    return read_text(content, json=path.lower().endswith(".json"))


def _rows(content: bytes) -> list[dict[str, Any]]:
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    try:
        lines = content.decode("utf-8-sig").splitlines()
        rows = [row for row in csv.reader(lines, strict=True) if row and not row[0].lstrip().startswith("#")]
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except csv.Error as error:
        raise ValueError(f"it is not CSV: {error}") from None
    if not rows:
        raise ValueError("its first line must name columns")
    names = [name.strip() for name in rows[0]]
    if len(set(names)) < len(names):
        raise ValueError("two of its columns have the same name")
    if wrong := next((row for row in rows[1:] if len(row) != len(names)), None):
        raise ValueError(f"row {rows.index(wrong)} has {len(wrong)} columns, and the first line has {len(names)}")
    return [dict(zip(names, map(_cell, row), strict=True)) for row in rows[1:]]


def _cell(text: str) -> int | str | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() else text or None


def _read_steps(value: object) -> tuple[MeasuredStep, ...]:
    """Read steps.

    :raises InvalidMembers: naming every member that is wrong, by the number of its step, from 0.
    :raises ValueError: when they are none, or too many.
    """
    if not isinstance(value, list) or not value:
        raise ValueError("it is not a list of steps")
    if len(value) > MOST_STEPS:
        raise ValueError(f"it has {len(value)} steps, and at most {MOST_STEPS} are allowed")
    steps, faults = [], []
    for number, each in enumerate(value):
        if not isinstance(each, Mapping):
            faults.append((str(number), "must be a map"))
            continue
        members = Members({str(name).replace("_", "-"): member for name, member in each.items()})
        steps.append(_read_step(members))
        faults += [(f"{number}.{name}", fault) for name, fault in members.faults]
    if faults:
        raise InvalidMembers(_first(faults))
    return tuple(steps)


_MOST_FAULTS: Final = 20


def _first(faults: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(faults)[:_MOST_FAULTS]


def _read_step(members: Members) -> MeasuredStep:
    step = MeasuredStep(
        members.take("prefill-tokens", count, 0),
        members.take("decodes", count, 0),
        members.take("cached-tokens", count, 0),
        members.take("time", duration, -1.0),
    )
    members.finish(f"is none of {', '.join(_NAMES)}")
    if "time" not in members.given:
        members.fault("time", "is missing")
    if not members.faults and not step.prefill_tokens + step.decodes:
        members.fault("prefill-tokens", "must be above 0 where decodes is not: the step computes nothing")
    return step
