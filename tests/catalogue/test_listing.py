"""The list of what broke the original is whole, and what it says is tested."""

import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.test_docs import ROOT, named_test

HERE = Path(__file__).parent
NUMBERS = [*map(str, range(1, 6)), "5a", "5b", *map(str, range(6, 76)), *"abcdefgh"]


@frozen
class Row:
    """One fault.

    :param there: what happens in the original.
    :param here: what happens here.
    :param tests: the names of tests, without the package of all.
    """

    number: str
    there: str
    here: str
    tests: tuple[str, ...]


def rows() -> Iterator[Row]:
    """Read the page."""
    page = ROOT.joinpath("docs", "known-faults.rst").read_text("utf-8")
    for found in re.finditer(r"^   \* - (\w+)\n((?:     .*\n)+)", page, re.MULTILINE):
        there, here, tests = (" ".join(cell.split()) for cell in found[2].split("     - ")[1:])
        yield Row(found[1], there, here, tuple(re.findall("``(.*?)``", tests)))


class ListingTests(SynchronousTestCase):
    """docs/known-faults.rst."""

    def test_numbers(self) -> None:
        """Every fault is there once, in order, with what happens there and here, and with a test."""
        every = list(rows())
        self.assertEqual(NUMBERS, [row.number for row in every])
        for row in every:
            self.assertTrue(row.there and row.here and row.tests, row.number)

    def test_names(self) -> None:
        """Every test that it names is there, and is none that nobody runs."""
        for row in rows():
            for name in row.tests:
                self.assertRegex(name, r"(^|\.)test_\w+\.\w+Tests\.test_\w+$")
                self.assertTrue(callable(named_test(name)), name)

    def test_bound(self) -> None:
        """The tests that were written for it say for which of its numbers, and it names them there and nowhere else."""
        bound: dict[str, set[str]] = {}
        for path in HERE.glob("test_*.py"):
            for case, method in re.findall(
                r"^class (\w+Tests)|^    def (test_\w+)", path.read_text("utf-8"), re.MULTILINE
            ):
                if case:
                    own = f"catalogue.{path.stem}.{case}"
                elif path.stem != "test_listing":
                    said = str(named_test(f"{own}.{method}").__doc__).partition(": ")[0]
                    bound[f"{own}.{method}"] = set(said.split(", "))
        named: dict[str, set[str]] = {}
        for row in rows():
            for name in row.tests:
                if name.startswith("catalogue."):
                    named.setdefault(name, set()).add(row.number)
        self.assertEqual(bound, named)
