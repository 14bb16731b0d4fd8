"""What dashboard and rules ask Prometheus, found in their files."""

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml
from attrs import frozen

from tests.monitoring.drawing import DASHBOARD
from tests.test_docs import tables

RULES: Final = Path(__file__).parents[2] / "etc" / "prometheus"
FILES: Final = (RULES / "vllm.rules.yml", RULES / "vllm.alerts.yml", RULES / "vllmsim.alerts.yml")
"""The files of rules, in the order in which they are listed."""
_SAMPLES: Final = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}


@frozen
class Question:
    """A query, and where it is from."""

    where: str
    expr: str

    def concrete(self, window: str, values: Mapping[str, str]) -> str:
        """Put values in the place of Grafana's variables, and one duration in that of all ranges."""
        expr = self.expr.replace("[$__rate_interval]", f"[{window}]")
        for name, value in values.items():
            expr = expr.replace(f"${name}", value)
        return re.sub(r"\[\d+m\]", f"[{window}]", expr)


def dashboard() -> dict[str, Any]:
    """Read the dashboard."""
    return dict(json.loads(DASHBOARD.read_text("utf-8")))


def panels() -> Iterable[tuple[str, dict[str, Any]]]:
    """Find the panels of the dashboard, each with the title of its row."""
    row = ""
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            yield from ((row, inner) for inner in panel["panels"])
        else:
            yield row, panel


def rules(*files: Path) -> list[dict[str, Any]]:
    """Read the rules of some files, or of all."""
    return [
        rule
        for path in files or FILES
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]


def shown() -> list[Question]:
    """Find what the dashboard asks."""
    return [
        Question(f"{row}: {panel['title']} {target['refId']}", target["expr"])
        for row, panel in panels()
        for target in panel["targets"]
    ]


def ruled(*files: Path) -> list[Question]:
    """Find what the rules of some files ask, or of all."""
    return [Question(rule.get("record") or rule["alert"], rule["expr"]) for rule in rules(*files)]


def samples() -> dict[str, str]:
    """Read the page of metrics: the names that samples have, by Prometheus's, and the family of each."""
    return {
        family + end: family
        for row in tables("metrics.rst", 4)
        for family in [row["family"].strip("`")]
        for end in _SAMPLES[row["type"]]
    }


def named(expr: str) -> set[str]:
    """Find the samples of servers in a query; what rules record begins otherwise."""
    return set(re.findall(r"(?<![\w:])(?:(?:vllm|vllmsim):|http_|process_|python_)\w+", expr))


def complaints(questions: Iterable[Question]) -> list[str]:
    """Have promtool parse queries.

    :return: what it complains of, and where.
    """
    values = {"job": "j", "instance": "i", "model_name": "m", "engine": "0"}
    written = [
        {"record": f"q:{place}", "expr": each.concrete("1m", values), "labels": {"panel": each.where}}
        for place, each in enumerate(questions)
    ]
    with TemporaryDirectory() as folder:
        path = Path(folder, "rules.yml")
        path.write_text(json.dumps({"groups": [{"name": "questions", "rules": written}]}))
        done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    return done.stderr.splitlines() if done.returncode else []
