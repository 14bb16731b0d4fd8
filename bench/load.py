# -*- test-case-name: tests.bench.test_load -*-
"""The load clients, run as programs of their own: one for HTTP/1.1, and one for gRPC."""

import contextlib
import subprocess
from array import array
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from attrs import frozen

from bench.building import FOLDER, build

_PATIENCE: Final = 60.0


class LoadError(Exception):
    """The client found a stream that was not as it should be; the message says which way."""


@frozen
class Window:
    """What happened between two points of a run.

    :param nanoseconds: how long it was.
    :param tokens: how many came.
    :param answers: how many were complete.
    :param server_nanoseconds: of a processor, that the server used.
    :param client_nanoseconds: likewise the client.
    """

    nanoseconds: int
    tokens: int
    answers: int
    server_nanoseconds: int
    client_nanoseconds: int

    @classmethod
    def parse(cls, output: str) -> "Window":
        """Read what the client prints: lines of a name and a number.

        :raises ValueError: if something is missing.
        """
        found = dict(line.split() for line in output.splitlines())
        try:
            return cls(**{name: int(found[name]) for name in cls.__annotations__})
        except KeyError as missing:
            raise ValueError(f"The client did not tell {missing}.") from None

    @property
    def tokens_per_second(self) -> float:
        """How many came, in a second."""
        return self.tokens / self.nanoseconds * 1e9

    @property
    def answers_per_second(self) -> float:
        """How many were complete, in a second."""
        return self.answers / self.nanoseconds * 1e9

    @property
    def cpu_per_token(self) -> float:
        """How long the server's core worked for one, in microseconds."""
        return self.server_nanoseconds / max(1, self.tokens) / 1e3

    @property
    def cpu_per_answer(self) -> float:
        """How long the server's core worked for one, in microseconds."""
        return self.server_nanoseconds / max(1, self.answers) / 1e3

    @property
    def server_share(self) -> float:
        """How much of its core the server used."""
        return self.server_nanoseconds / self.nanoseconds

    @property
    def client_share(self) -> float:
        """How much of its core the client used."""
        return self.client_nanoseconds / self.nanoseconds


@frozen
class Method:
    """A method of gRPC, and how many connections those share who call it at once.

    :param path: of its service and of itself.
    """

    path: str
    connections: int = 1


def _command(
    mode: str,
    ports: Sequence[int],
    request: bytes,
    askers: int,
    facts: Mapping[str, object],
    method: Method | None = None,
) -> list[str]:
    file = FOLDER / f"request-{sha256(request).hexdigest()[:12]}"
    file.write_bytes(request)
    program, connections = ("client", askers) if method is None else ("calls", method.connections)
    all_facts = {"request": file, "connections": connections, "askers": askers, **facts}
    if method is not None:
        all_facts["path"] = method.path
    words = [f"port={port}" for port in ports]
    return [str(build(program)), mode, *words, *(f"{name}={fact}" for name, fact in all_facts.items())]


def _run(command: Sequence[str]) -> Window:
    done = subprocess.run(  # noqa: S603 - our own program
        command, capture_output=True, text=True, check=False, timeout=_PATIENCE
    )
    if done.returncode:
        raise LoadError(done.stderr.strip() or f"The client ended with {done.returncode}.")
    return Window.parse(done.stdout)


def _stamps(path: Path) -> "array[int]":
    stamps = array("q")
    stamps.frombytes(path.read_bytes())
    return stamps


def run_paced(
    ports: Sequence[int],
    pid: int,
    request: bytes,
    *,
    streams: int,
    tokens: int,
    spacing: float,
    window: tuple[float, float],
    method: Method | None = None,
) -> tuple[Window, "array[int]"]:
    """Run streams that start one after the other, each on a connection of its own.

    :param spacing: seconds between two starts.
    :param window: seconds after the first start; all streams run in it.
    :param method: which one they call, where they are calls of gRPC, which share connections.
    :return: what happened in the window, and when each token arrived in nanoseconds, by stream and token.
    :raises LoadError: if a stream ends too early or otherwise than it should.
    """
    path = FOLDER / "stamps"
    facts = {"tokens": tokens, "spacing": round(spacing * 1e9), "pid": pid, "stamps": path}
    edges = {"from": round(window[0] * 1e9), "until": round(window[1] * 1e9)}
    counted = _run(_command("paced", ports, request, streams, {**facts, **edges}, method))
    return counted, _stamps(path)


def run_closed(
    ports: Sequence[int],
    pid: int,
    request: bytes,
    *,
    connections: int,
    seconds: float,
    tokens: int = 0,
    warm: float = 0.1,
    method: Method | None = None,
) -> Window:
    """Keep connections busy: each asks again as soon as it is answered.

    :param tokens: how many every stream has; 0 if the answers are no streams.
    :param warm: seconds before the time that counts.
    :param method: which one is called, by as many at once as there would be connections, where it is gRPC.
    """
    edges = {"from": round(warm * 1e9), "until": round((warm + seconds) * 1e9)}
    facts = {"tokens": tokens, "pid": pid, **edges}
    return _run(_command("closed", ports, request, connections, facts, method))


def run_pings(port: int, request: bytes, *, seconds: float, spacing: float = 0) -> tuple["array[int]", "array[int]"]:
    """Send a request again and again on one connection.

    :param spacing: the least time between two, in seconds.
    :return: when each answer was complete, and how long it took, in nanoseconds.
    """
    path = FOLDER / "pings"
    facts = {"spacing": round(spacing * 1e9), "from": 0, "until": round(seconds * 1e9), "stamps": path}
    _run(_command("closed", [port], request, 1, facts))
    pairs = _stamps(path)
    return pairs[::2], pairs[1::2]


@contextlib.contextmanager
def busy(port: int, request: bytes, spacing: float) -> Iterator[None]:
    """Have a client ask on one connection, each time after a spacing in seconds.

    :raises LoadError: if it fails meanwhile.
    """
    facts = {"spacing": round(spacing * 1e9), "from": 0, "until": round(_PATIENCE * 1e9)}
    command = _command("closed", [port], request, 1, facts)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as client:  # noqa: S603 - our own program
        try:
            yield
            if client.poll() is not None:
                assert client.stderr is not None
                raise LoadError(client.stderr.read().strip())
        finally:
            client.terminate()


@contextlib.contextmanager
def held(ports: Sequence[int], request: bytes, connections: int, method: Method | None = None) -> Iterator[None]:
    """Have connections that were answered, or began to be, and stay.

    :param method: which one is called, by as many at once, where it is gRPC.
    """
    command = _command("hold", ports, request, connections, {}, method)
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        assert client.stdin is not None
        assert client.stderr is not None
        if not client.stdout.readline().startswith("ready"):
            raise LoadError(client.stderr.read().strip())
        try:
            yield
        finally:
            client.stdin.close()
            client.wait(_PATIENCE)
