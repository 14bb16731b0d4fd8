# -*- test-case-name: tests.integration.test_bench -*-
"""A vllmsim that looks answers up by itself, as often as it is told to, while it serves: ``python -m bench.lookups``.

What clients could ask for over HTTP would be answered too, and cost more than the lookups that are measured. So these
are asked for here, in the reactor that streams, as a rank asks for them. A line ``RATE SECONDS`` to a port of its own
begins, and a line of JSON says how long each took, in milliseconds.
"""

import json
import random
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool
from twisted.protocols.basic import LineOnlyReceiver

from vllmsim.config.arguments import scan
from vllmsim.config.changes import LiveConfigurations
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loading import load
from vllmsim.dataset.conversations import Conversations, Finding
from vllmsim.dataset.datasets import Datasets
from vllmsim.inference import Extent, TokenizedPrompt, TokenPrompt

_EXTENT: Final = Extent(0, 128, explicit=True)
_PROMPTS: Final = 8192
_TURN: Final = 0.001
"""Seconds between two times that lookups begin, as requests come from many clients and not in a row."""


def prompt_ids(number: int) -> list[int]:
    """Tell the token ids of the prompt of a row."""
    generator = random.Random(number)  # noqa: S311 - simulation, not secrets
    return [generator.getrandbits(32) for _ in range(40)]


def _prompt(number: int) -> TokenizedPrompt:
    ids = prompt_ids(number)
    return TokenizedPrompt(TokenPrompt(tuple(ids)), "", ids, ())


@define(eq=False)
class Asking:
    """Asks at a rate, whether or not answers come.

    :param rows: how many prompts have an answer; half of what is asked for has none.
    """

    _conversations: Conversations
    _rows: int
    _reactor: Any
    _took: list[float] = field(init=False, factory=list)
    _results: dict[str, int] = field(init=False, factory=dict)
    _begun: int = field(init=False, default=0)
    _prompts: list[TokenizedPrompt] = field(init=False)
    _generator: random.Random = field(init=False, factory=partial(random.Random, 1))

    @_prompts.default
    def _make_prompts(self) -> list[TokenizedPrompt]:
        return [_prompt(number * 7919 % (2 * self._rows)) for number in range(_PROMPTS)]

    async def run(self, rate: float, seconds: float) -> dict[str, object]:
        """Ask.

        :param rate: lookups in a second.
        """
        self._took, self._results, self._begun = [], {}, 0
        count = max(1, int(rate * seconds))
        start = self._reactor.seconds()
        done: Deferred[None] = Deferred()
        self._ask(start, rate, count, done)
        await done
        lasted = self._reactor.seconds() - start
        return {"seconds": lasted, "took": sorted(self._took), "results": self._results}

    def _ask(self, start: float, rate: float, count: int, done: "Deferred[None]") -> None:
        due = min(count, int((self._reactor.seconds() - start) * rate) + 1)
        while self._begun < due:
            Deferred.fromCoroutine(self._look_up(self._prompts[self._begun % _PROMPTS], count, done))
            self._begun += 1
        if self._begun < count:
            self._reactor.callLater(_TURN, self._ask, start, rate, count, done)

    async def _look_up(self, prompt: TokenizedPrompt, count: int, done: "Deferred[None]") -> None:
        begun = self._reactor.seconds()
        finding: Finding = await self._conversations.find(prompt, _EXTENT, self._generator)
        self._took.append((self._reactor.seconds() - begun) * 1e3)
        self._results[finding.result] = self._results.get(finding.result, 0) + 1
        if len(self._took) == count:
            done.callback(None)


class Orders(LineOnlyReceiver):
    """Reads what to do, and writes what came of it."""

    delimiter = b"\n"

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def lineReceived(self, line: bytes) -> None:
        """Begin."""
        rate, seconds = map(float, line.split())
        Deferred.fromCoroutine(self._asking.run(rate, seconds)).addCallback(self._answer)

    def _answer(self, found: dict[str, object]) -> None:
        self.sendLine(json.dumps(found).encode())


def main(words: Sequence[str]) -> None:
    """Serve, and look up.

    :param words: how many rows the dataset has, the port for orders, and the daemon's command line.
    """
    rows, port, *options = words
    loaded = load(scan(options), {})
    configuration = loaded.configuration
    lives = {0: LiveConfiguration(configuration)}
    # It sets the reactor, Python's threads and its collector of garbage up as the daemon does.
    from vllmsim.daemon import serve  # noqa: PLC0415

    top = serve(lives, LiveConfigurations(lives, loaded, time.time), 1, leave=None)
    from twisted.internet import reactor as installed  # noqa: PLC0415

    reactor: Any = installed
    in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    datasets = Datasets.open(configuration.usual_dataset, {}, (), reactor, in_thread)
    assert datasets.usual is not None
    top.privilegedStartService()
    top.startService()
    asking = Asking(datasets.usual, int(rows), reactor)
    reactor.listenTCP(int(port), Factory.forProtocol(lambda: Orders(asking)), interface="127.0.0.1")
    reactor.addSystemEventTrigger("before", "shutdown", top.stopService)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
