"""The whole of it: a server under load for some time, and what is to be said of that at its end."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

from attrs import define, field

from tests.soak.asker import Asker
from tests.soak.books import Books
from tests.soak.growth import WARM_UP, Growth, sample
from tests.soak.operating import Operator
from tests.soak.processes import Program
from tests.soak.scraping import Scraper
from tests.soak.server import RANKS, Server
from tests.soak.subscribing import pictures, subscribe

_CLIENTS: Final = 2
_QUIET: Final = 20.0
"""Seconds that everything may take to come to rest."""
_SPARE: Final = 3
"""Descriptors that a server may have more than before it had served anybody: what it opens once and keeps."""
_RESTING: Final = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
    "vllm:num_requests_waiting_by_reason", "vllm:num_requests_kv_fetch_by_stage")  # fmt: skip


@define(eq=False)
class Soak:
    """Puts a server under load.

    :param folder: for all files.
    :param rate: requests in a second.
    """

    folder: Path
    seconds: float
    seed: int
    rate: float
    server: Server = field(init=False)
    books: Books = field(init=False)
    growth: Growth = field(init=False)
    scraper: Scraper = field(init=False)
    operator: Operator = field(init=False)
    troubles: list[str] = field(init=False, factory=list)
    probe: dict[str, Any] = field(init=False, factory=dict)
    control: dict[str, Any] = field(init=False, factory=dict)
    mirrors: list[dict[str, Any]] = field(init=False, factory=list)
    subscribers: Counter[str] = field(init=False, factory=Counter)
    resting: list[dict[str, int]] = field(init=False, factory=list)
    """What the server has without any load: before, and in the end."""
    _mirrors: list[Program] = field(init=False, factory=list)
    _programs: list[Program] = field(init=False, factory=list)
    _begun: float = field(init=False, default=0.0)

    async def run(self) -> None:
        """Do all of it."""
        self.server = Server(self.folder)
        try:
            await self._load()
            await self._rest()
            await self._compare()
        finally:
            for program in self._programs:
                program.kill()
            status = self.server.stop()
        self._close(status)

    async def _start(self, module: str, *words: object) -> Program:
        program = await Program.start(module, *words)
        self._programs.append(program)
        return program

    async def _load(self) -> None:
        server, random = self.server, Random(self.seed)
        pid, port = server.daemon.process.pid, server.daemon.port
        self.books, self.growth, self.scraper = Books(server.request_log), Growth(pid), Scraper(port)
        self.operator = Operator(server, random, pause=min(3.0, self.seconds / 60))
        probes = [await self._start("tests.soak.probe", each, pid) for each in (port, 0)]
        mirrors = [await self._start("tests.soak.mirror", server.events(n), server.replay(n)) for n in range(RANKS)]
        restless = [
            await self._start("tests.soak.restless", self.seed + n, server.events(n), server.replay(n))
            for n in range(RANKS)
        ]
        clients = [await self._start("tests.soak.client") for _ in range(_CLIENTS)]
        self.resting.append(await self._look())
        self._begun = time.monotonic()
        for number, client in enumerate(clients):
            client.tell({"seed": self.seed + number, "name": f"c{number}", "port": port, "rate": self.rate / _CLIENTS})
        stop, over = asyncio.Event(), asyncio.Event()
        reading = [asyncio.create_task(client.read(self.books.told)) for client in clients]
        busy = [asyncio.create_task(each) for each in (self.operator.run(stop), self.operator.churn(stop))]
        watching = [asyncio.create_task(each) for each in (self.scraper.run(over), self._watch(over))]
        await asyncio.sleep(self.seconds)
        stop.set()
        await asyncio.gather(*busy)
        for client in clients:
            client.end()
        await asyncio.gather(*reading, *(client.wait() for client in clients))
        over.set()
        await asyncio.gather(*watching)
        for each in restless:
            self.subscribers.update(await each.last())
        self.probe, self.control = [await each.last() for each in probes]
        self._mirrors = mirrors

    async def _watch(self, over: asyncio.Event) -> None:
        """Follow the request log, and look at the process now and then."""
        next_look, next_count, asker = 0.0, 0.0, Asker(self.server.daemon.port)
        while not over.is_set():
            at = time.monotonic() - self._begun
            if at >= next_look:
                counts = at >= next_count
                self.growth.look(at, await asker.ask("/census?types" if counts else "/census"))
                next_look = at + min(5.0, self.seconds / 60)
                next_count += self.seconds * WARM_UP if counts else 0
            self.books.follow()
            await asyncio.sleep(0.25)
        asker.close()

    async def _rest(self) -> None:
        """Wait until nothing goes on any more."""
        begun = time.monotonic()
        while True:
            await self.scraper.scrape()
            busy = {name: value for name in _RESTING if (value := self.scraper.total(name))}
            if not busy:
                return
            if time.monotonic() - begun > _QUIET:
                self.troubles.append(f"not at rest: {busy}")
                return
            await asyncio.sleep(0.2)

    async def _compare(self) -> None:
        """Hold the pictures of the KV caches against the caches."""
        await asyncio.sleep(0.5)
        self.mirrors = [await each.last() for each in self._mirrors]
        told = pictures(await subscribe(self.server.daemon.port, 2.0))
        await self.scraper.scrape()
        for rank, mirror in enumerate(self.mirrors):
            blocks = mirror["blocks"]
            there = self.scraper.total("vllmsim:kv_blocks", engine=str(rank), state="cached")
            if mirror["lost"] or len(blocks) != there or blocks != told.get(rank, []):
                over_grpc = len(told.get(rank, []))
                self.troubles.append(
                    f"rank {rank} has {there} blocks; {len(blocks)} by its events, {over_grpc} by those over gRPC"
                )
        self.scraper.close()
        await self._leave()
        # Connections are closed in the next turn.
        await asyncio.sleep(0.1)

    async def _look(self) -> dict[str, int]:
        """Count what the server has."""
        asker = Asker(self.server.daemon.port)
        census = await asker.ask("/census?types")
        asker.close()
        now = sample(self.server.daemon.process.pid, 0.0, census["calls"])
        types = census["types"]
        return {
            "descriptors": now.descriptors,
            "threads": now.threads,
            "delayed calls": now.calls,
            "coroutines": types.get("builtins.coroutine", 0),
            "Deferreds": types.get("twisted.internet.defer.Deferred", 0),
        }

    async def _leave(self) -> None:
        """Wait until the server has closed what nobody uses, and count what it has left."""
        begun = time.monotonic()
        while True:
            left = await self._look()
            before = self.resting[0]
            if left["descriptors"] <= before["descriptors"] + _SPARE or time.monotonic() - begun > _QUIET:
                self.resting.append(left)
                return
            await asyncio.sleep(0.5)

    def _close(self, status: int) -> None:
        self.troubles += self.scraper.troubles + self.operator.troubles + self.books.close()
        self._compare_counters()
        output = self.server.daemon.output()
        self.server.daemon.log.close()
        (self.folder / "daemon.log").write_text(output)
        if status:
            self.troubles.append(f"the daemon ended with status {status}")
        for word in ("Traceback", "Unhandled", "critical"):
            if word in output:
                at = output.index(word)
                self.troubles.append(f"the log says {word}: {output[max(0, at - 500) : at + 1500]}")

    def _compare_counters(self) -> None:
        """Hold the metrics against the request log."""
        counted = self.scraper.by("vllm:request_success_total", "finished_reason")
        logged = {name: float(count) for name, count in self.books.finished.items()}
        for name in sorted({*counted, *logged} - {"abort"}):
            if counted.get(name, 0) != logged.get(name, 0):
                self.troubles.append(f"{counted.get(name)} sequences ended with {name}, in the log {logged.get(name)}")
