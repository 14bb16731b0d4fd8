# -*- test-case-name: tests.bench.test_building -*-
"""The programs in C, compiled on the spot."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE.parent / "build" / "bench"
"""Where programs, recordings, stamps and logs go."""


class CannotBuildError(Exception):
    """There is no compiler, or it refused."""


def build(name: str, folder: Path = FOLDER) -> Path:
    """Compile a program, unless it is there and newer than its source and what that includes.

    :param name: of its source, without the suffix.
    :raises CannotBuildError: if there is no compiler or it fails; the message is for whoever started the benchmark.
    """
    source, program = HERE / f"{name}.c", folder / name
    newest = max(file.stat().st_mtime for file in (source, *HERE.glob("*.h")))
    if program.exists() and program.stat().st_mtime > newest:
        return program
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise CannotBuildError(
            "The load client is written in C, and there is no compiler: install one (on Debian: apt install gcc "
            "libc6-dev), or name yours in CC."
        )
    folder.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-O2", "-Wall", "-o", str(program), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own source
    if done.returncode:
        raise CannotBuildError(f"{compiler} cannot compile {source.name}:\n{done.stderr}")
    return program
