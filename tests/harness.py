"""A whole rank in memory: one clock, no sockets, no threads."""

import json
import re
from collections.abc import Callable
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.fakes import in_thread
from tests.http2client import Http2Client
from vllmsim.assembly.joining import RankGroup
from vllmsim.assembly.shared import build_shared
from vllmsim.assembly.trying import try_plugins
from vllmsim.clocks.clocks import ClockKind, Clocks, make_clocks
from vllmsim.config.changes import LiveConfigurations
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.rank import Rank, build_rank
from vllmsim.scenario.options import ScenarioOptions
from vllmsim.scenario.player import Scenarios
from vllmsim.scheduling.timecontrol import TimeControl
from vllmsim.web.site import Site

JSON = "application/json"
EPOCH = 1795339833.0


@define(eq=False)
class Exchange:
    """One connection to a site, and what came back on it."""

    site: Site
    transport: StringTransport = field(factory=StringTransport)
    protocol: Any = field(init=False)
    _gone: Any = field(init=False, default=None)

    @protocol.default
    def _connect(self) -> Any:
        protocol = self.site.buildProtocol(None)
        protocol.makeConnection(self.transport)
        return protocol

    @property
    def channel(self) -> Any:
        """What serves the connection, once that is known."""
        return self.transport.producer

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> "Exchange":
        """Send a request; header names have ``_`` for ``-``."""
        lines = [f"{method} {path} HTTP/1.1", "Host: example.test"]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return self.send_bytes("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))

    def send_bytes(self, data: bytes) -> "Exchange":
        """Send bytes as they are."""
        self.protocol.dataReceived(data)
        return self

    def drop(self) -> None:
        """Go away without a word. Harmless for one that is gone."""
        if self._gone is not self.protocol:
            self._gone = self.protocol
            self.protocol.connectionLost(Failure(ConnectionLost()))

    @property
    def raw(self) -> bytes:
        """Every byte that came."""
        return bytes(self.transport.value())

    @property
    def status(self) -> int:
        """The status code, 0 before it is there."""
        return int(self.raw.split(b" ", 2)[1]) if self.raw else 0

    @property
    def headers(self) -> dict[str, str]:
        """The response headers, names in lower case."""
        head = self.raw.partition(b"\r\n\r\n")[0].decode()
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])}

    @property
    def body(self) -> bytes:
        """The body so far, without the framing of chunks."""
        rest = self.raw.partition(b"\r\n\r\n")[2]
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return rest
        body = b""
        while match := re.match(rb"([0-9a-fA-F]+)\r\n", rest):
            size = int(match[1], 16)
            body += rest[match.end() : match.end() + size]
            rest = rest[match.end() + size + 2 :]
        return body

    @property
    def complete(self) -> bool:
        """Whether the response has come to its end."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            return self.raw.endswith(b"0\r\n\r\n")
        return bool(self.raw) and len(self.body) == int(self.headers["content-length"])

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The events of a stream so far, ``[DONE]`` as text."""
        texts = [part.partition("data: ")[2] for part in self.body.decode().split("\n\n") if part]
        return [text if text == "[DONE]" else json.loads(text) for text in texts]


class RankTestCase(SynchronousTestCase):
    """Tests that drive a whole rank over in-memory connections."""

    def make_rank(self, *words: str, threads: Callable[..., Deferred[Any]] = in_thread) -> Rank:
        """Build and start a rank from the words of a command line.

        Every connection is dropped after the test, and no timer may be left then.

        :param threads: runs functions off the reactor.
        """
        self.rank = self.make_ranks(*words, threads=threads)[0]
        return self.rank

    def make_ranks(self, *words: str, threads: Callable[..., Deferred[Any]] = in_thread) -> list[Rank]:
        """Do so with all ranks that the words ask for; :meth:`connect` goes to the first."""
        self.clock = Clock()
        loaded = load_words(("--seed", "7", *words), {})
        self.configuration = c = loaded.configuration
        self.clocks = clocks = make_clocks(cast("ClockKind", c.clock), c.time_scale, self.clock, lambda: EPOCH)
        threads, time = clocks.standstill.counted(threads), TimeControl(clocks)
        shared = build_shared(c, clocks, threads)
        self.addCleanup(lambda: Deferred.fromCoroutine(shared.close()))
        self.lives = {number: LiveConfiguration(c) for number in c.ranks}
        self.live = self.lives[c.ranks.start]
        self.configurations = LiveConfigurations(self.lives, loaded, lambda: EPOCH, self._try)
        group = RankGroup(c.ranks, c.balances) if len(c.ranks) > 1 else None
        options = ScenarioOptions(self.configurations)
        begun = group.begin if group else None
        self.scenarios = Scenarios(clocks.background, options, 7, clocks.epoch, threads, begun)
        ranks = [
            build_rank(
                live,
                number,
                7,
                clocks,
                threads,
                shared=shared,
                configurations=self.configurations,
                group=group,
                scenarios=self.scenarios,
                time=time,
            )
            for number, live in self.lives.items()
        ]
        self.rank = ranks[0]
        for rank in ranks:
            rank.start()
        self.clock.advance(0)
        self.exchanges: list[Exchange] = []
        self.addCleanup(self._stop, clocks, ranks, self.exchanges)
        self.addCleanup(lambda scenarios: Deferred.fromCoroutine(scenarios.stop()), self.scenarios)
        return ranks

    def _try(self, before: Configuration, now: Configuration) -> list[tuple[str, str]]:
        return try_plugins(before, now, self.clock, in_thread)

    def _stop(self, clocks: Clocks, ranks: list[Rank], exchanges: list[Exchange]) -> None:
        for exchange in exchanges:
            exchange.drop()
        for rank in ranks:
            if rank.lifecycle.accepting():
                rank.lifecycle.drain()
            rank.stop()
            for file in rank.files:
                file.stop()
        cast("Clock", clocks.real).advance(0)
        self.assertEqual([], [*clocks.simulated.getDelayedCalls(), *clocks.real.getDelayedCalls()])

    def clean_up(self) -> None:
        """Do what comes after a test, where no runner does; what goes wrong then is raised."""
        while self._cleanups:
            function, positional, named = self._cleanups.pop()
            function(*positional, **named)

    def connect(self) -> Exchange:
        """Open a connection."""
        self.exchanges.append(Exchange(self.rank.site))
        return self.exchanges[-1]

    def connect_http2(self, **options: Any) -> Http2Client:
        """Open a connection that speaks HTTP/2; it is dropped after the test."""
        client = Http2Client(self.rank.site, **options)
        self.addCleanup(self.clock.advance, 0)
        self.addCleanup(client.drop)
        return client

    def get(self, path: str, **headers: str) -> Exchange:
        """Send a GET request on a new connection."""
        return self.connect().send("GET", path, None, **headers)

    def post(self, path: str, value: Any, **headers: str) -> Exchange:
        """Send JSON, or bytes as they are, on a new connection; let zero-latency answers come back."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        exchange = self.connect().send("POST", path, body, **{"Content_Type": JSON, **headers})
        self.clock.advance(0)
        return exchange

    def chat(self, text: str = "hello", **fields: Any) -> Exchange:
        """Send a chat completion request."""
        return self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **fields})

    def complete(self, prompt: Any = "hello", **fields: Any) -> Exchange:
        """Send a completion request."""
        return self.post("/v1/completions", {"prompt": prompt, **fields})

    def sample(self, name: str) -> float:
        """Read one sample of ``/metrics``, by its name and labels as printed."""
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no sample {name}")
