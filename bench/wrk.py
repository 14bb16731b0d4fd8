# -*- test-case-name: tests.bench.test_wrk -*-
"""wrk, a load client that others know, for requests whose answers are no streams."""

import os
import re
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench.building import FOLDER
from bench.load import LoadError, Window

_RATE: Final = re.compile(r"(\d+) requests in ([\d.]+)(ms|s|m),")
_ERRORS: Final = re.compile(r"^ *(Socket errors|Non-2xx).*$", re.MULTILINE)
_SECONDS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0}


def is_installed() -> bool:
    """Tell whether there is one."""
    return shutil.which("wrk") is not None


def parse(output: str) -> tuple[int, float]:
    """Read what wrk prints.

    :return: how many requests were answered, and in how many seconds.
    :raises LoadError: if some failed.
    """
    errors = _ERRORS.search(output)
    if errors:
        raise LoadError(errors[0].strip())
    found = _RATE.search(output)
    if not found:
        raise LoadError(f"wrk said: {output}")
    return int(found[1]), float(found[2]) * _SECONDS[found[3]]


def script(request: bytes) -> str:
    """Write a request as wrk wants it: a program in Lua."""
    head, _, body = request.decode().partition("\r\n\r\n")
    line, *headers = head.split("\r\n")
    method = line.split()[0]
    named = [header.partition(": ") for header in headers if not header.lower().startswith(("host", "content-length"))]
    assignments = [f'wrk.headers["{name}"] = "{value}"' for name, _, value in named]
    return "\n".join([f'wrk.method = "{method}"', f"wrk.body = [==[{body}]==]", *assignments, ""])


def _process_nanoseconds(pid: int) -> int:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _own_nanoseconds() -> int:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((usage.ru_utime + usage.ru_stime) * 1e9)


def run(port: int, pid: int, request: bytes, *, path: str, connections: int, seconds: int) -> Window:
    """Keep connections busy.

    :param seconds: whole ones.
    :return: what happened; the servers's time is told in hundredths of a second.
    :raises LoadError: if an answer is none.
    """
    program = FOLDER / "request.lua"
    program.write_text(script(request))
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(program), f"http://127.0.0.1:{port}{path}"]
    server, client = _process_nanoseconds(pid), _own_nanoseconds()
    done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 - wrk
    server, client = _process_nanoseconds(pid) - server, _own_nanoseconds() - client
    answers, took = parse(done.stdout)
    return Window(round(took * 1e9), 0, answers, server, client)
