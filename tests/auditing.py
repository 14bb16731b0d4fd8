"""What audits say of the program and of what it is shipped with: ``make audit``.

bandit reads the program. It says again much of what ruff does, but heeds no ``noqa``: what it finds and we know better
is in ``pyproject.toml``, by file, with the reason, and a reason that nothing needs any more is a finding too. pip-audit
looks up known vulnerabilities of the releases in ``debian/wheels.txt``. Where no advisory service can be reached that
is said, and nothing is known; what is found fails the audit.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = "debian/wheels.txt"
READ: Final = ("vllmsim", "twisted")
SERVICES: Final = ("pypi", "osv")
"""Who is asked for advisories: the next one where one knows nothing at all."""
_TIMEOUT: Final = "5"
"""Seconds that an advisory service may take to answer."""


def unexplained(results: Iterable[Mapping[str, Any]], reasons: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Compare what bandit has found with what we know of.

    :param results: of its report.
    :param reasons: by file and by test, why it is no fault.
    :return: a line for each finding without a reason, and for each reason without a finding.
    """
    known = {(file, test) for file, tests in reasons.items() for test in tests}
    found = set()
    for each in results:
        place = each["filename"].removeprefix("./"), each["test_id"]
        found.add(place)
        if place not in known:
            yield f"{place[0]}:{each['line_number']}: {place[1]} {each['issue_text']}"
    for file, test in sorted(known - found):
        yield f"pyproject.toml: {test} is excused in {file}, where it is not"


def vulnerable(report: Mapping[str, Any]) -> tuple[list[str], int]:
    """Read a report of pip-audit's.

    :return: a line for each advisory, and how many packages somebody knows: pip-audit takes others for faultless.
    """
    looked_up = [each for each in report["dependencies"] if "skip_reason" not in each]
    lines = [
        f"{LOCK}: {each['name']} {each['version']} has {fault['id']}, mended in {', '.join(fault['fix_versions'])}"
        for each in looked_up
        for fault in each["vulns"]
    ]
    return lines, len(looked_up)


def _said(*words: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    return done.stdout, done.stderr


def _bandit() -> list[str]:
    out, error = _said("bandit", "--quiet", "--recursive", "--format", "json", "--configfile", "pyproject.toml", *READ)
    try:
        report = json.loads(out)
    except ValueError:
        return [f"bandit has failed: {error[-1000:]}"]
    with ROOT.joinpath("pyproject.toml").open("rb") as file:
        reasons = tomllib.load(file)["tool"]["vllmsim"]["bandit"]
    return [
        *(f"{each['filename']}: {each['reason']}" for each in report["errors"]),
        *unexplained(report["results"], reasons),
    ]


def _pip_audit() -> tuple[list[str], str]:
    for service in SERVICES:
        words = ("--vulnerability-service", service, "--requirement", LOCK, "--disable-pip", "--no-deps")
        out, _ = _said("pip_audit", *words, "--format", "json", "--progress-spinner", "off", "--timeout", _TIMEOUT)
        try:
            lines, known = vulnerable(json.loads(out))
        except ValueError:
            continue
        if known:
            return lines, f"advisories for {known} releases of {LOCK}: {len(lines)}"
    return [], f"SKIPPED: no advisory service can be reached from here; nobody has looked for faults of {LOCK}"


def main() -> None:
    """Audit, and end with status 1 if something is found."""
    findings = _bandit()
    print(f"what bandit finds in {' and '.join(READ)} without a reason: {len(findings)}")  # noqa: T201 - a command
    advisories, said = _pip_audit()
    print(said, *findings, *advisories, sep="\n")  # noqa: T201 - see above
    sys.exit(bool(findings or advisories))


if __name__ == "__main__":
    main()
