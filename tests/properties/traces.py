"""What the engine's trace must say of a rank that has come to rest."""

from pathlib import Path
from typing import Final

from tests.traceevents import read
from vllmsim.rank import Rank

_AFTER: Final[dict[str, set[str]]] = {
    "": {"queued"},
    "queued": {"fetch", "prefill"},
    "fetch": {"prefill"},
    "prefill": {"decode", "preempted"},
    "decode": {"preempted"},
    "preempted": {"fetch", "prefill"},
}
"""Which phases may follow which."""


def check_trace(path: Path, rank: Rank, number: int) -> None:
    """Every sequence went from one phase to one that may follow, and is gone; none is counted any more."""
    for file in rank.files:
        file.stop()
    if not path.exists():
        return
    trace = read(path)
    for slices in trace.sequences.values():
        names = [each.name for each in slices]
        assert names[0] == "sequence", names
        for before, after in zip(("", *names[1:]), names[1:], strict=False):
            assert after in _AFTER[before], names
        assert all(each.end is not None for each in slices), slices
    running = trace.counters[number, "sequences"]
    assert not running or running[-1][1] == {"running": 0, "waiting": 0}, running[-1]
    steps = [each.facts["step"] for each in trace.steps[number]]
    assert steps == list(range(1, len(steps) + 1)), steps
