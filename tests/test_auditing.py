"""Audits hide nothing."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.auditing import unexplained, vulnerable

FOUND = {"filename": "./vllmsim/a.py", "line_number": 7, "test_id": "B301", "issue_text": "Pickle."}
ADVISORY = {"id": "PYSEC-1", "fix_versions": ["1.1"]}


class BanditTests(SynchronousTestCase):
    """What bandit finds."""

    def test_reasons(self) -> None:
        """What has a reason is passed over, in that file and for that test alone."""
        self.assertEqual([], list(unexplained([FOUND, FOUND], {"vllmsim/a.py": {"B301": "why"}})))
        for reasons in ({}, {"vllmsim/b.py": {"B301": "why"}}, {"vllmsim/a.py": {"B403": "why"}}):
            self.assertEqual("vllmsim/a.py:7: B301 Pickle.", next(unexplained([FOUND], reasons)))

    def test_stale(self) -> None:
        """A reason for what is no longer there is found."""
        told = list(unexplained([], {"vllmsim/a.py": {"B301": "why"}}))
        self.assertEqual(["pyproject.toml: B301 is excused in vllmsim/a.py, where it is not"], told)


class AdvisoryTests(SynchronousTestCase):
    """What pip-audit finds."""

    def report(self, *dependencies: dict[str, Any]) -> tuple[list[str], int]:
        """Read a report about these."""
        return vulnerable({"dependencies": dependencies})

    def test_found(self) -> None:
        """Each advisory is told, with the release that has the fault and the one that has not."""
        lines, known = self.report({"name": "a", "version": "1.0", "vulns": [ADVISORY]})
        self.assertEqual((["debian/wheels.txt: a 1.0 has PYSEC-1, mended in 1.1"], 1), (lines, known))

    def test_unknown(self) -> None:
        """Where nobody has looked, nothing counts as looked up: that is not the same as no fault."""
        self.assertEqual(([], 0), self.report({"name": "a", "skip_reason": "not found"}))
        self.assertEqual(([], 1), self.report({"name": "a", "version": "1.0", "vulns": []}))
