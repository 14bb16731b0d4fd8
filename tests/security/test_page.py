"""The page of threats names tests that are there."""

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.security import test_doors, test_fetching, test_listening, test_options, test_secrets
from tests.test_docs import ROOT, named_test

MODULES = (test_doors, test_fetching, test_listening, test_options, test_secrets)
"""What was written for the page."""


class PageTests(SynchronousTestCase):
    """docs/threat-model.rst."""

    def setUp(self) -> None:
        """Read the promises."""
        page = ROOT.joinpath("docs", "threat-model.rst").read_text("utf-8")
        promises = page.partition("\nPromises\n")[2].partition("\nWhat is not promised\n")[0]
        self.rows = [row.partition("\n     - ") for row in promises.split("\n   * - ")[2:]]

    def test_promises(self) -> None:
        """Every promise has tests, and all of them are there."""
        self.assertGreater(len(self.rows), 20)
        for promise, _, tests in self.rows:
            names = re.findall("``(.*?)``", tests)
            self.assertTrue(names, promise)
            self.assertEqual([], tests.split()[len(names) :], promise)
            for name in names:
                self.assertRegex(name, r"(^|\.)test_\w+\.\w+Tests\.test_\w+$")
                self.assertTrue(callable(named_test(name)), name)

    def test_whole(self) -> None:
        """Every test that was written for the page is named there."""
        written = "".join(tests for _, _, tests in self.rows)
        for module in MODULES:
            for case in vars(module).values():
                if isinstance(case, type) and case.__module__ == module.__name__:
                    for method in filter(re.compile("test_").match, vars(case)):
                        name = f"{module.__name__.removeprefix('tests.')}.{case.__name__}.{method}"
                        self.assertIn(f"``{name}``", written)
