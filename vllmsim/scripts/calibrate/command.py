# -*- test-case-name: tests.scripts.calibrate.test_command -*-
"""The command: reports in, a table and a configuration out."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

from vllmsim.calibration.engine import make_scheduler
from vllmsim.calibration.fit import Fitting, simulate
from vllmsim.calibration.measured import Run
from vllmsim.calibration.replay import NoRoom
from vllmsim.calibration.reports.fields import ReportError
from vllmsim.calibration.reports.reading import read
from vllmsim.printing import print_out
from vllmsim.scripts.calibrate.options import Plan, UsageError, plan
from vllmsim.scripts.calibrate.report import Report
from vllmsim.scripts.progressline import ProgressLine

_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130
_NAME: Final = "vllmsim calibrate"


def run(words: Sequence[str]) -> int:
    """Follow the words of a command line.

    :param words: everything after ``vllmsim calibrate``.
    :return: the exit status.
    :raises SystemExit: when they ask for help, or make no sense.
    """
    tell = ProgressLine()
    try:
        what = plan(words, os.environ)
        report = _calibrate(what, tell)
        tell("")
        if what.target is not None:
            what.target.write_text(report.yaml(), "utf-8")
    except UsageError as error:
        return _complain(tell, error, _USAGE)
    except ReportError as error:
        return _complain(tell, error, _FAILED)
    except NoRoom:
        return _complain(tell, "the KV cache has no room for a request: see num-gpu-blocks-override", _FAILED)
    except OSError as error:
        return _complain(tell, f"cannot write {error.filename}: {error.strerror}", _FAILED)
    except KeyboardInterrupt:
        return _complain(tell, "interrupted; nothing was written", _INTERRUPTED)
    return print_out(report.json() if what.json else report.text(), _NAME)


def _calibrate(what: Plan, tell: ProgressLine) -> Report:
    """Do the work."""
    fitted = _read(what.reports, tell)
    checked = _read(what.checks, tell)
    loaded = what.engine([*fitted, *checked])
    make = partial(make_scheduler, loaded.configuration)
    fit = Fitting(fitted, make, tell).fit()
    tell("comparing")
    both = [[simulate(each, make(), fit.coefficients, fit.outside) for each in runs] for runs in (fitted, checked)]
    return Report(fit, both[0], both[1], loaded)


def _read(paths: Sequence[str], tell: ProgressLine) -> list[Run]:
    runs: list[Run] = []
    for path in paths:
        tell(f"reading {path}")
        runs += read(path)
    return runs


def _complain(tell: ProgressLine, problem: object, status: int) -> int:
    tell("")
    sys.stderr.write(f"{_NAME}: {problem}\n")
    return status
