"""Tries all surfaces, or the one that ``FUZZ_SURFACE`` names, and prints a line for each and one for all."""

import os
import sys

import pytest

from tests.fuzz.report import PLAYED, SURFACES


def main() -> int:
    """Run the modules of the surfaces, and say what they have found.

    :return: the exit status: 0 if nothing was found.
    """
    only = os.environ.get("FUZZ_SURFACE")
    modules = [surface.module for name, surface in SURFACES.items() if only in {None, name}]
    if not modules:
        raise SystemExit(f"FUZZ_SURFACE is one of: {', '.join(SURFACES)}")
    status = int(pytest.main(["-q", "--tb=short", *modules]))
    print(*PLAYED, sep="\n")
    findings = sum(len(figures.findings) for figures in PLAYED)
    end = "all is well" if status == 0 else "not all is well"
    print(f"all: {sum(figures.cases for figures in PLAYED)} cases, {findings} findings, {end}")
    return status


sys.exit(main())
