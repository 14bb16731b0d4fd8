"""What a process takes, over the time, and whether it becomes more."""

from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression, median
from typing import Any, Final

from attrs import define, field, frozen

WARM_UP: Final = 0.15
"""The share of the time that does not count."""
KB: Final = 1024
_SHOWN: Final = 15


@frozen
class Sample:
    """What a process takes at a moment.

    :param at: in seconds from the beginning.
    :param resident: bytes of memory.
    :param busy: seconds of a core since its beginning.
    :param calls: what is to be called later.
    """

    at: float
    descriptors: int
    threads: int
    resident: int
    busy: float
    calls: int


def sample(pid: int, at: float, calls: int) -> Sample:
    """Look at a process."""
    folder = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text("ascii").splitlines())
    ticks = (folder / "stat").read_text("ascii").rpartition(")")[2].split()
    return Sample(
        at,
        len(list((folder / "fd").iterdir())),
        int(status["Threads"]),
        int(status["VmRSS"].split()[0]) * KB,
        (int(ticks[11]) + int(ticks[12])) / 100,
        calls,
    )


@frozen
class Trend:
    """How a figure has changed.

    :param before: its median after the warm-up, in as much time as that took.
    :param after: its median at the end, in as much time.
    :param slope: by how much it grows in an hour, after the warm-up.
    """

    before: float
    after: float
    slope: float


def trend(points: Sequence[tuple[float, float]], length: float) -> Trend:
    """Find out how a figure has changed.

    :param points: times in seconds from the beginning, and values.
    :param length: seconds that all took.
    """
    counted = [(at, value) for at, value in points if at >= WARM_UP * length]
    early = [value for at, value in counted if at < 2 * WARM_UP * length]
    late = [value for at, value in counted if at >= (1 - WARM_UP) * length]
    slope = linear_regression(*zip(*counted, strict=True)).slope if len(counted) > 2 else 0.0
    return Trend(median(early or [0]), median(late or [0]), slope * 3600)


@define(eq=False)
class Growth:
    """Looks at a process now and then."""

    pid: int
    samples: list[Sample] = field(init=False, factory=list)
    types: list[tuple[float, dict[str, int]]] = field(init=False, factory=list)

    def look(self, at: float, census: dict[str, Any]) -> None:
        """Look at it now.

        :param census: what it says of itself; see :mod:`tests.soak.plugin`.
        """
        self.samples.append(sample(self.pid, at, census["calls"]))
        if "types" in census:
            self.types.append((at, census["types"]))

    def most_grown(self) -> list[tuple[str, int, int]]:
        """Find the types of which there are most more objects than after the warm-up; with both numbers."""
        if len(self.types) < 3:
            return []
        (_, before), (_, after) = self.types[1], self.types[-1]
        grown = sorted(((after[name] - before.get(name, 0), name) for name in after), reverse=True)
        return [(name, before.get(name, 0), after[name]) for _, name in grown[:_SHOWN]]

    def trend(self, name: str, length: float) -> Trend:
        """Find out how something has changed, by the name that :class:`Sample` has for it."""
        return trend([(each.at, getattr(each, name)) for each in self.samples], length)

    def share(self) -> float:
        """Tell which share of a core it has used."""
        first, last = self.samples[0], self.samples[-1]
        return (last.busy - first.busy) / (last.at - first.at) if last.at > first.at else 0.0
