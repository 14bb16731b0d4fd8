"""Clients that say exactly how their connection and each answer on it ended."""

import io
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, Final

from attrs import define, field, frozen

from tests.integration.daemon import PATIENCE

FULL: Final = bool(os.environ.get("FAULTS_FULL"))
"""Whether there is time for the full length, as ``make faults`` has it."""


def request(path: str, body: dict[str, Any] | None = None, *, close: bool = False) -> bytes:
    """Make the bytes of a request: POST if there is a body, else GET.

    :param close: whether the client says that it is the connection's last.
    """
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: x\r\n"
    if close:
        head += "Connection: close\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return head.encode() + b"\r\n" + data


@frozen
class Answer:
    """An answer of HTTP/1.1.

    :param whole: whether it has all that its head promises, and a stream its end.
    :param events: whether it is a stream.
    """

    status: int
    body: bytes
    whole: bool
    events: bool = False

    @property
    def how(self) -> str:
        """Say in a word or two how it ended."""
        if not self.whole:
            return "truncated"
        if self.status != 200:
            return f"{self.status}"
        return "told in its stream" if self.events and b'"error":{' in self.body else "whole"


@define(eq=False)
class Client:
    """A connection, and what was sent and came on it.

    :param port: where the server listens, on this machine.
    """

    port: int
    sent: int = 0
    """How many whole requests."""
    ending: str = ""
    """How the connection ended: end, reset or hung."""
    received: bytes = b""
    connection: socket.socket = field(init=False)

    @connection.default
    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def send(self, *requests: bytes) -> "Client":
        """Send whole requests, at once."""
        self.connection.sendall(b"".join(requests))
        self.sent += len(requests)
        return self

    def begin(self, piece: bytes) -> "Client":
        """Send what is no whole request."""
        self.connection.sendall(piece)
        return self

    def read_some(self) -> bytes:
        """Read what comes first."""
        piece = self.connection.recv(1 << 16)
        self.received += piece
        return piece

    def read_to_end(self, patience: float = PATIENCE) -> "Client":
        """Read until the connection ends, and close it.

        :param patience: seconds within which something must come, or the connection hangs.
        """
        self.connection.settimeout(patience)
        try:
            while piece := self.connection.recv(1 << 18):
                self.received += piece
            self.ending = "end"
        except ConnectionError:
            self.ending = "reset"
        except TimeoutError:
            self.ending = "hung"
        self.connection.close()
        return self

    def answers(self) -> list[Answer]:
        """Take apart what came."""
        return list(_answers(self.received))


class _Lasting(io.BytesIO):
    """Bytes that stay open when what reads one answer of them is done."""

    def makefile(self, *_: object) -> "_Lasting":
        """Be the file of a socket."""
        return self

    def close(self) -> None:
        """Stay."""


def _answers(received: bytes) -> Iterable[Answer]:
    stream: Any = _Lasting(received)
    while stream.tell() < len(received):
        response = HTTPResponse(stream)
        try:
            response.begin()
            body = response.read()
        except IncompleteRead as error:
            yield Answer(response.status, error.partial, whole=False)
            return
        except HTTPException:
            yield Answer(0, b"", whole=False)
            return
        events = response.headers.get_content_type() == "text/event-stream"
        ended = not events or b"[DONE]" in body or b'"error"' in body or b"message_stop" in body
        yield Answer(response.status, body, ended, events)


def tally(clients: Iterable[Client]) -> Counter[str]:
    """Count how the requests of clients ended: each of those that were sent is counted once."""
    counted: Counter[str] = Counter()
    for client in clients:
        answers = client.answers()[: client.sent]
        counted.update(answer.how for answer in answers)
        missing = client.sent - len(answers)
        if missing:
            counted[f"no answer, {client.ending}"] += missing
    return counted


def cpu_seconds(pid: int) -> float:
    """Tell the processor time that a process has had."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share_of_cpu(pid: int, seconds: float) -> float:
    """Measure what share of a processor a process takes for some seconds."""
    before, begin = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - begin)
