"""The documentation says what is there."""

import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.harness import RankTestCase
from vllmsim.config.names import find
from vllmsim.scripts.clock import command as clock
from vllmsim.scripts.dataset import options

ROOT = Path(__file__).parents[1]
EVERYTHING = ("--profiler-config", '{"profiler": "torch"}')
"""Options without which a server lacks some of its routes."""


def routes() -> list[dict[str, Any]]:
    """Read the tables of the page of routes: each row by the names of the columns, with its paths one by one."""
    rows: list[dict[str, Any]] = []
    names: list[str] = []
    rules = 0
    columns: list[slice] = []
    for line in ROOT.joinpath("docs", "routes.rst").read_text("utf-8").splitlines():
        if re.fullmatch("=+(  =+){4}", line):
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
    return [row | {"paths": re.findall("``(.*?)``", row["path"])} for row in rows]


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

    def test_options(self) -> None:
        """Every option that a page names exists, here or in another command's own."""
        commands = {
            word.lstrip("-")
            for parser in (clock.parser(), options.parser())
            for action in parser._actions
            for word in action.option_strings
        }
        pages = [ROOT / "README.rst", *ROOT.joinpath("docs").glob("*.rst")]
        for page in pages:
            for name in re.findall(r"--([a-z][a-z-]+)", page.read_text("utf-8")):
                known = (
                    find(name)
                    or name in commands
                    or name
                    in {
                        "config",
                        "help",
                        "print-config",
                        "version",
                        "x",
                        "no-x",
                        "enable-x",
                        "disable-x",
                    }
                )
                self.assertTrue(known, f"{page.name}: --{name}")
