# -*- test-case-name: tests.test_enginetrace -*-
"""Writes down what an engine does, step by step and sequence by sequence, for eyes: as Chrome's trace events.

https://ui.perfetto.dev and chrome://tracing draw such a file. It is an array of JSON with one event on a line. Its end
may be missing, as it is while the engine works, or when the process was killed: readers of the format accept that.

Slices of a thread are steps. Each sequence has a slice of its own, and in that one for each phase of its life. Counters
are sequences that run and that wait, and KV blocks. Times are microseconds since the epoch, so that the files of
several ranks go together.

The reactor only notes what has happened; :class:`TraceEvents` makes events of that in a thread.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
    :param offset: what there is between its clock and seconds since the epoch.
    """

    _rank: int
    _name: str
    _offset: float
    _open: dict[int, tuple[Phase, Mapping[str, object]]] = field(init=False, factory=dict)
    """Where the sequences are that have not come to their end, with what is told of them."""
    _counts: dict[str, dict[str, int]] = field(init=False, factory=dict)
    """What counters show, and what they were last told to."""
    _last: int = field(init=False, default=0)

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
            if at != self._last:
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
        if work.decodes + work.draft_tokens == 0:
            name = "prefill"
        else:
            name = "mixed" if work.prefill_tokens else "decode"
        return {
            "name": name,
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
        number, phase = move.number, move.phase
        if number in self._open:
            before, facts = self._open.pop(number)
            events.append(self._slice("e", number, before, at))
        else:
            facts = move.facts
            events.append(self._slice("b", number, _SEQUENCE, at, facts))
        if phase is None:
            events.append(self._slice("e", number, _SEQUENCE, at))
        else:
            self._open[number] = phase, facts
            events.append(self._slice("b", number, phase, at, {} if facts is move.facts else move.facts))

    def _slice(self, kind: str, number: int, name: str, at: int, facts: Mapping[str, object] | None = None) -> Event:
        event: Event = {
            "name": name,
            "cat": _SEQUENCE,
            "ph": kind,
            "ts": at,
            "pid": self._rank,
            "tid": _THREAD,
            "id": number,
        }
        return {**event, "args": facts} if facts else event

    def _count_sequences(self, events: list[Event]) -> None:
        running = sum(phase in _RUNNING for phase, _ in self._open.values())
        self._count(events, "sequences", {"running": running, "waiting": len(self._open) - running})

    def _count(self, events: list[Event], name: str, counts: dict[str, int]) -> None:
        if counts != self._counts.get(name):
            self._counts[name] = counts
            events.append({"name": name, "ph": "C", "ts": self._last, "pid": self._rank, "args": counts})
