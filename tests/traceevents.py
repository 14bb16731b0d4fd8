"""Reads files of Chrome's trace events as their viewers do, and is stricter.

The format is an array of objects, each with a phase ``ph``: ``X`` is a slice of a thread, ``b`` and ``e`` begin and
end a slice of what has a category and, in its process, an id, ``C`` is a value of a counter and ``M`` says what
something is called. Where the end of the array is missing, viewers take what there is.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from attrs import define, field

Event = dict[str, Any]


@define
class Slice:
    """Something that has lasted a while; to the end of the trace, if `end` is None."""

    name: str
    begin: int
    end: int | None = None
    facts: dict[str, Any] = field(factory=dict)


@define
class Trace:
    """What a file says.

    :param names: what processes are called.
    :param steps: the slices of each process's thread.
    :param sequences: the slices of each process's sequences, by number; the first is around the others.
    :param counters: the values of each process's counters, by name.
    """

    names: dict[int, str] = field(factory=dict)
    steps: dict[int, list[Slice]] = field(factory=lambda: defaultdict(list))
    sequences: dict[tuple[int, int], list[Slice]] = field(factory=lambda: defaultdict(list))
    counters: dict[tuple[int, str], list[tuple[int, dict[str, int]]]] = field(factory=lambda: defaultdict(list))


def events(text: str) -> list[Event]:
    """Read the events of a file, the end of which may be missing."""
    if text.endswith("]\n"):
        return list(json.loads(text))
    whole = text[: text.rfind("\n") + 1].rstrip().rstrip(",")
    return list(json.loads(whole + "]")) if whole else []


def read(path: Path) -> Trace:
    """Read a file.

    :raises AssertionError: where it makes no sense.
    """
    trace = Trace()
    stacks: dict[tuple[int, int], list[Slice]] = defaultdict(list)
    for event in events(path.read_text("ascii")):
        pid, kind = event["pid"], event["ph"]
        assert isinstance(event["name"], str), event
        if kind == "M":
            if event["name"] == "process_name":
                trace.names[pid] = event["args"]["name"]
            continue
        at = event["ts"]
        assert isinstance(at, int), event
        if kind == "X":
            steps = trace.steps[pid]
            assert event["dur"] >= 0, event
            # Slices of a thread are one in the other, or beside each other.
            assert not steps or at >= (steps[-1].end or 0), (steps[-1], event)
            steps.append(Slice(event["name"], at, at + event["dur"], event["args"]))
        elif kind == "C":
            values = trace.counters[pid, event["name"]]
            assert not values or at >= values[-1][0], event
            assert all(value >= 0 for value in event["args"].values()), event
            values.append((at, event["args"]))
        else:
            _read_async(trace.sequences, stacks, event)
    return trace


def _read_async(
    sequences: dict[tuple[int, int], list[Slice]], stacks: dict[tuple[int, int], list[Slice]], event: Event
) -> None:
    key, at = (event["pid"], event["id2"]["local"]), event["ts"]
    assert event["cat"] == "sequence", event
    stack = stacks[key]
    if event["ph"] == "b":
        assert not stack or at >= stack[-1].begin, event
        stack.append(Slice(event["name"], at, None, event.get("args", {})))
        sequences[key].append(stack[-1])
    else:
        assert event["ph"] == "e", event
        ended = stack.pop()
        assert ended.name == event["name"], (ended, event)
        assert at >= ended.begin, (ended, event)
        ended.end = at
