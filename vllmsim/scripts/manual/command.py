# -*- test-case-name: tests.scripts.manual.test_command -*-
"""The command: a folder in, and in it the files that a package puts where man and shells look for them."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vllmsim.scripts.manual import completion, pages


def files(date: str) -> dict[str, str]:
    """Write everything.

    :param date: of the pages, as ``2026-11-23``.
    :return: texts by the names of their files.
    """
    return {
        "vllmsim.1": pages.daemon(date),
        "vllmsim-dataset.1": pages.dataset(date),
        "vllmsim.yaml.5": pages.configuration(date),
        "vllmsim.bash": completion.bash(),
        "_vllmsim": completion.zsh(),
    }


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Follow the words of a command line.

    :param environ: may tell the date of the pages as ``SOURCE_DATE_EPOCH``, in seconds; otherwise it is today's.
    :return: the exit status.
    """
    if len(words) != 1:
        sys.stderr.write("Usage: python -m vllmsim.scripts.manual FOLDER\n")
        return 2
    moment = float(environ.get("SOURCE_DATE_EPOCH") or time.time())
    for name, text in files(time.strftime("%Y-%m-%d", time.gmtime(moment))).items():
        Path(words[0], name).write_text(text, "utf-8")
    return 0
