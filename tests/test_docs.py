"""The documentation says what is there."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.harness import RankTestCase
from vllmsim.config.names import find

ROOT = Path(__file__).parents[1]


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
        """The page of routes has every path with its methods, and no other."""
        self.make_rank()
        page = ROOT.joinpath("docs", "routes.rst").read_text("utf-8")
        rows = re.findall(r"^(``/.*?``)  +([A-Z, ]+?)  ", page, re.MULTILINE)
        written = {path: methods.split(", ") for paths, methods in rows for path in re.findall("``(.*?)``", paths)}
        self.assertEqual(dict(self.rank.resource.paths()), written)

    def test_options(self) -> None:
        """Every option that a page names exists."""
        pages = [ROOT / "README.rst", *ROOT.joinpath("docs").glob("*.rst")]
        for page in pages:
            for name in re.findall(r"--([a-z][a-z-]+)", page.read_text("utf-8")):
                known = find(name) or name in {
                    "config",
                    "help",
                    "print-config",
                    "version",
                    "x",
                    "no-x",
                    "enable-x",
                    "disable-x",
                }
                self.assertTrue(known, f"{page.name}: --{name}")
