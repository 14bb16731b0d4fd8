# -*- test-case-name: tests.test_enginetrace -*-
"""Writes down what an engine does, step by step and sequence by sequence, for eyes: as Chrome's trace events.

https://ui.perfetto.dev and chrome://tracing draw such a file. It is an array of JSON with one event on a line. Its end
may be missing, as it is while the engine works, or when the process was killed: readers of the format accept that.

Slices of a thread are steps. Each sequence has a slice of its own, and in that one for each phase of its life. Counters
are sequences that run and that wait, and KV blocks. Times are microseconds since the midnight (UTC) before the start:
the files of several ranks go together, and viewers, which count nanoseconds in floating point, lose nothing.

The reactor only notes what has happened; :class:`TraceEvents` makes events of that in a thread.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

import orjson
from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from vllmsim.appending import AppendedFile, Frame
from vllmsim.interfaces import IEngineTrace
from vllmsim.steps import Phase, StepWork

MOST_WAITING: Final = 100_000
"""How many notes may wait to be written: some 30 MB."""
_MICROSECONDS: Final = 1e6
_THREAD: Final = 1
_SEQUENCE: Final = "sequence"
_RUNNING: Final[frozenset[Phase]] = frozenset(("prefill", "decode"))

Event: TypeAlias = dict[str, object]


@frozen(eq=False)
class _Blocks:
    """How many KV blocks were in use, and could be found, at a time."""

    at: float
    used: int
    cached: int


@frozen(eq=False)
class _Step(_Blocks):
    """A step that began, and the blocks of those that are in it."""

    seconds: float
    work: StepWork
    facts: Mapping[str, int]


@frozen(eq=False)
class _Move(_Blocks):
    """A sequence that came to another phase."""

    number: int
    phase: Phase | None
    facts: Mapping[str, object]


@define(eq=False)
class TraceEvents:
    """Makes trace events, one on a line, of what has happened on a rank.

    :param rank: its number.
    :param name: what its process is called.
    :param offset: what there is between its clock and the time of day, in seconds.
    """

    _rank: int
    _name: str
    _offset: float
    _open: dict[int, tuple[Phase, Mapping[str, object]]] = field(init=False, factory=dict)
    """Where the sequences are that have not come to their end, with what is told of them."""
    _counts: dict[str, dict[str, int]] = field(init=False, factory=dict)
    """What counters show, and what they were last told to."""
    _last: int = field(init=False, default=-1)
    """The time of what was told last."""
    _running: int = field(init=False, default=0)

    @property
    def head(self) -> bytes:
        """What a file begins with."""
        return b"[\n" + self._lines(self._names())

    @property
    def tail(self) -> bytes:
        """What it ends with: an event that says nothing new, as the last has no comma behind it."""
        return orjson.dumps(self._names()[0]) + b"\n]\n"

    def write(self, happened: Sequence[_Blocks], new: bool) -> bytes:
        """Make lines.

        :param new: whether they begin a file, which is told of all sequences that are there.
        """
        events: list[Event] = []
        if new:
            self._counts.clear()
            for number, (phase, facts) in self._open.items():
                events += (
                    self._slice("b", number, _SEQUENCE, self._last, facts),
                    self._slice("b", number, phase, self._last),
                )
        for each in happened:
            at = self._time(each.at)
            if at > self._last:
                # What happens at one time is counted once. A step begins when the last was due, so it may be told late.
                if self._last >= 0:
                    self._count_sequences(events)
                self._last = at
            if isinstance(each, _Step):
                events.append(self._step(each, at))
            elif isinstance(each, _Move):
                self._move(events, each, at)
            self._count(events, "KV blocks", {"used": each.used, "cached": each.cached})
        self._count_sequences(events)
        return self._lines(events)

    def _time(self, seconds: float) -> int:
        return round((seconds + self._offset) * _MICROSECONDS)

    def _lines(self, events: Sequence[Event]) -> bytes:
        return b"".join(orjson.dumps(event) + b",\n" for event in events)

    def _names(self) -> Sequence[Event]:
        names = ("process_name", 0, self._name), ("thread_name", _THREAD, "steps")
        return [
            {"name": kind, "ph": "M", "pid": self._rank, "tid": thread, "args": {"name": name}}
            for kind, thread, name in names
        ]

    def _step(self, step: _Step, at: int) -> Event:
        work = step.work
        kinds = "prefill" if work.prefill_tokens else "", "decode" if work.decodes or work.draft_tokens else ""
        return {
            "name": " and ".join(filter(None, kinds)),
            "cat": "step",
            "ph": "X",
            "ts": at,
            # Two times are rounded and not the duration: so a step does not seem to begin before the last has ended.
            "dur": self._time(step.at + step.seconds) - at,
            "pid": self._rank,
            "tid": _THREAD,
            "args": {
                **step.facts,
                "tokens": work.tokens,
                "prefill_tokens": work.prefill_tokens,
                "decodes": work.decodes,
                "draft_tokens": work.draft_tokens,
                "read": work.read,
                "pairs": work.pairs,
            },
        }

    def _move(self, events: list[Event], move: _Move, at: int) -> None:
        number, phase, facts = move.number, move.phase, move.facts
        came = number not in self._open
        if came:
            events.append(self._slice("b", number, _SEQUENCE, at, facts))
        else:
            before, known = self._open.pop(number)
            self._running -= before in _RUNNING
            events.append(self._slice("e", number, before, at))
        if phase is None:
            events.append(self._slice("e", number, _SEQUENCE, at))
        else:
            self._running += phase in _RUNNING
            self._open[number] = phase, facts if came else known
            events.append(self._slice("b", number, phase, at, None if came else facts))

    def _slice(self, kind: str, number: int, name: str, at: int, facts: Mapping[str, object] | None = None) -> Event:
        event: Event = {
            "name": name,
            "cat": _SEQUENCE,
            "ph": kind,
            "ts": at,
            "pid": self._rank,
            "tid": _THREAD,
            # Other ranks have the same numbers.
            "id2": {"local": number},
        }
        return {**event, "args": facts} if facts else event

    def _count_sequences(self, events: list[Event]) -> None:
        self._count(events, "sequences", {"running": self._running, "waiting": len(self._open) - self._running})

    def _count(self, events: list[Event], name: str, counts: dict[str, int]) -> None:
        if counts != self._counts.get(name):
            self._counts[name] = counts
            events.append({"name": name, "ph": "C", "ts": self._last, "pid": self._rank, "args": counts})


@implementer(IEngineTrace)
@define(eq=False)
class EngineTrace:
    """Notes what happens, and has it written to a file.

    :param blocks: tells how many KV blocks are in use, and how many can be found.
    """

    file: AppendedFile[_Blocks]
    _blocks: Callable[[], tuple[int, int]]
    _numbers: "count[int]" = field(init=False, factory=lambda: count(1))
    _steps: "count[int]" = field(init=False, factory=lambda: count(1))
    _last: tuple[int, int] = field(init=False, default=(0, 0))

    def step_began(self, at: float, seconds: float, work: StepWork, facts: Mapping[str, int]) -> None:
        """Note a step; see :class:`vllmsim.interfaces.IEngineTrace`."""
        self.file.add(_Step(at, *self._count(), seconds, work, {"step": next(self._steps), **facts}))

    def sequence_came(self, at: float, facts: Mapping[str, object]) -> int:
        """Note a sequence; see :class:`vllmsim.interfaces.IEngineTrace`."""
        number = next(self._numbers)
        self.sequence_moved(number, at, "queued", facts)
        return number

    def sequence_moved(self, number: int, at: float, phase: Phase, facts: Mapping[str, object]) -> None:
        """Note where it is; see :class:`vllmsim.interfaces.IEngineTrace`."""
        self.file.add(_Move(at, *self._count(), number, phase, facts))

    def sequence_left(self, number: int, at: float) -> None:
        """Note its end; see :class:`vllmsim.interfaces.IEngineTrace`."""
        self.file.add(_Move(at, *self._count(), number, None, {}))

    def look(self, at: float) -> None:
        """Note how many blocks are in use, if that has changed."""
        if self._blocks() != self._last:
            self.file.add(_Blocks(at, *self._count()))

    def _count(self) -> tuple[int, int]:
        self._last = self._blocks()
        return self._last


def make_engine_trace(
    path: str,
    most_bytes: int,
    rank: int,
    name: str,
    offset: float,
    blocks: Callable[[], tuple[int, int]],
    clock: IReactorTime,
    defer_to_thread: Callable[..., Deferred[Any]],
) -> EngineTrace:
    """Make what writes down what a rank does.

    :param path: of the file.
    :param most_bytes: how long it may become before another takes its place.
    :param rank: the rank's number.
    :param name: what its process is called.
    :param offset: what there is between its clock and the time of day, in seconds.
    :param blocks: tells how many KV blocks are in use, and how many can be found.
    :param clock: where time comes from.
    :param defer_to_thread: runs a function off the reactor.
    """
    events = TraceEvents(rank, name, offset)
    frame = Frame(events.head, events.tail, most_bytes)
    file = AppendedFile("engine trace", path, events.write, clock, defer_to_thread, frame, MOST_WAITING)
    return EngineTrace(file, blocks)
