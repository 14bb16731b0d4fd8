"""How many cases each surface has, how one of them is made again, and what became of them.

``FUZZ_CASES`` is how many there are over all surfaces, ``FUZZ_SEED`` says which, and ``FUZZ_CASE`` is the number of the
only one that is to be played. Without the first each surface has as many as its module says: few.
"""

import os
import random
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field, frozen


@frozen
class Surface:
    """One kind of input.

    :param module: where it is tried.
    :param weight: how many of all cases it has, beside the weights of the others.
    """

    module: str
    weight: int


SURFACES: Final = {
    "described requests": Surface("tests/integration/test_schemathesis.py", 4),
    "HTTP/2 frames": Surface("tests/web/http2/test_fuzz.py", 16),
    "HTTP bytes": Surface("tests/fuzz/test_http_bytes.py", 25),
    "JSON bodies": Surface("tests/fuzz/test_json_bodies.py", 15),
    "YAML": Surface("tests/fuzz/test_yaml.py", 10),
    "SQLite": Surface("tests/fuzz/test_sqlite.py", 4),
    "gRPC frames": Surface("tests/fuzz/test_grpc_frames.py", 8),
    "msgpack replay": Surface("tests/fuzz/test_replay.py", 8),
}
SEED: Final = int(os.environ.get("FUZZ_SEED", "2"))
_ENOUGH: Final = 10
"""With so many findings a surface is left."""


class Refused(Exception):
    """A case was answered with an error that tells what is wrong with it, as it should be. Who plays it raises this."""


@define
class Figures:
    """What became of the cases of one surface."""

    surface: str
    accepted: int = 0
    refused: int = 0
    findings: list[str] = field(factory=list)
    notes: str = ""
    """More that was measured, as it is printed."""

    @property
    def cases(self) -> int:
        """How many have been played."""
        return self.accepted + self.refused + len(self.findings)

    def count(self, *, refused: bool) -> None:
        """Count one that was answered as it should be."""
        self.refused += refused
        self.accepted += not refused

    def __str__(self) -> str:
        """Write the line of this surface."""
        counts = f"{self.cases} cases, {self.accepted} accepted, {self.refused} refused, {len(self.findings)} findings"
        return f"{self.surface}: {counts}{self.notes and ', '}{self.notes}"

    def tell(self) -> None:
        """Print the line, and fail if there are findings."""
        print(self)  # noqa: T201 - the figures
        if self.findings:
            raise AssertionError("\n\n".join(self.findings))


PLAYED: Final[list[Figures]] = []
"""The figures of all surfaces that this process has tried."""


def cases(surface: str, default: int) -> int:
    """Tell how many cases a surface has.

    :param surface: its name in :data:`SURFACES`.
    :param default: how many when nobody has asked for more.
    """
    total = os.environ.get("FUZZ_CASES")
    if total is None:
        return default
    return -(-int(total) * SURFACES[surface].weight // sum(each.weight for each in SURFACES.values()))


def chance_of(surface: str, number: int) -> random.Random:
    """Make what decides about one case. It is the same each time, whichever cases come before."""
    return random.Random(f"{SEED} {surface} {number}")


def play(
    surface: str, default: int, case: Callable[[random.Random, int], object], *, look: Callable[[], object] = int
) -> Figures:
    """Play the cases of a surface. What a case raises is a finding, with the command that plays it again.

    :param default: how many there are when nobody has asked for more.
    :param case: plays one, given what decides and its number, and raises :class:`Refused` for one that was refused as
        it should be.
    :param look: is called behind each case, and raises when it sees that something is wrong.
    """
    figures = Figures(surface)
    PLAYED.append(figures)
    for number in _numbers(surface, default):
        try:
            try:
                case(chance_of(surface, number), number)
            finally:
                look()
        except Refused:
            figures.count(refused=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            again = f"make fuzz FUZZ_SEED={SEED} FUZZ_CASE={number} FUZZ_SURFACE='{surface}'"
            reasons = "\n".join(f"{type(each).__name__}: {each}" for each in (error, error.__cause__) if each)
            figures.findings.append(f"{surface}, case {number}: {reasons}\nagain: {again}")
            if len(figures.findings) >= _ENOUGH:
                break
        else:
            figures.count(refused=False)
    return figures


def _numbers(surface: str, default: int) -> Sequence[int]:
    only = os.environ.get("FUZZ_CASE")
    return range(cases(surface, default)) if only is None else [int(only)]
