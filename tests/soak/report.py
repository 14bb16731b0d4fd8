"""What a soak has shown, as a table of figures with their bounds."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from tests.soak.growth import KB
from tests.soak.probe import INTERVAL

if TYPE_CHECKING:
    from tests.soak.soak import Soak

_LONG: Final = 120.0
"""Seconds from which on freezes and most growth say something."""
_SETTLED: Final = 1200.0
"""Seconds after whose warm-up all that is bounded is full: journals, windows of events, stored responses, caches."""
_FREEZE: Final = 1.0
_SHOWN: Final = 20
_MB: Final = 1024 * KB
_REST: Final = {"descriptors": 3, "threads": 10, "delayed calls": 10, "coroutines": 20, "Deferreds": 200}
"""By how many there may be more at rest than before there was any load: what is made once, and kept."""
_TRENDS: Final = (("descriptors", 1, 0.5), ("calls", 1, 1.0), ("resident", _MB, 0.05))
"""The share by which figures under load may grow after the warm-up. The load itself goes up and down."""


@frozen
class Row:
    """A figure.

    :param bound: what it must be; empty for one that tells something alone.
    """

    name: str
    figure: str
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


def _resting(name: str, before: int, after: int) -> Row:
    most = before + _REST[name]
    return Row(f"{name} at rest, before and after", f"{before}, {after}", f"at most {most}", after <= most)


def _trend(soak: "Soak", name: str, unit: int, most: float) -> Row:
    trend = soak.growth.trend(name, soak.seconds)
    bound = most * trend.before
    figure = f"{trend.before / unit:.4g} -> {trend.after / unit:.4g}, {trend.slope / unit:+.1f} per hour"
    held = soak.seconds >= _SETTLED
    what = f"{name} under load{', MB' if unit == _MB else ''}"
    return Row(what, figure, f"{bound / unit:+.1f}" if held else "", not held or trend.after - trend.before <= bound)


def rows(soak: "Soak") -> list[Row]:
    """Make the table."""
    books, long = soak.books, soak.seconds >= _LONG
    ways = Counter[str]()
    for (_, how), count in books.ways.items():
        ways[how] += count
    agreed = books.settled + books.unseen
    found = [
        Row("requests sent", f"{books.sent}"),
        *(Row(f"- {how}", f"{count}") for how, count in sorted(ways.items())),
        Row("- in the server's books too", f"{agreed}", f"{books.sent}", agreed == books.sent),
        Row("tokens in whole answers", f"{books.tokens}"),
        Row("sequences finished", ", ".join(f"{name} {count}" for name, count in sorted(books.finished.items()))),
        Row("outcomes", ", ".join(f"{name} {count}" for name, count in sorted(books.outcomes.items()))),
        Row("operator", ", ".join(f"{name} {count}" for name, count in sorted(soak.operator.done.items()))),
        Row(
            "scrapes, series at first and last",
            f"{soak.scraper.pages}, {soak.scraper.series[0]}, {soak.scraper.series[-1]}",
        ),
        *(
            Row(
                f"KV events of rank {number}",
                f"{each['events']} in {each['batches']} batches, {each['lost']} lost; {len(each['blocks'])} blocks",
            )
            for number, each in enumerate(soak.mirrors)
        ),
        Row("other subscribers", ", ".join(f"{name} {count}" for name, count in sorted(soak.subscribers.items()))),
        Row("share of a core", f"{soak.growth.share():.0%}"),
    ]
    found += [_resting(name, *(each[name] for each in soak.resting)) for name in _REST]
    found += [_trend(soak, name, unit, most) for name, unit, most in _TRENDS]
    for what, told in (("/health", soak.probe), ("a sleep (control)", soak.control)):
        delays = told["delays"]
        found.append(Row(f"{what}: median, p99, worst", ", ".join(_ms(delays, share) for share in (0.5, 0.99, 1))))
    worst = max(freezes(soak.probe, soak.control), default=0.0)
    found.append(
        Row("longest freeze", f"{worst:.2f} s", f"below {_FREEZE} s" if long else "", not long or worst < _FREEZE)
    )
    restarts = soak.scraper.total("vllmsim:pacer_restarts_total")
    found.append(Row("pacers restarted", f"{restarts:g}", "0", not restarts))
    found.append(Row("troubles", f"{len(soak.troubles)}", "0", not soak.troubles))
    return found


def report(soak: "Soak") -> tuple[str, bool]:
    """Write all of it down.

    :return: the text, and whether all is well.
    """
    table = rows(soak)
    cells = [
        ("figure", "value", "bound", ""),
        *((r.name, r.figure, r.bound, "" if r.kept else "NOT KEPT") for r in table),
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    lines = [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])).rstrip()
        for row in cells
    ]
    grown = (
        [f"{name}: {before} -> {after}" for name, before, after in soak.growth.most_grown()]
        if soak.seconds >= _LONG
        else []
    )
    return "\n".join([*lines, "", *grown, "", *soak.troubles[:_SHOWN], ""]), all(row.kept for row in table)
