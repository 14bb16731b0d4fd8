"""What a soak has shown, as a table of figures with their bounds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from tests.soak.growth import KB
from tests.soak.probe import INTERVAL
from tests.soak.side import Side

if TYPE_CHECKING:
    from tests.soak.soak import Soak

_LONG: Final = 120.0
"""Seconds from which on freezes and most growth say something."""
_SETTLED: Final = 1200.0
"""Seconds after whose warm-up all that is bounded is full: journals, windows of events, stored responses, caches."""
_FREEZE: Final = 1.0
_SHOWN: Final = 20
_SHARES: Final = {"median": 0.5, "p99": 0.99, "worst": 1.0}
_MB: Final = 1024 * KB
_REST: Final = {"descriptors": 3, "threads": 10, "delayed calls": 10, "coroutines": 20, "Deferreds": 200}
"""By how many there may be more at rest than before there was any load: what is made once, and kept."""
_TRENDS: Final = (("descriptors", 1, 0.5), ("calls", 1, 1.0), ("resident", _MB, 0.05))
"""The share by which figures under load may grow after the warm-up. The load itself goes up and down."""


@frozen
class Row:
    """A figure.

    :param cells: of the server over cleartext, and of that over TLS where it has one.
    :param bound: what they must be; empty for those that tell something alone.
    """

    name: str
    cells: Sequence[str]
    bound: str = ""
    kept: bool = True


def freezes(probe: dict[str, Any], control: dict[str, Any]) -> list[float]:
    """Find by how much slow looks at the server were slower than this machine made them.

    Who waits for a core is not frozen: so the time counts for nothing that the server and the probe waited for one, nor
    that by which the sleeps of the control at that moment were too long.
    """
    found = []
    for begun, delay, starved in probe["slow"]:
        late = max(
            (each for at, each, _ in control["slow"] if at < begun + delay and at + each + INTERVAL > begun),
            default=0.0,
        )
        found.append(max(0.0, delay - max(starved, late)))
    return found


def _ms(delays: Sequence[float], share: float) -> str:
    return f"{1e3 * delays[min(len(delays) - 1, int(share * len(delays)))]:.1f} ms" if delays else "none"


def _books(sides: Sequence[Side]) -> list[Row]:
    every = [side.books for side in sides]
    ways = [Counter[str]() for _ in every]
    for way, books in zip(ways, every, strict=True):
        for (_, how), count in books.ways.items():
            way[how] += count
    agreed = [books.settled + books.unseen for books in every]
    sent = [books.sent for books in every]
    return [
        Row("requests sent", [*map(str, sent)]),
        *(Row(f"- {how}", [str(way[how]) for way in ways]) for how in sorted({*ways[0], *ways[1]})),
        Row("- in both books", [*map(str, agreed)], "all", agreed == sent),
        Row("tokens in whole answers", [str(books.tokens) for books in every]),
    ]


def _resting(sides: Sequence[Side], name: str, most: int) -> Row:
    both = [tuple(each[name] for each in side.resting) for side in sides]
    kept = all(after <= before + most for before, after in both)
    return Row(f"{name} at rest", [f"{before} -> {after}" for before, after in both], f"at most {most:+d}", kept)


def _trend(soak: "Soak", sides: Sequence[Side], name: str, unit: int, most: float) -> Row:
    trends = [side.growth.trend(name, soak.seconds) for side in sides]
    held = soak.seconds >= _SETTLED
    return Row(
        f"{name} under load{', MB' if unit == _MB else ''}",
        [f"{each.before / unit:.4g} -> {each.after / unit:.4g}, {each.slope / unit:+.1f} per hour" for each in trends],
        f"at most {most:+.0%}" if held else "",
        not held or all(each.after <= each.before * (1 + most) for each in trends),
    )


def rows(soak: "Soak") -> list[Row]:
    """Make the table."""
    sides, long = (soak.plain, soak.secure), soak.seconds >= _LONG
    delays = [("/health", soak.probe["delays"]), ("a sleep (control)", soak.control["delays"])]
    worst = max(freezes(soak.probe, soak.control), default=0.0)
    restarts = [side.scraper.total("vllmsim:pacer_restarts_total") for side in sides]
    return [
        *_books(sides),
        Row("share of a core", [f"{side.growth.share():.0%}" for side in sides]),
        Row("scrapes", [f"{side.scraper.pages}" for side in sides]),
        Row("series, first -> last", [f"{side.scraper.series[0]} -> {side.scraper.series[-1]}" for side in sides]),
        *(_resting(sides, name, most) for name, most in _REST.items()),
        *(_trend(soak, sides, *each) for each in _TRENDS),
        *(Row(f"{what}, {name}", [_ms(told, share)]) for what, told in delays for name, share in _SHARES.items()),
        Row("longest freeze", [f"{worst:.2f} s"], f"below {_FREEZE:g} s" if long else "", not long or worst < _FREEZE),
        Row("pacers restarted", [f"{each:g}" for each in restarts], "0", not any(restarts)),
        Row("troubles", [str(len(soak.troubles))], "0", not soak.troubles),
    ]


def _details(soak: "Soak") -> list[str]:
    """Tell how much of what there was."""

    def counts(counted: Mapping[str, int]) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))

    books = soak.plain.books
    lines = [
        f"over cleartext, outcomes: {counts(books.outcomes)}",
        f"over cleartext, sequences finished: {counts(books.finished)}",
        f"over TLS, outcomes: {counts(soak.secure.books.outcomes)}",
        f"operator: {counts(soak.operator.done)}",
        f"restless subscribers: {counts(soak.subscribers)}",
    ]
    for rank, each in enumerate(soak.mirrors):
        told = f"{each['events']} in {each['batches']} batches, {each['lost']} lost"
        lines.append(f"KV events of rank {rank}: {told}; {len(each['blocks'])} blocks in the end")
    if soak.seconds >= _LONG:
        grown = soak.plain.growth.most_grown()
        lines += [f"objects under load: {name}: {before} -> {after}" for name, before, after in grown]
    return lines


def report(soak: "Soak") -> tuple[str, bool]:
    """Write all of it down.

    :return: the text, and whether all is well.
    """
    table = rows(soak)
    cells = [["figure", "cleartext", "over TLS", "bound", ""]]
    cells += [[r.name, *[*r.cells, ""][:2], r.bound, "" if r.kept else "NOT KEPT"] for r in table]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    text = [*lines, "", *_details(soak), "", *soak.troubles[:_SHOWN], ""]
    return "\n".join(text), all(row.kept for row in table)
