"""One server under load, with its clients and all that is to be known of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from attrs import define, field

from tests.soak.asker import Asker, Refused
from tests.soak.books import Books
from tests.soak.growth import WARM_UP, Growth, sample
from tests.soak.processes import Program
from tests.soak.scraping import Scraper
from tests.soak.server import Server

_QUIET: Final = 20.0
"""Seconds that everything may take to come to rest."""
_SPARE: Final = 3
"""Descriptors that a server may have more than before it had served anybody: what it opens once and keeps."""
_RESTING: Final = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
    "vllm:num_requests_waiting_by_reason", "vllm:num_requests_kv_fetch_by_stage")  # fmt: skip
_WRONG: Final = ("Traceback", "Unhandled", "critical")
"""What no log may have."""


@define(eq=False)
class Side:
    """A server, its clients, and the books of both.

    :param name: what the ids of its requests begin with.
    :param rate: requests in a second.
    :param clients: how many processes they are from.
    """

    name: str
    server: Server
    seconds: float
    seed: int
    rate: float
    clients: int
    books: Books = field(init=False)
    growth: Growth = field(init=False)
    scraper: Scraper = field(init=False)
    troubles: list[str] = field(init=False, factory=list)
    resting: list[dict[str, int]] = field(init=False, factory=list)
    """What the server has without any load: before, and in the end."""
    _begun: float = field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        daemon = self.server.daemon
        self.books, self.growth = Books(self.server.request_log), Growth(daemon.process.pid)
        self.scraper = Scraper(daemon.port, self.server.tls)

    async def load(self, start: Callable[[str], Awaitable[Program]], stop: asyncio.Event) -> None:
        """Have clients send requests until it is over, and wait for the last.

        :param start: starts a program.
        """
        daemon, over = self.server.daemon, asyncio.Event()
        self.resting.append(await self._count())
        clients = [await start("tests.soak.client") for _ in range(self.clients)]
        self._begun = time.monotonic()
        for number, client in enumerate(clients):
            words = {"seed": self.seed + number, "name": f"{self.name}{number}", "rate": self.rate / self.clients}
            client.tell({**words, "port": daemon.port, "secure": self.server.secure})
        watching = [asyncio.create_task(each) for each in (self.scraper.run(over), self._watch(over))]
        reading = [asyncio.create_task(client.read(self.books.told)) for client in clients]
        await stop.wait()
        for client in clients:
            client.end()
        ended = await asyncio.gather(*reading, *(each.wait() for each in clients), return_exceptions=True)
        over.set()
        ended += await asyncio.gather(*watching, return_exceptions=True)
        self.troubles += [f"{type(each).__name__}: {each}" for each in ended if isinstance(each, BaseException)]

    async def _watch(self, over: asyncio.Event) -> None:
        """Follow the request log, and look at the process now and then."""
        next_look, next_count, asker = 0.0, 0.0, self._asker()
        while not over.is_set():
            at = time.monotonic() - self._begun
            if at >= next_look:
                try:
                    census = await asker.ask("/census?types" if at >= next_count else "/census")
                    self.growth.look(at, census)
                    next_count += self.seconds * WARM_UP if "types" in census else 0
                except (Refused, OSError) as error:
                    self.troubles.append(f"census: {error}")
                next_look = at + min(5.0, self.seconds / 60)
            self.books.follow()
            await asyncio.sleep(0.25)
        asker.close()

    async def rest(self) -> None:
        """Wait until nothing goes on any more."""
        begun = time.monotonic()
        while busy := await self._busy():
            if time.monotonic() - begun > _QUIET:
                self.troubles.append(f"not at rest: {busy}")
                return
            await asyncio.sleep(0.2)

    async def _busy(self) -> dict[str, float]:
        await self.scraper.scrape()
        asker = self._asker()
        gauges = {"load": (await asker.ask("/load"))["server_load"]}
        asker.close()
        gauges |= {name: self.scraper.total(name) for name in _RESTING}
        return {name: value for name, value in gauges.items() if value}

    async def leave(self) -> None:
        """Wait until the server has closed what nobody uses, and count what it has left."""
        self.scraper.close()
        begun = time.monotonic()
        while True:
            left = await self._count()
            before = self.resting[0]
            if left["descriptors"] <= before["descriptors"] + _SPARE or time.monotonic() - begun > _QUIET:
                self.resting.append(left)
                break
            await asyncio.sleep(0.5)
        # Connections are closed in the next turn.
        await asyncio.sleep(0.1)

    async def _count(self) -> dict[str, int]:
        asker = self._asker()
        census = await asker.ask("/census?types")
        while "types" not in census:
            await asyncio.sleep(0.1)
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

    def _asker(self) -> Asker:
        return Asker(self.server.daemon.port, self.server.tls)

    def close(self, folder: Path) -> None:
        """Stop the server, and compare all books.

        :param folder: where its log goes.
        """
        status, daemon = self.server.stop(), self.server.daemon
        output = daemon.output()
        daemon.log.close()
        folder.joinpath(f"{self.name}.log").write_text(output)
        self.troubles += [*self.scraper.troubles, *self.books.close(), *self._uncounted()]
        if status:
            self.troubles.append(f"the daemon ended with status {status}")
        for word in _WRONG:
            if (at := output.find(word)) >= 0:
                self.troubles.append(f"the log says {word}: {output[max(0, at - 500) : at + 6000]}")

    def _uncounted(self) -> list[str]:
        """Hold the metrics against the request log."""
        finished = self.scraper.by("vllm:request_success_total", "finished_reason")
        exchanges = self.scraper.by("http_requests_total", "handler")
        # Who is ended by an operator is in no total, as in vLLM, and calls over gRPC are no exchanges of HTTP.
        books: list[tuple[str, dict[str, float], Counter[str], set[str]]] = [
            ("sequences that ended with", finished, self.books.finished, {*finished, *self.books.finished} - {"abort"}),
            ("requests to", exchanges, self.books.routes, {*self.books.routes}),
        ]
        return [
            f"{counted.get(name, 0):g} {what} {name}, {logged[name]} in the request log"
            for what, counted, logged, names in books
            for name in sorted(names)
            if counted.get(name, 0) != logged[name]
        ]
