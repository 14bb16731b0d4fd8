"""Writes the dashboard of ``etc/grafana``: what :mod:`tests.monitoring.serving` and its like say, as Grafana's JSON.

Run it with ``make dashboard`` when panels have changed; a test holds the file to it. JSON would say the same things of
ninety panels ninety times.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.monitoring.holding import CACHE, LORA, RANKS
from tests.monitoring.hosting import HTTP, PROCESS, SIMULATOR
from tests.monitoring.panels import Kind, Panel, Row
from tests.monitoring.serving import LATENCY, OVERVIEW, SCHEDULING, SPECULATION, THROUGHPUT

DASHBOARD: Final = Path(__file__).parents[2] / "etc" / "grafana" / "vllm.json"
WIDTH: Final = 24
"""Columns of Grafana's grid."""
ROWS: Final = (
    Row("Overview", OVERVIEW, collapsed=False),
    Row("Latency", LATENCY, collapsed=False),
    Row("Throughput", THROUGHPUT),
    Row("Scheduling", SCHEDULING),
    Row("Speculative decoding", SPECULATION),
    Row("KV cache", CACHE),
    Row("LoRA", LORA),
    Row("HTTP", HTTP),
    Row("Process", PROCESS),
    Row("Ranks", RANKS),
    Row("Simulator", SIMULATOR),
)
"""All but the last are of families that a vLLM has."""
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
VARIABLES: Final = {"job": "Job", "model_name": "Model", "instance": "Server", "engine": "Rank"}
"""Labels that one chooses by, with what they are called; each offers what goes with the choices before it."""


def draw(rows: Iterable[Row] = ROWS) -> dict[str, Any]:
    """Make the dashboard."""
    panels: list[dict[str, Any]] = []
    top, number = 0, 1
    for row in rows:
        heading = {
            "type": "row",
            "id": number,
            "title": row.title,
            "collapsed": row.collapsed,
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
        }
        drawn, below = _place(row.panels, top + 1, number + 1)
        number += 1 + len(drawn)
        if row.collapsed:
            panels.append(heading | {"panels": drawn})
            top += 1
        else:
            panels += [heading | {"panels": []}, *drawn]
            top = below
    return {
        "uid": "vllm",
        "title": "vLLM",
        "description": "Servers that are a vLLM 0.33, or answer as one. docs/monitoring.rst explains it row by row.",
        "tags": ["vllm", "vllmsim"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_source(), *_variables()]},
        "annotations": {"list": [_alerts()]},
        "panels": panels,
    }


def write(dashboard: dict[str, Any]) -> str:
    """Write a dashboard as it is in the file."""
    return json.dumps(dashboard, indent=1) + "\n"


def _place(panels: Sequence[Panel], top: int, number: int) -> tuple[list[dict[str, Any]], int]:
    """Set panels from left to right.

    :return: them, and where the next row begins.
    """
    placed: list[dict[str, Any]] = []
    left = height = 0
    for panel in panels:
        if left + panel.width > WIDTH:
            left, top, height = 0, top + height, 0
        at = {"x": left, "y": top, "w": panel.width, "h": panel.height}
        placed.append(_panel(panel) | {"id": number + len(placed), "gridPos": at})
        left, height = left + panel.width, max(height, panel.height)
    return placed, top + height


def _panel(panel: Panel) -> dict[str, Any]:
    table = panel.kind is Kind.TABLE
    targets = [
        {
            "refId": chr(ord("A") + place),
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend,
            "range": not table,
            "instant": table,
            "format": {Kind.TABLE: "table", Kind.HEATMAP: "heatmap"}.get(panel.kind, "time_series"),
        }
        for place, query in enumerate(panel.queries)
    ]
    drawn = {
        "type": panel.kind.value,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": targets,
        "options": _options(panel),
        "fieldConfig": _fields(panel),
    }
    if table:
        drawn["transformations"] = [
            {"id": "organize", "options": {"excludeByName": dict.fromkeys(panel.hidden, True)}},
        ]
    return drawn


def _options(panel: Panel) -> dict[str, Any]:
    tooltip = {"mode": "multi", "sort": "desc"}
    if panel.kind is Kind.STAT:
        return {
            "graphMode": "area",
            "colorMode": "value",
            "justifyMode": "auto",
            "textMode": "auto",
            "wideLayout": True,
            "showPercentChange": False,
            "percentChangeColorMode": "standard",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    if panel.kind is Kind.HEATMAP:
        return {
            "calculate": False,
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "fill": "dark-orange",
                "scale": "exponential",
                "exponent": 0.5,
                "steps": 64,
                "reverse": False,
            },
            "filterValues": {"le": 1e-9},
            "cellGap": 1,
            "cellValues": {"unit": "short", "decimals": 0},
            "showValue": "never",
            "rowsFrame": {"layout": "auto"},
            "yAxis": {"unit": panel.unit, "axisPlacement": "left", "reverse": False},
            "legend": {"show": True},
            "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
        }
    if panel.kind is Kind.TABLE:
        return {"showHeader": True, "cellHeight": "sm", "frameIndex": 0, "footer": {"show": False, "reducer": []}}
    return {
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": tooltip,
    }


def _fields(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": colour, "value": value} for colour, value in zip(("orange", "red"), panel.limits, strict=False)]
    fields: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.most is not None:
        fields |= {"min": 0, "max": panel.most}
    if panel.kind is Kind.TIMES:
        fields["color"] = {"mode": "palette-classic"}
        fields["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 10,
            "showPoints": "never",
            "spanNulls": False,
            "axisSoftMin": 0,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    elif panel.kind is Kind.STAT:
        fields["color"] = {"mode": "thresholds"}
        # What is a share of nothing, while nothing happens.
        fields["mappings"] = [{"type": "special", "options": {"match": "null+nan", "result": {"text": "-"}}}]
    return {"defaults": fields, "overrides": []}


def _source() -> dict[str, Any]:
    return {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "hide": 0}


def _variables() -> Iterable[dict[str, Any]]:
    chosen: list[str] = []
    for name, label in VARIABLES.items():
        yield {
            "type": "query",
            "name": name,
            "label": label,
            "datasource": SOURCE,
            "query": {
                "query": f"label_values(vllm:num_requests_running{{{', '.join(chosen)}}}, {name})",
                "refId": f"variable-{name}",
            },
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "multi": True,
            "includeAll": True,
            "refresh": 2,
            "sort": 1,
            "hide": 0,
        }
        chosen.append(f'{name}=~"${name}"')


def _alerts() -> dict[str, Any]:
    """Have alerts that fire marked in all panels."""
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": False,
        "hide": False,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Vllm.*", alertstate="firing"}',
    }


if __name__ == "__main__":
    DASHBOARD.write_text(write(draw()), "utf-8")
