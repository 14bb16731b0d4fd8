"""The dashboard for Grafana; what its queries find is in :mod:`tests.integration.test_monitoring`."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import skipUnless

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from twisted.trial.unittest import SynchronousTestCase

from tests.monitoring.asking import RULES, Question, complaints, dashboard, named, panels, ruled, samples, shown
from tests.monitoring.drawing import DASHBOARD, VARIABLES, WIDTH, draw, write

OLDER = {"vllm:gpu_cache_usage_perc", "vllm:time_per_output_token_seconds"}
"""Families that say what others do: vLLM 0.33 has them no more."""


def lost(given: object, kept: object, path: str = "") -> list[str]:
    """Find what is in one value of JSON and not in another."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [line for key, value in given.items() for line in lost(value, kept.get(key), f"{path}/{key}")]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = enumerate(zip(given, kept, strict=True))
        return [line for place, (one, other) in pairs for line in lost(one, other, f"{path}/{place}")]
    return [] if given == kept else [f"{path}: {given} became {kept}"]


def returned(given: dict[str, Any]) -> Any:
    """Give a dashboard to Grafana's own models, and take it back."""
    register_default_plugins()
    return json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))


class DashboardTests(SynchronousTestCase):
    """It is right before anybody opens it."""

    def test_drawn(self) -> None:
        """The file is what its panels are drawn to; ``make dashboard`` draws it anew."""
        self.assertEqual(write(draw()), DASHBOARD.read_text("utf-8"))

    def test_models(self) -> None:
        """Grafana's own models know every member of it, wherever that is."""
        self.assertEqual([], lost(dashboard(), returned(dashboard())))

    def test_models_see(self) -> None:
        """They lose what they do not know: the test above can fail."""
        wrong = dashboard()
        wrong["panls"] = []
        wrong["panels"][1]["fieldConfig"]["defaults"]["untt"] = "s"
        wrong["panels"][1]["options"]["graphMod"] = "area"
        wrong["panels"][1]["targets"][0]["exp"] = "1"
        found = [line.split(":")[0] for line in lost(wrong, returned(wrong))]
        first = "/panels/1"
        self.assertEqual(
            [f"{first}/targets/0/exp", f"{first}/options/graphMod", f"{first}/fieldConfig/defaults/untt", "/panls"],
            found,
        )

    def test_layout(self) -> None:
        """Panels lie beside and below each other, on the grid, and have numbers of their own."""
        numbers: Counter[int] = Counter()
        shut: list[list[dict[str, Any]]] = [row["panels"] for row in dashboard()["panels"] if row.get("collapsed")]
        for together in [dashboard()["panels"], *shut]:
            taken: set[tuple[int, int]] = set()
            for panel in together:
                numbers[panel["id"]] += 1
                at = panel["gridPos"]
                self.assertLessEqual(at["x"] + at["w"], WIDTH, panel["title"])
                cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                self.assertEqual(set(), cells & taken, panel["title"])
                taken |= cells
        self.assertEqual(set(range(1, len(numbers) + 1)), set(numbers))
        self.assertEqual({1}, set(numbers.values()))

    def test_said(self) -> None:
        """Every panel says what it shows, in a unit that Grafana knows, and no row has two of one title."""
        for _, panel in panels():
            self.assertTrue(panel["description"].endswith("."), panel["title"])
            self.assertEqual(len(panel["targets"]), len({each["refId"] for each in panel["targets"]}), panel["title"])
            self.assertIn(panel["fieldConfig"]["defaults"]["unit"], vars(units).values(), panel["title"])
        titles = Counter((row, panel["title"]) for row, panel in panels())
        self.assertEqual({1}, set(titles.values()))

    def test_variables(self) -> None:
        """Queries choose by variables that there are, and every panel of servers by them all that its families know."""
        known = {each["name"] for each in dashboard()["templating"]["list"]}
        self.assertEqual({"datasource", *VARIABLES}, known)
        for each in shown():
            self.assertLessEqual(set(re.findall(r"\$(\w+)", each.expr)), {*known, "__rate_interval"}, each.where)
            if named(each.expr):
                self.assertIn('job=~"$job", instance=~"$instance"', each.expr, each.where)

    def test_rows(self) -> None:
        """All rows but the last are of what a vLLM has."""
        for row, panel in panels():
            own = [target["expr"] for target in panel["targets"] if "vllmsim:" in target["expr"]]
            self.assertEqual(row == "Simulator", bool(own), panel["title"])

    def test_families(self) -> None:
        """It asks for what the page of metrics has, and for all of that but older names."""
        known = samples()
        asked = {name for each in [*shown(), *ruled()] for name in named(each.expr)}
        self.assertEqual(set(), asked - set(known))
        self.assertEqual(OLDER, set(known.values()) - {known[name] for each in shown() for name in named(each.expr)})

    def test_described(self) -> None:
        """The documentation has a section for every row, with every panel in it."""
        page = RULES.parents[1].joinpath("docs", "monitoring.rst").read_text("utf-8")
        for row in {row for row, _ in panels()}:
            self.assertRegex(page, rf"(?m)^{re.escape(row)}\n\.+$")

    @skipUnless(shutil.which("promtool"), "needs promtool")
    def test_syntax(self) -> None:
        """Prometheus can read every query."""
        self.assertEqual([], complaints(shown()))

    @skipUnless(shutil.which("promtool"), "needs promtool")
    def test_syntax_seen(self) -> None:
        """It says where it cannot: the test above can fail."""
        self.assertTrue(complaints([*shown(), Question("wrong", "sum by (x (up)")]))


class ProvisioningTests(SynchronousTestCase):
    """Files that tell Grafana of it."""

    def read(self, name: str) -> Any:
        """Read one."""
        path = Path(DASHBOARD.parent, "provisioning", name)
        return yaml.safe_load(path.read_text("utf-8"))

    def test_source(self) -> None:
        """Grafana takes the interval between scrapes for what it is in the example for Prometheus."""
        [source] = self.read("datasources/prometheus.yml")["datasources"]
        config = yaml.safe_load(RULES.joinpath("prometheus.yml").read_text("utf-8"))
        self.assertEqual("prometheus", source["type"])
        self.assertEqual(config["global"]["scrape_interval"], source["jsonData"]["timeInterval"])

    def test_provider(self) -> None:
        """Dashboards are files in a folder."""
        [provider] = self.read("dashboards/vllm.yml")["providers"]
        self.assertEqual("file", provider["type"])
        self.assertTrue(provider["options"]["path"])
