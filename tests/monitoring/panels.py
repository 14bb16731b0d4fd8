"""What panels of the dashboard are, and what they ask Prometheus. The rest of the folder says which there are."""

from enum import Enum
from typing import Final

from attrs import frozen

SERVER: Final = 'job=~"$job", instance=~"$instance"'
"""What families of a process are chosen by; they know no model and no rank."""
MODEL: Final = f'{SERVER}, model_name=~"$model_name"'
"""What families of vLLM's front end are chosen by."""
RANK: Final = f'{MODEL}, engine=~"$engine"'
"""What families of the engine are chosen by."""


class Kind(Enum):
    """How a panel shows what it asks for, by Grafana's name."""

    TIMES = "timeseries"
    HEATMAP = "heatmap"
    STAT = "stat"
    TABLE = "table"


@frozen
class Query:
    """What is asked.

    :param legend: names a series by its labels.
    """

    expr: str
    legend: str = "{{model_name}}"


@frozen
class Panel:
    """A picture.

    :param unit: Grafana's name of a unit.
    :param width: columns, of 24.
    :param stacked: whether series are on top of each other.
    :param most: where the axis ends, if that is known.
    :param limits: from where on a number is orange, and from where on red.
    :param hidden: columns of a table that nobody wants to see.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = Kind.TIMES
    width: int = 8
    height: int = 8
    stacked: bool = False
    most: float | None = None
    limits: tuple[float, ...] = ()
    hidden: tuple[str, ...] = ()


@frozen
class Row:
    """Panels that belong together.

    :param collapsed: whether it is shut at first; then it asks for nothing.
    """

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = True


def rate(name: str, by: str = "model_name", labels: str = RANK) -> str:
    """Ask how fast a counter grows, per second, summed by labels."""
    return f"sum by ({by}) (rate({name}{{{labels}}}[$__rate_interval]))"


def level(name: str, by: str = "model_name", labels: str = RANK, how: str = "sum") -> str:
    """Ask what a gauge is, summed by labels."""
    return f"{how} by ({by}) ({name}{{{labels}}})"


def percentile(part: float, name: str, by: str = "model_name", labels: str = RANK) -> str:
    """Ask below what so many observations of a histogram are, those of all servers together."""
    return f"histogram_quantile({part}, {rate(f'{name}_bucket', f'{by}, le' if by else 'le', labels)})"


def mean(name: str, by: str = "model_name", labels: str = RANK) -> str:
    """Ask for the mean of a histogram's or a summary's observations."""
    return f"{rate(f'{name}_sum', by, labels)} / {rate(f'{name}_count', by, labels)}"


def share(part: str, whole: str, by: str = "model_name", labels: str = RANK) -> str:
    """Ask what share one counter has of another."""
    return f"{rate(part, by, labels)} / {rate(whole, by, labels)}"


def percentiles(
    title: str, text: str, name: str, unit: str = "s", by: str = "model_name", labels: str = RANK, width: int = 8
) -> Panel:
    """Show the 50th, 95th and 99th percentile of a histogram."""
    series = "".join(f" {{{{{label}}}}}" for label in by.split(", ") if label)
    queries = [Query(percentile(part, name, by, labels), f"p{round(part * 100)}{series}") for part in (0.5, 0.95, 0.99)]
    return Panel(title, text, tuple(queries), unit, width=width)


def heatmap(title: str, text: str, name: str, unit: str = "s", labels: str = RANK, width: int = 12) -> Panel:
    """Show how many observations of a histogram were in each bucket."""
    expr = f"sum by (le) (increase({name}_bucket{{{labels}}}[$__rate_interval]))"
    return Panel(title, text, (Query(expr, "{{le}}"),), unit, Kind.HEATMAP, width)


def both(title: str, text: str, name: str, unit: str = "s") -> tuple[Panel, Panel]:
    """Show percentiles, and all there is beside them."""
    return percentiles(title, text, name, unit, width=12), heatmap(f"{title}: all", text, name, unit)


def number(title: str, text: str, expr: str, unit: str = "short", *limits: float) -> Panel:
    """Show one number, large."""
    return Panel(title, text, (Query(expr, ""),), unit, Kind.STAT, 4, 4, limits=limits)
