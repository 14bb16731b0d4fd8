"""The documentation says what is there."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import TestCase

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import RankTestCase
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.names import find
from vllmsim.config.schema import Configuration, own_options
from vllmsim.metrics.adapters import AdapterMetrics
from vllmsim.metrics.backend import BackendMetrics
from vllmsim.metrics.cacheconfig import cache_config_labels
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.failures import FailureMetrics
from vllmsim.metrics.families import RankMetrics
from vllmsim.metrics.http import HttpMetrics
from vllmsim.metrics.process import ProcessMetrics
from vllmsim.metrics.restarts import RestartMetrics
from vllmsim.metrics.transfer import TransferMetrics
from vllmsim.scripts.calibrate import options as calibrate
from vllmsim.scripts.clock import command as clock
from vllmsim.scripts.dataset import options

ROOT = Path(__file__).parents[1]
EVERYTHING = ("--profiler-config", '{"profiler": "torch"}')
"""Options without which a server lacks some of its routes."""
FOREIGN = {
    "README.rst": {"worker-urls", "policy"},
    "calibration.rst": (
        "dataset-name",
        "random-input-len",
        "random-output-len",
        "max-concurrency",
        "num-prompts",
        "request-rate",
        "save-result",
        "save-detailed",
        "append-result",
        "result-filename",
    ),
    "debian.rst": ("now",),
    "grpc.rst": (
        "http",
        "policy",
        "worker-urls",
        "dp-aware",
        "pd-disaggregation",
        "prefill",
        "decode",
    ),
    "http2.rst": ("http",),
    "logging.rst": ("logfile", "syslog", "logger"),
    "systemd.rst": ("fdname",),
    "tls.rst": ("cacert", "cert", "key", "listen"),
    "kubernetes.rst": {
        *("set", "set-file", "set-string", "reuse-values", "from-literal"),
        *("read-only", "tmpfs", "build-arg", "python"),
    },
    "monitoring.rst": {"from-file"},
}
"""Options of other programs, helm's and podman's for example, by the page that names them."""


def tables(page: str, width: int) -> list[dict[str, str]]:
    """Read the tables of a page that have so many columns: each row by the names of the columns."""
    rows: list[dict[str, str]] = []
    names: list[str] = []
    rules = 0
    columns: list[slice] = []
    for line in ROOT.joinpath("docs", page).read_text("utf-8").splitlines():
        if re.fullmatch(f"=+(  =+){{{width - 1}}}", line):
            starts = [match.start() for match in re.finditer("=+", line)]
            columns = [slice(*ends) for ends in zip(starts, [*starts[1:], None], strict=True)]
            rules = (rules + 1) % 3
        elif rules:
            cells = [line[column].strip() for column in columns]
            if rules == 1:
                names = cells
            elif cells[1]:
                rows.append(dict(zip(names, cells, strict=True)))
            else:
                rows[-1] = {name: f"{rows[-1][name]} {cell}".strip() for name, cell in zip(names, cells, strict=True)}
    return rows


def routes() -> list[dict[str, Any]]:
    """Read the page of routes: each row with its paths one by one."""
    return [row | {"paths": re.findall("``(.*?)``", row["path"])} for row in tables("routes.rst", 5)]


def named_test(name: str) -> object:
    """Find a test that a page names, without the package of all; what is none has no attribute of it."""
    module, case, method = f"tests.{name}".rsplit(".", 2)
    found = getattr(import_module(module), case)
    if not issubclass(found, TestCase | SynchronousTestCase):
        raise TypeError(name)
    return getattr(found, method)


class HeaderTests(SynchronousTestCase):
    """Modules say where their tests are."""

    def test_case_names(self) -> None:
        """The tests that a module names exist."""
        for module in ROOT.joinpath("vllmsim").rglob("*.py"):
            for name in re.findall(r"test-case-name: (\S+)", module.read_text("utf-8")):
                self.assertTrue(ROOT.joinpath(*name.split(".")).with_suffix(".py").exists(), f"{module}: {name}")


class DocumentationTests(RankTestCase):
    """Pages beside the program."""

    def test_routes(self) -> None:
        """The page of routes has every path with its methods, and no other; the document has the same."""
        self.make_rank(*EVERYTHING)
        written = {path: row["methods"].split(", ") for row in routes() for path in row["paths"]}
        self.assertEqual(dict(self.rank.resource.paths()), written)
        paths = self.get("/openapi.json").json()["paths"]
        self.assertEqual(written, {path: sorted(name.upper() for name in each) for path, each in paths.items()})

    def test_oracles(self) -> None:
        """The page tells of every route what it is held against, and which tests try it; those exist."""
        for row in routes():
            self.assertIn(row["oracle"], {"recorded", "documented", "llm-d", "ours"}, row["path"])
            self.assertTrue(row["tests"], row["path"])
            for name in row["tests"].split():
                self.assertTrue(ROOT.joinpath("tests", *name.split(".")).with_suffix(".py").exists(), name)

    def test_metrics(self) -> None:
        """The page of metrics has every family that a server may show, in its order, with its type and labels."""
        metrics = RankMetrics(
            "0", "m", 1024, cache_config_labels(Configuration()), 1.0, ("a",), blocks=True, block_lives=True,
            transfers=TransferMetrics(fetches=True, nixl=True), drafted=2, parses=True,
            adapters=AdapterMetrics(LiveConfiguration(Configuration(enable_lora=True)), lambda: 1.0),
        )  # fmt: skip
        BackendMetrics(metrics.own)
        RestartMetrics(metrics.own).pacer_restarted()
        metrics.operation_began("sleep")()
        http = HttpMetrics(1.0)
        http.exchange_finished("/v1/models", "GET", 200, 0.1, 0, 0)
        failures = FailureMetrics({}, 1.0)
        failures.request_failed("rule", "kind")

        def described(families: Families) -> list[tuple[str, str, set[str]]]:
            common = {"engine", "model_name"}
            return [(each.name, each.kind, set(each.series[0].labels) - common) for each in families]

        [(name, kind, labels)] = re.findall(r"# TYPE (\S+)_total (\S+)\n.*?{(.*?)}", failures.write())
        failed = (name, kind, set(re.findall(r"(\w+)=", labels)))
        shown = [*described(metrics.families), *described(metrics.own), failed, *described(http.families)]
        registry = CollectorRegistry()
        GCCollector(registry)
        PlatformCollector(registry)
        process = [each.name for each in registry.collect()]
        process += re.findall(r"# TYPE (\S+) gauge|# TYPE (\S+)_total", ProcessMetrics().write())
        written = [
            (
                row["family"].strip("`"),
                row["type"],
                {*re.findall(r"\w+(?=,|$)", row["own labels"])} - {"engine", "none"},
            )
            for row in tables("metrics.rst", 4)
        ]
        own = [row for row in written if row[0].startswith(("vllm", "http"))]
        self.assertEqual([name for name, *_ in shown], [name for name, *_ in own])
        for expected, found in zip(shown, own, strict=True):
            if found[0] == "vllm:cache_config_info":
                self.assertEqual({"settings"}, found[2])
            else:
                self.assertEqual(expected, found)
        others = [name for name, *_ in written if not name.startswith(("vllm", "http"))]
        self.assertEqual([name if isinstance(name, str) else "".join(name) for name in process], others)

    def test_options(self) -> None:
        """Every option that a page names exists, here or in another command's own."""
        commands = {
            word.lstrip("-")
            for parser in (clock.parser(), options.parser(), calibrate.parser())
            for action in parser._actions
            for word in action.option_strings
        }
        pages = [ROOT / "README.rst", *ROOT.joinpath("docs").glob("*.rst")]
        for page in pages:
            for name in re.findall(r"--([a-z][a-z-]+)", page.read_text("utf-8")):
                known = (
                    find(name)
                    or name in commands
                    or name in FOREIGN.get(page.name, ())
                    or name
                    in {
                        "config",
                        "help",
                        "check-config",
                        "help-plugins",
                        "print-config",
                        "version",
                        "x",
                        "no-x",
                        "enable-x",
                        "disable-x",
                    }
                )
                self.assertTrue(known, f"{page.name}: --{name}")

    def test_steps(self) -> None:
        """The page of steps names every option of theirs."""
        page = ROOT.joinpath("docs", "steps.rst").read_text("utf-8")
        names = [each.name for each in own_options() if each.group == "steps"]
        self.assertEqual([], [name for name in names if f"``{name}``" not in page and f"``{name}: " not in page])
        self.assertIn("max-num-batched-tokens", names)
