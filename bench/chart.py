# -*- test-case-name: tests.bench.test_chart -*-
"""Draws figures over another as SVG: panels below each other that share an axis of powers of two."""

import math
import textwrap
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from attrs import frozen

_WIDTH: Final = 720
_LEFT: Final = 70
_RIGHT: Final = 30
_TOP: Final = 46
_HEIGHT: Final = 180
_GAP: Final = 44
_BELOW: Final = 24
_LINE: Final = 14
_LONGEST: Final = 100
"""Characters of a small line."""
_LINES: Final = 4
_DOT: Final = 3


@frozen
class Panel:
    """Figures that have an axis of their own.

    :param title: what they are, with their unit.
    :param values: one for each place of the shared axis, at least 0.
    :param colour: of their line.
    """

    title: str
    values: Sequence[float]
    colour: str


def draw(title: str, axis: str, places: Sequence[int], panels: Sequence[Panel], note: str) -> str:
    """Draw panels.

    :param axis: what they share.
    :param places: where there are figures, at least two, from the lowest to the highest.
    :param note: what stands below.
    """
    notes = textwrap.wrap(note, _LONGEST, break_on_hyphens=False)
    below = _TOP + len(panels) * (_HEIGHT + _GAP)
    height = below + _BELOW + len(notes) * _LINE
    low, high = math.log2(places[0]), math.log2(places[-1])

    def across(place: int) -> float:
        return _LEFT + (math.log2(place) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        _text(_WIDTH / 2, 20, title, "middle", size=15),
    ]
    for number, panel in enumerate(panels):
        top = _TOP + number * (_HEIGHT + _GAP)
        parts += _draw_panel(panel, top, [across(place) for place in places])
        parts += [_text(across(place), top + _HEIGHT + 16, str(place), "middle") for place in places]
    parts.append(_text(_WIDTH / 2, below, axis, "middle"))
    parts += [_text(_LEFT, below + _BELOW + n * _LINE, line, size=10) for n, line in enumerate(notes)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _draw_panel(panel: Panel, top: int, xs: Sequence[float]) -> list[str]:
    step = _step(max(panel.values))
    most = step * math.ceil(max(panel.values) / step)
    parts = [_text(_LEFT, top - 8, panel.title)]
    for line in range(round(most / step) + 1):
        value = line * step
        y = top + _HEIGHT * (1 - value / most)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{value:,g}", "end"))
    points = [(x, top + _HEIGHT * (1 - value / most)) for x, value in zip(xs, panel.values, strict=True)]
    line_of = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts.append(f'<polyline points="{line_of}" fill="none" stroke="{panel.colour}" stroke-width="2"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_DOT}" fill="{panel.colour}"/>' for x, y in points]
    return parts


def _step(most: float) -> float:
    """Choose how far lines are from each other: 1, 2 or 5 times a power of ten."""
    rough = (most or 1.0) / _LINES
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#333">{escape(text)}</text>'
