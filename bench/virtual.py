# -*- test-case-name: tests.integration.test_virtual_clock -*-
"""Ten minutes of virtual time with 10,000 requests over HTTP: how long that takes, and whether it is the same again.

Requests come at random times, each on a connection that is free. Before one is sent the clock is moved to its time, and
that call waits until all that were sent are in. So their order is known, and what a server says of them, in answers, in
its journal and in its metrics, depends on the seed alone. It is compared with what another server says that has just
been started with the same words.
"""

import json
import random
import selectors
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from attrs import define, field, frozen

from bench.load import LoadError
from bench.plan import Plan, Result
from bench.servers import free_ports, running, vllmsim_command

REQUESTS: Final = 10_000
SECONDS: Final = 600.0
MODELS: Final[Mapping[str, Sequence[str]]] = {
    "per-request": ("--time-to-first-token", "200ms", "--inter-token-latency-std-dev", "5ms"),
    "step": (
        *("--step-time-constant", "12ms", "--step-time-per-prefill-token", "50us", "--step-time-jitter", "5"),
        *("--step-time-per-decode-sequence", "200us", "--step-time-per-cached-token", "100ns"),
    ),
}
"""By scheduling model, how long things take."""
_ITL: Final = 20.0
_COMMON: Final = (
    *("--clock", "virtual", "--seed", "1", "--max-num-seqs", "64", "--timeout-keep-alive", "1h"),
    *("--enable-kvcache", "--kv-cache-size", "8192", "--journal-size", str(REQUESTS), "--journal-body-bytes", "0"),
)
_PREFIXES: Final = 64
_MOST_TOKENS: Final = 32
_PIECE: Final = 1 << 18
_PATIENCE: Final = 60.0
_MACHINE: Final = ("process_", "python_", "# ")
"""What begins the lines of metrics that are about the machine, or no metrics."""


@frozen
class Arrival:
    """A request.

    :param at: when it comes, in seconds from the start.
    :param data: what is sent.
    """

    at: float
    data: bytes


def arrivals(count: int, seconds: float, seed: int = 1) -> Iterator[Arrival]:
    """Make requests that come at random times: conversations that begin alike, half of them streamed."""
    generator, now = random.Random(seed), 0.0  # noqa: S311 - no secret
    for number in range(count):
        now += generator.expovariate(count / seconds)
        system = f"You are assistant number {generator.randrange(_PREFIXES)}. " * 8
        question = f"Question {number}: " + "why? " * generator.randrange(1, 40)
        body = {
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
            "max_tokens": generator.randint(1, _MOST_TOKENS),
            "stream": number % 2 == 0,
        }
        yield Arrival(now, _post("/v1/chat/completions", body))


def _post(path: str, body: Any) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


@define(eq=False)
class _Connection:
    """A connection that has one request after the other.

    :param number: of the request that it has.
    """

    _port: int
    number: int = -1
    stream: socket.socket = field(init=False)
    _received: bytearray = field(init=False, factory=bytearray)

    @stream.default
    def _connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self._port), _PATIENCE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def read(self) -> bytes | None:
        """Read what there is.

        :return: the body of the answer if that is whole.
        :raises LoadError: when it is not one that was asked for.
        """
        piece = self.stream.recv(_PIECE)
        if not piece:
            raise LoadError("The server has closed a connection.")
        self._received += piece
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0]
        if len(body) != int(length) if length else not body.endswith(b"\r\n0\r\n\r\n"):
            return None
        if not head.startswith(b"HTTP/1.1 200 "):
            raise LoadError(self._received.decode(errors="replace")[:1000])
        self._received.clear()
        return bytes(body)

    def ask(self, data: bytes) -> bytes:
        """Send a request, and wait for its answer."""
        self.stream.sendall(data)
        while (body := self.read()) is None:
            pass
        return body


@define(eq=False)
class Client:
    """Sends requests at their times.

    :param port: where the server listens.
    """

    _port: int
    _clock: _Connection = field(init=False)
    _selector: selectors.BaseSelector = field(init=False, factory=selectors.DefaultSelector)
    _free: list[_Connection] = field(init=False, factory=list)
    connections: int = field(init=False, default=0)
    """How many there have been at once."""
    answers: dict[int, str] = field(init=False, factory=dict)
    """The sum of each answer, by the number of its request."""

    @_clock.default
    def _connect(self) -> _Connection:
        return _Connection(self._port)

    def play(self, course: Iterable[Arrival]) -> float:
        """Send all, and take their answers.

        :return: how long it was in virtual seconds.
        """
        now, count = 0.0, 0
        for arrival in course:
            self._move("advance", seconds=arrival.at - now, requests=count)
            self._collect(0.0)
            connection = self._free.pop() if self._free else self._open()
            connection.number = count
            connection.stream.sendall(arrival.data)
            now, count = arrival.at, count + 1
        lasted: float = self._move("run-until-idle", requests=count)["now"]
        while len(self.answers) < count:
            self._collect(_PATIENCE)
        return lasted

    def get(self, path: str) -> bytes:
        """Ask for a page."""
        return self._clock.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def close(self) -> None:
        """Part with the server."""
        self._clock.stream.close()
        for key in list(self._selector.get_map().values()):
            key.data.stream.close()
        self._selector.close()

    def _move(self, what: str, **fields: Any) -> Any:
        return json.loads(self._clock.ask(_post(f"/admin/clock/{what}", fields)))

    def _open(self) -> _Connection:
        self.connections += 1
        made = _Connection(self._port)
        self._selector.register(made.stream, selectors.EVENT_READ, made)
        return made

    def _collect(self, patience: float) -> None:
        """Read what has come."""
        ready = self._selector.select(patience)
        if patience and not ready:
            raise LoadError("An answer does not come to its end.")
        for key, _ in ready:
            connection: _Connection = key.data
            body = connection.read()
            if body is not None:
                self.answers[connection.number] = sha256(body).hexdigest()
                self._free.append(connection)


@frozen
class Run:
    """What a server has said.

    :param real: how many seconds it took.
    :param server: how many of a processor the server used.
    :param client: how many the client used.
    :param virtual: how many it took by the clock.
    :param connections: how many there were at once.
    :param answers: the sum of each.
    :param journal: the page with all requests.
    :param metrics: the lines that are not about the machine.
    """

    real: float
    server: float
    client: float
    virtual: float
    connections: int
    answers: Mapping[int, str]
    journal: bytes
    metrics: Sequence[str]

    def other(self, run: "Run") -> list[str]:
        """Name what another has said otherwise."""
        return [
            name for name in ("virtual", "answers", "journal", "metrics") if getattr(self, name) != getattr(run, name)
        ]


def live_through(model: str, port: int, core: int | None, count: int, seconds: float) -> Run:
    """Start a server, have requests come, and see what it says.

    :param model: the scheduling model.
    :param port: where it listens; the ids of answers depend on that too.
    """
    words = ("--scheduling-model", model, *MODELS[model], *_COMMON)
    with running(f"virtual-{model}", vllmsim_command(port, _ITL, words), [port], core) as server:
        client = Client(port)
        try:
            begun, used, own = time.monotonic(), server.processor(), time.process_time()
            virtual = client.play(arrivals(count, seconds))
            real, used, own = time.monotonic() - begun, server.processor() - used, time.process_time() - own
            journal = client.get("/admin/requests")
            metrics = [line for line in client.get("/metrics").decode().splitlines() if not line.startswith(_MACHINE)]
        finally:
            client.close()
    return Run(real, used, own, virtual, client.connections, client.answers, journal, metrics)


def measure(plan: Plan) -> Result:
    """Have all of it happen twice with each scheduling model, or the first seconds.

    :raises LoadError: when it is not the same again.
    """
    seconds = plan.seconds or SECONDS
    count = round(REQUESTS * seconds / SECONDS)
    [port], rows = free_ports(), []
    for model in MODELS:
        first: Run | None = None
        for turn in ("once", "again"):
            run = live_through(model, port, plan.cores.server, count, seconds)
            plan.say(f"{model} {turn}: {run.virtual:.1f} virtual seconds in {run.real:.1f} s")
            differing = [] if first is None else first.other(run)
            if differing:
                raise LoadError(f"{model}: not the same again: {', '.join(differing)}.")
            rows.append(
                [
                    f"{model}, {turn}",
                    f"{run.virtual:.1f} s",
                    f"{run.real:.1f} s",
                    f"{run.server:.1f} s",
                    f"{run.client:.1f} s",
                    str(run.connections),
                    sha256(run.journal).hexdigest()[:16],
                ]
            )
            first = run
    header = ("scheduling model", "virtual", "real", "server's core", "client's", "connections", "journal")
    return Result(f"{count} requests in {seconds:g} s of virtual time, and the same again", header, rows, {})
