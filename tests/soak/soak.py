"""The whole of it: servers under load for some time, and what is to be said of that at its end."""

import asyncio
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

from attrs import define, field

from tests.soak.operating import Operator
from tests.soak.processes import Program
from tests.soak.server import RANKS, Server
from tests.soak.side import Side
from tests.soak.subscribing import pictures, subscribe

_CLIENTS: Final = 2
_SECURE: Final = 0.1
"""The share of requests that go to the server over TLS."""


@define(eq=False)
class Soak:
    """Puts servers under load.

    :param folder: for all files.
    :param rate: requests in a second.
    """

    folder: Path
    seconds: float
    seed: int
    rate: float
    plain: Side = field(init=False)
    secure: Side = field(init=False)
    operator: Operator = field(init=False)
    troubles: list[str] = field(init=False, factory=list)
    probe: dict[str, Any] = field(init=False, factory=dict)
    control: dict[str, Any] = field(init=False, factory=dict)
    mirrors: list[dict[str, Any]] = field(init=False, factory=list)
    subscribers: Counter[str] = field(init=False, factory=Counter)
    _programs: list[Program] = field(init=False, factory=list)

    async def run(self) -> None:
        """Do all of it."""
        rates = (self.rate * (1 - _SECURE), self.rate * _SECURE)
        self.plain = Side("plain", self._server(secure=False), self.seconds, self.seed, rates[0], _CLIENTS)
        try:
            self.secure = Side("secure", self._server(secure=True), self.seconds, self.seed + _CLIENTS, rates[1], 1)
            try:
                await self._load()
            finally:
                for program in self._programs:
                    program.kill()
                self.secure.close(self.folder)
        finally:
            self.plain.close(self.folder)
        self.troubles += [*self.plain.troubles, *self.secure.troubles, *self.operator.troubles]

    def _server(self, *, secure: bool) -> Server:
        folder = self.folder / ("secure" if secure else "plain")
        folder.mkdir()
        return Server(folder, secure=secure)

    async def _start(self, module: str, *words: object) -> Program:
        program = await Program.start(module, *words)
        self._programs.append(program)
        return program

    async def _load(self) -> None:
        server, stop = self.plain.server, asyncio.Event()
        pid, port = server.daemon.process.pid, server.daemon.port
        self.operator = Operator(server, Random(self.seed), pause=min(3.0, self.seconds / 60))
        probes = [await self._start("tests.soak.probe", each, pid) for each in (port, 0)]
        events = [(server.events(rank), server.replay(rank)) for rank in range(RANKS)]
        mirrors = [await self._start("tests.soak.mirror", *each) for each in events]
        restless = [await self._start("tests.soak.restless", self.seed, *each) for each in events]
        loads = [asyncio.create_task(each.load(self._start, stop)) for each in (self.plain, self.secure)]
        acts = [asyncio.create_task(each) for each in (self.operator.run(stop), self.operator.churn(stop))]
        await asyncio.sleep(self.seconds)
        stop.set()
        await asyncio.gather(*acts, *loads)
        for each in restless:
            self.subscribers.update(await each.last())
        self.probe, self.control = [await each.last() for each in probes]
        if lost := self.subscribers["unanswered"]:
            self.troubles.append(f"{lost} questions for events once more have no answer, or one without an end")
        await asyncio.gather(self.plain.rest(), self.secure.rest())
        await self._compare(mirrors)
        await asyncio.gather(self.plain.leave(), self.secure.leave())

    async def _compare(self, mirrors: list[Program]) -> None:
        """Hold the pictures of the KV caches against the caches."""
        # Events wait for each other for a hundredth of this.
        await asyncio.sleep(1.0)
        self.mirrors = [await each.last() for each in mirrors]
        told = pictures(await subscribe(self.plain.server.daemon.port, 2.0))
        await self.plain.scraper.scrape()
        for rank, mirror in enumerate(self.mirrors):
            blocks = mirror["blocks"]
            there = self.plain.scraper.total("vllmsim:kv_blocks", engine=str(rank), state="cached")
            if mirror["lost"] or len(blocks) != there or blocks != told.get(rank, []):
                over_grpc = len(told.get(rank, []))
                self.troubles.append(
                    f"rank {rank} has {there:g} blocks; {len(blocks)} by its events, {over_grpc} by those over gRPC"
                )
