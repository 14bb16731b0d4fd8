# -*- test-case-name: tests.integration.test_bench -*-
"""The servers that are measured: vllmsim, the floor in C, and a bare Twisted Protocol."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from attrs import frozen

from bench import requests
from bench.building import FOLDER, HERE, build
from bench.machine import pin
from bench.recording import Recording, exchange

_START_TIMEOUT: Final = 30.0
_STOP_TIMEOUT: Final = 10.0
_POLL: Final = 0.002
_GRAIN_NS: Final = 500_000
"""How often the floor wakes at most, in nanoseconds: as often as vllmsim means to."""
_RECORDED: Final = 50
"""Tokens of the recording that paced streams of any length are made of."""


class ServerError(Exception):
    """A server did not start; the message has what it said."""


@frozen
class Server:
    """A server that runs.

    :param name: for reports.
    :param ports: it listens on these of the loopback device.
    """

    name: str
    process: "subprocess.Popen[bytes]"
    ports: Sequence[int]

    @property
    def port(self) -> int:
        """Where it listens, or its first rank does."""
        return self.ports[0]

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def resident(self) -> int:
        """Tell how much memory it has, in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def processor(self) -> float:
        """Tell how many seconds of a processor it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_ports(count: int = 1) -> list[int]:
    """Find ports in a row on which nobody listens."""
    for _ in range(100):
        with contextlib.ExitStack() as opened:
            found = [0]
            try:
                for offset in range(count):
                    listener = opened.enter_context(socket.socket())
                    listener.bind(("127.0.0.1", found[0] + offset if offset else 0))
                    found[:1] = found[:1] if offset else [listener.getsockname()[1]]
            except OSError:
                continue
            return [found[0] + offset for offset in range(count)]
    raise ServerError("There are no free ports.")


@contextlib.contextmanager
def running(name: str, command: Sequence[str], ports: Sequence[int], core: int | None) -> Iterator[Server]:
    """Start a server, wait until it is healthy, and end it.

    :param core: where it runs, or None for wherever the machine likes.
    :raises ServerError: if it ends, or is not healthy within 30 s.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / f"{name}.log"
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "POD_", "VLLM_"))}
    environment = {**settings, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own servers
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=FOLDER,
            preexec_fn=lambda: pin(core),  # noqa: PLW1509 - there are no threads here
        )
    server = Server(name, process, ports)
    try:
        for port in ports:
            _await_health(server, port, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_health(server: Server, port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not is_healthy(port):
        if server.process.poll() is not None:
            raise ServerError(f"{server.name} ended: {log.read_text(errors='replace')[-2000:]}")
        if time.monotonic() > deadline:
            raise ServerError(f"{server.name} is not healthy: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(_POLL)


def is_healthy(port: int) -> bool:
    """Tell whether ``/health`` is answered with 200."""
    try:
        return exchange(port, requests.get("/health")).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def vllmsim_command(port: int, itl_ms: float, options: Sequence[str] = ()) -> list[str]:
    """Write the command line of a vllmsim that has room for every stream.

    :param itl_ms: the gap between two tokens of a stream, in milliseconds.
    """
    twistd = Path(sys.executable).with_name("twistd")
    return [
        *(str(twistd), "--nodaemon", "--pidfile=", "vllmsim"),
        *("--port", str(port), "--inter-token-latency", f"{itl_ms}ms", "--time-to-first-token", "0"),
        *("--max-num-seqs", "4096", "--max-model-len", "8192"),
        *options,
    ]


def vllmsim(core: int | None, itl_ms: float = 0, options: Sequence[str] = ()) -> AbstractContextManager[Server]:
    """Run vllmsim."""
    ports = free_ports()
    return running("vllmsim", vllmsim_command(ports[0], itl_ms, options), ports, core)


@contextlib.contextmanager
def vllmsim_ranks(cores: Sequence[int | None]) -> Iterator[Server]:
    """Run vllmsim with a rank, in a process of its own, on each of some cores."""
    *ports, supervisor = free_ports(len(cores) + 1)
    options = ["--data-parallel-size", str(len(cores)), "--data-parallel-processes"]
    command = vllmsim_command(ports[0], 0, [*options, "--data-parallel-supervisor-port", str(supervisor)])
    with running("ranks", command, ports, None) as server:
        # The supervisor starts ranks in their order, so their numbers grow with their pids.
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        for child, core in zip(sorted(map(int, children)), cores, strict=True):
            for thread in Path(f"/proc/{child}/task").iterdir():
                pin(core, int(thread.name))
        yield server


@frozen
class Script:
    """What the controls say, recorded from vllmsim.

    :param stream: file of a stream's pieces.
    :param whole: file of the answer to a request that asks for no stream.
    :param itl_ms: the gap between two tokens of a stream, in milliseconds.
    """

    stream: Path
    whole: Path
    itl_ms: float


def record(server: Server, itl_ms: float, max_tokens: int = _RECORDED) -> Script:
    """Ask vllmsim for a stream and for a whole answer, and keep what it says.

    :param max_tokens: of the stream; those that are not paced are said again as they are.
    """
    script = Script(FOLDER / f"{server.name}.stream", FOLDER / f"{server.name}.whole", itl_ms)
    stream = exchange(server.port, requests.chat(stream=True, max_tokens=max_tokens))
    Recording.cut(stream).write(script.stream)
    script.whole.write_bytes(exchange(server.port, requests.chat(stream=False, max_tokens=requests.SHORT)))
    return script


def _floor(name: str, core: int | None, script: Script, grain_ns: int) -> AbstractContextManager[Server]:
    ports = free_ports()
    files = [str(script.stream), str(script.whole)]
    command = [str(build("control")), str(ports[0]), *files, f"{script.itl_ms * 1e6:.0f}", str(grain_ns)]
    return running(name, command, ports, core)


def floor(core: int | None, script: Script) -> AbstractContextManager[Server]:
    """Run the floor. It wakes as often as vllmsim does, so that a ratio to it is of what a token costs."""
    return _floor("floor", core, script, _GRAIN_NS)


def eager_floor(core: int | None, script: Script) -> AbstractContextManager[Server]:
    """Run the floor in such a way that it wakes for each token: punctual, and dearer."""
    return _floor("eager", core, script, 0)


def bare_twisted(core: int | None, script: Script) -> AbstractContextManager[Server]:
    """Run the bare Protocol."""
    ports = free_ports()
    files = [str(script.stream), str(script.whole)]
    command = [sys.executable, "-m", "bench.twisted_control", str(ports[0]), *files, f"{script.itl_ms * 1e6:.0f}"]
    return running("twisted", command, ports, core)


Start = Callable[[int | None, Script], AbstractContextManager[Server]]
"""Starts a server on a core, or anywhere, which says what a script says."""
