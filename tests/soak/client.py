"""The clients, as a process: ``python -m tests.soak.client``, which reads what to do from its standard input.

It says how each request has ended, as a line of JSON, and comes to its end when its standard input does.
"""

import asyncio
import json
import math
import os
import sys
from random import Random
from typing import Any, Final

import attrs
from attrs import define, field

from tests.soak.answers import read
from tests.soak.asking import Mixture
from tests.soak.http1 import Http1
from tests.soak.http2 import Http2
from tests.tls.client import believing

_MOST: Final = 400
"""Requests of a process that may be under way."""
_ANEW: Final = 0.3
"""The share of requests that have a connection of their own."""
_HTTP2: Final = 0.15
"""The share of those over HTTP/2, beside all calls."""


@define
class Clients:
    """Sends requests at random times, about so many in a second.

    :param rate: requests in a second, on the average over half a minute.
    """

    mixture: Mixture
    http1: Http1
    http2: Http2
    rate: float
    under_way: set["asyncio.Task[None]"] = field(init=False, factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Send requests until it is over, and wait for the last."""
        random, loop = self.mixture.random, asyncio.get_running_loop()
        begun = due = loop.time()
        while not stop.is_set():
            # Between quiet and busy: at the peak queues are full.
            wave = 1 + 0.8 * math.sin((due - begun) * math.tau / 30)
            due += random.expovariate(self.rate * wave)
            await asyncio.sleep(max(0.0, due - loop.time()))
            if len(self.under_way) < _MOST:
                task = asyncio.create_task(self._ask())
                self.under_way.add(task)
                task.add_done_callback(self._done)
        await asyncio.gather(*self.under_way)
        self.http1.close()
        self.http2.close()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self.under_way.discard(task)
        task.result()

    async def _ask(self) -> None:
        call, reader = self.mixture.draw()
        say({"sent": call.id})
        draw = self.mixture.random.random
        wire = self.http2 if call.rpc or draw() < _HTTP2 else self.http1
        reply = await wire.send(call, anew=draw() < _ANEW)
        say(attrs.asdict(read(call, reply, reader)))


def say(line: dict[str, Any]) -> None:
    """Tell whoever keeps the books."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Do as the first line of the standard input says, until there is an end of that."""
    os.nice(5)
    words = json.loads(sys.stdin.readline())
    random = Random(words["seed"])
    port, secure = words["port"], words["secure"]
    # Each protocol has a context of its own: what is offered in the handshake differs.
    wires = (Http1(port, believing() if secure else None), Http2(port, believing() if secure else None))
    clients = Clients(Mixture(random, words["name"]), *wires, words["rate"])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
    running = asyncio.create_task(clients.run(stop))
    await stop.wait()
    asyncio.get_running_loop().remove_reader(sys.stdin)
    await running


if __name__ == "__main__":
    asyncio.run(main())
