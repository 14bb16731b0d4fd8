"""An operator who never rests: everything that can be turned while a server runs is turned, and turned back."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Final

from attrs import define, field

from tests.soak import calls
from tests.soak.asker import Asker, Refused
from tests.soak.asking import ADAPTERS
from tests.soak.server import Server
from tests.soak.subscribing import subscribe

_RULES: Final[Sequence[dict[str, Any]]] = (
    {"name": "full", "status": 503, "retry-after": 1, "rate": 30},
    {"name": "limit", "type": "rate_limit", "every": 3},
    {"name": "reset", "reset": True, "rate": 20},
    {"name": "cut", "stream": True, "cut": 3, "rate": 40},
    {"name": "truncated", "truncate": {"tokens": 2, "then": "close"}, "rate": 30},
    {"name": "ends", "truncate": {"tokens": 2, "then": "end"}, "rate": 30},
    {"name": "malformed", "malformed": 2, "rate": 30},
    {"name": "endless", "stream": True, "done": "missing", "rate": 30},
    {"name": "twice", "stream": True, "done": "twice", "rate": 30},
    {"name": "late", "first-token": "500ms", "rate": 50},
    {"name": "stalled", "stall": {"tokens": 2, "for": "700ms"}, "rate": 50},
)
_SCENARIO: Final[dict[str, Any]] = {
    "name": "soak",
    "duration": "3s",
    "steps": [
        {"at": "0s", "set": {"max-num-seqs": 12, "inter-token-latency-std-dev": 0}, "kv-pressure": 0.5},
        {"at": "200ms", "ramp": {"inter-token-latency": ["4ms", "20ms"]}, "over": "2s"},
        {"at": "500ms", "load-adapter": {"name": "of-the-scenario", "path": "/scenario"}},
        {"at": "1s", "set": {"failure-injection-rate": 10}},
        {"at": "1500ms", "ready": False, "reset-prefix-cache": True},
        {"at": "2s", "unload-adapter": "of-the-scenario"},
    ],
}
_PAGES: Final = ("/v1/models", "/server_info", "/load", "/kv_event_sources", "/version", "/openapi.json", "/health",
    "/admin/config", "/admin/config/history", "/admin/scenario", "/admin/failures", "/tokenizer_info",
    "/admin/requests?limit=20&order=desc", "/admin/requests?outcome=injected&limit=5",
    "/admin/requests?status=4xx&bodies=true&limit=5",
)  # fmt: skip


@define(eq=False)
class Operator:
    """Does one thing after the other, and leaves everything as it was.

    :param pause: seconds between two of them, on the average.
    """

    server: Server
    random: Random
    pause: float
    done: Counter[str] = field(init=False, factory=Counter)
    troubles: list[str] = field(init=False, factory=list)
    _asker: Asker = field(init=False)

    @_asker.default
    def _make_asker(self) -> Asker:
        return Asker(self.server.daemon.port)

    async def run(self, stop: asyncio.Event) -> None:
        """Operate until it is over. Nothing is left other than it was."""
        acts: list[Callable[[], Awaitable[None]]] = []
        while not stop.is_set():
            # Each has its turn before any has another.
            if not acts:
                acts = [self._latencies, self._failures, self._by_chance, self._slots, self._file, self._scenario,
                        self._pause, self._sleep, self._abort, self._forget, self._journal, self._pages,
                        self._logs, self._wait, self._subscribe]  # fmt: skip
                self.random.shuffle(acts)
            act = acts.pop()
            try:
                await act()
            except Exception as error:  # noqa: BLE001 - the others have their turns whatever goes wrong
                self.troubles.append(f"{act.__name__}: {type(error).__name__}: {error}")
            self.done[act.__name__.strip("_")] += 1
            await _rest(stop, self.random.expovariate(1 / self.pause))
        self._asker.close()

    async def churn(self, stop: asyncio.Event) -> None:
        """Load and unload adapters while requests use them, until it is over. None is left."""
        asker, loaded = Asker(self.server.daemon.port), set[str]()
        while not stop.is_set():
            name = self.random.choice(ADAPTERS)
            try:
                await self._turn(asker, loaded, name)
            except Exception as error:  # noqa: BLE001 - likewise
                self.troubles.append(f"adapters: {type(error).__name__}: {error}")
            self.done["adapters"] += 1
            await _rest(stop, self.random.expovariate(1.5))
        for name in sorted(loaded):
            await asker.fetch("/v1/unload_lora_adapter", {"lora_name": name})
        asker.close()

    async def _turn(self, asker: Asker, loaded: set[str], name: str) -> None:
        if name in loaded and len(loaded) > 3:
            loaded.discard(name)
            await asker.fetch("/v1/unload_lora_adapter", {"lora_name": name})
        else:
            again = {"load_inplace": True} if name in loaded else {}
            await asker.fetch("/v1/load_lora_adapter", {"lora_name": name, "lora_path": f"/{name}", **again})
            loaded.add(name)

    async def _changed(self, seconds: float, **options: Any) -> None:
        """Have options be other for a while."""
        await self._asker.ask("/admin/config", {name.replace("_", "-"): value for name, value in options.items()})
        await asyncio.sleep(seconds)
        await self._asker.ask("/admin/config/undo", {})

    async def _latencies(self) -> None:
        ms = self.random.choice((0, 5, 40))
        await self._changed(2, inter_token_latency=ms, inter_token_latency_std_dev=0, time_factor_under_load=1.5)

    async def _failures(self) -> None:
        await self._changed(2, failure_rules=self.random.sample(_RULES, 3))

    async def _by_chance(self) -> None:
        await self._changed(1, failure_injection_rate=20)

    async def _slots(self) -> None:
        await self._changed(2, max_num_seqs=6, max_waiting_queue_length=10, max_loras=1)

    async def _logs(self) -> None:
        await self._changed(0.5, log_level="info,vllmsim.scheduling=debug", access_log=True)

    async def _file(self) -> None:
        for changes in ({"inter-token-latency": "20ms"}, {}):
            self.server.configure(changes)
            self.server.reload()
            expected = changes.get("inter-token-latency", self.server.configuration["inter-token-latency"])
            for _ in range(100):
                await asyncio.sleep(0.1)
                if (await self._asker.ask("/admin/config"))["inter-token-latency"] == expected:
                    break
            else:
                raise Refused("SIGHUP has changed nothing in 10 s")

    async def _scenario(self) -> None:
        await self._asker.ask("/admin/scenario", {**_SCENARIO, "seed": self.random.randrange(1000)})
        for _ in range(200):
            await asyncio.sleep(0.1)
            told = await self._asker.ask("/admin/scenario")
            if not told["running"]:
                return
        raise Refused(f"the scenario has no end: {told}")

    async def _pause(self) -> None:
        mode = self.random.choice(("abort", "wait", "keep"))
        await self._asker.fetch(f"/pause?mode={mode}", {})
        await asyncio.sleep(0.4)
        await self._asker.fetch("/resume", {})

    async def _sleep(self) -> None:
        level, mode = self.random.choice((0, 1, 2)), self.random.choice(("abort", "wait", "keep"))
        await self._asker.fetch(f"/sleep?level={level}&mode={mode}", {})
        await asyncio.sleep(0.4)
        await self._asker.fetch("/wake_up", {})

    async def _abort(self) -> None:
        running = (await self._asker.ask("/admin/requests?state=running&limit=6"))["requests"]
        await self._asker.fetch("/abort_requests", {"request_ids": [each["id"] for each in running if each["id"]]})

    async def _forget(self) -> None:
        await self._asker.fetch(self.random.choice(("/reset_prefix_cache", "/reset_mm_cache")), {})

    async def _journal(self) -> None:
        await self._asker.fetch("/admin/requests", method="DELETE")

    async def _wait(self) -> None:
        await self._asker.ask("/admin/requests?wait_for=5&timeout=2&limit=5&since=0")

    async def _subscribe(self) -> None:
        rude = self.random.random() < 0.5
        reply = await subscribe(self.server.daemon.port, self.random.uniform(0.1, 2), rude=rude)
        if not reply.left:
            raise Refused(f"the subscription has ended: {reply.trouble} {calls.code(reply)}")

    async def _pages(self) -> None:
        for page in _PAGES:
            await self._asker.fetch(page)


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
