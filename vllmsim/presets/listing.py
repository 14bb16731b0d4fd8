# -*- test-case-name: tests.presets.test_listing -*-
"""Writes the tables of presets that the documentation has."""

from collections.abc import Iterable, Sequence

import attrs

from vllmsim.presets.devices import DEVICES
from vllmsim.presets.models import MODELS
from vllmsim.shapes import DeviceShape, ModelShape


def presets_tables() -> dict[str, str]:
    """Write them in reST, by the names of their files."""
    models = ((name, preset.shape, preset.source) for name, preset in MODELS.items())
    devices = ((name, preset.shape, preset.source) for name, preset in DEVICES.items())
    return {"models.rst": _table(ModelShape, models), "devices.rst": _table(DeviceShape, devices)}


def _table(kind: type, rows: Iterable[tuple[str, ModelShape | DeviceShape, str]]) -> str:
    names = [each.name for each in attrs.fields(kind)]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    lines += _row(["preset", *(name.replace("_", "-") for name in names), "source"])
    for name, shape, source in rows:
        lines += _row([f"``{name}``", *(_cell(getattr(shape, each)) for each in names), source])
    return "\n".join([*lines, ""])


def _row(cells: Sequence[str]) -> list[str]:
    return [f"   {'*' if not place else ' '} - {cell}".rstrip() for place, cell in enumerate(cells)]


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.10g}" if value else ""
