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
"""Seconds from which on growth and freezes say something."""
_FREEZE: Final = 1.0
_MB: Final = 1024 * KB


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


def rows(soak: "Soak") -> list[Row]:
    """Make the table."""
    books, length, long = soak.books, soak.seconds, soak.seconds >= _LONG
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
            Row(f"KV events of rank {number}", f"{each['events']} in {each['batches']} batches, {each['lost']} lost")
            for number, each in enumerate(soak.mirrors)
        ),
        Row("share of a core", f"{soak.growth.share():.0%}"),
    ]
    for name, unit, most in (("descriptors", 1, 5), ("threads", 1, 2), ("resident", _MB, None)):
        trend = soak.growth.trend(name, length)
        bound = 0.1 * trend.before / unit if most is None else most
        grown = (trend.after - trend.before) / unit
        figure = f"{trend.before / unit:.6g} -> {trend.after / unit:.6g}, {trend.slope / unit:+.2f} per hour"
        what = f"{name}, MB" if unit == _MB else name
        found.append(Row(what, figure, f"at most {bound:+.1f}" if long else "", not long or grown <= bound))
    for what, told in (("/health", soak.probe), ("a sleep (control)", soak.control)):
        delays = told["delays"]
        found.append(Row(f"{what}: median, p99, worst", ", ".join(_ms(delays, share) for share in (0.5, 0.99, 1))))
    worst = max(freezes(soak.probe, soak.control), default=0.0)
    found.append(
        Row("longest freeze", f"{worst:.2f} s", f"below {_FREEZE} s" if long else "", not long or worst < _FREEZE)
    )
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
    return "\n".join([*lines, "", *soak.troubles[:40], ""]), all(row.kept for row in table)
