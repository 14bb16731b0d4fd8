# -*- test-case-name: tests.calibration.reports.test_reading -*-
"""Reads a file, whoever has written it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vllmsim.calibration.measured import Run
from vllmsim.calibration.reports import aiperf, guidellm, vllm
from vllmsim.calibration.reports.fields import ReportError

_IN_FOLDERS: Final = ("profile_export.jsonl", "benchmarks.json")
"""What load generators call the file in the folder that they write into."""


def read(path: str) -> list[Run]:
    """Read the runs of a report.

    :param path: of a file, or of the folder of aiperf or guidellm.
    :return: those with requests that were answered.
    :raises ReportError: when there are none, or it is no report.
    """
    file = Path(path)
    if file.is_dir():
        file = next((there for name in _IN_FOLDERS if (there := file / name).is_file()), file / _IN_FOLDERS[0])
    try:
        values = _objects(file.read_text("utf-8"))
        runs = [run for run in _runs(file.name, values) if run.requests]
    except OSError as error:
        raise ReportError(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ReportError(f"{file}: it is not JSON") from None
    except ReportError as error:
        raise ReportError(f"{file}: {error}") from None
    if not runs:
        raise ReportError(f"{file}: no request in it was answered with tokens that were streamed")
    return runs


def _objects(text: str) -> list[Mapping[str, Any]]:
    """Read one JSON object after the other.

    :raises ValueError: where there is something else.
    """
    decoder, position, values = json.JSONDecoder(), 0, []
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        value, position = decoder.raw_decode(text, position)
        values.append(value)
    if not values or not all(isinstance(value, dict) for value in values):
        raise ReportError("it is no report of vllm bench serve, guidellm or aiperf")
    return values


def _runs(title: str, values: list[Mapping[str, Any]]) -> list[Run]:
    if all(map(aiperf.fits, values)):
        return [aiperf.read(title, values)]
    if all(map(vllm.fits, values)):
        several = len(values) > 1
        return [vllm.read(f"{title}, line {n}" if several else title, each) for n, each in enumerate(values, 1)]
    if all(map(guidellm.fits, values)):
        return [run for each in values for run in guidellm.read(title, each)]
    if any(map(aiperf.summarizes, values)):
        raise ReportError("it has means alone: give profile_export.jsonl, which aiperf writes beside it")
    raise ReportError("it is no report of vllm bench serve, guidellm or aiperf")
