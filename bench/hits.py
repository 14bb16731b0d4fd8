# -*- test-case-name: tests.integration.test_bench -*-
"""A vllmsim that finds a prompt in its KV cache, as often as it is told to, while it serves: ``python -m bench.hits``.

A client that posts such a prompt has it parsed and cut into tokens too, which takes longer than the cache. So it is
asked here, in the reactor that answers, as a rank asks it. A line ``COUNT SPACING`` to a port of its own begins, and a
line of JSON says how many of the prompt's tokens were found each time.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineOnlyReceiver

from vllmsim.assembly.caching import CacheParts
from vllmsim.config.arguments import scan
from vllmsim.config.changes import LiveConfigurations
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loading import load
from vllmsim.inference import InferenceRequest, TokenizedPrompt, TokenPrompt
from vllmsim.interfaces import IKVCache
from vllmsim.metrics.cacheconfig import cache_config_labels
from vllmsim.metrics.families import RankMetrics
from vllmsim.models import ModelCatalogue
from vllmsim.sampling import Sampling

_ANSWER: Final = range(16)
_VOCABULARY: Final = 150_000
_STRIDE: Final = 7919


def _prompt(tokens: int) -> TokenizedPrompt:
    ids = [number * _STRIDE % _VOCABULARY for number in range(tokens)]
    return TokenizedPrompt(TokenPrompt(tuple(ids)), "", ids, ())


@define(eq=False)
class Finding:
    """Finds a prompt, over and over.

    :param tokens: how long it is.
    """

    _cache: IKVCache
    _tokens: int
    _model: str
    _reactor: Any
    _prompt: TokenizedPrompt = field(init=False)
    _request: InferenceRequest = field(init=False)

    @_prompt.default
    def _make_prompt(self) -> TokenizedPrompt:
        return _prompt(self._tokens)

    @_request.default
    def _make_request(self) -> InferenceRequest:
        return InferenceRequest("r", named_by_client=False, model=self._model, prompts=(), sampling=Sampling())

    async def run(self, count: int, spacing: float) -> list[int]:
        """Do what the cache does for a request, some times.

        :param spacing: seconds between two.
        :return: how many tokens were cached each time.
        """
        cached = []
        for _ in range(count):
            hashed = await self._cache.hash(self._prompt, self._request)
            blocks = await self._cache.allocate(hashed, _ANSWER, True, 0)
            await deferLater(self._reactor, spacing / 2)
            blocks.grow(self._tokens + len(_ANSWER) - 1)
            await deferLater(self._reactor, spacing / 2)
            blocks.release()
            cached.append(blocks.prefill.cached)
        return cached


class Orders(LineOnlyReceiver):
    """Reads what to do, and writes what came of it."""

    delimiter = b"\n"

    def __init__(self, finding: Finding) -> None:
        self._finding = finding

    def lineReceived(self, line: bytes) -> None:
        """Begin."""
        count, spacing = line.split()
        Deferred.fromCoroutine(self._finding.run(int(count), float(spacing))).addCallback(self._answer)

    def _answer(self, cached: list[int]) -> None:
        self.sendLine(json.dumps(cached).encode())


def main(words: Sequence[str]) -> None:
    """Serve, and find.

    :param words: how many tokens the prompt has, the port for orders, and the daemon's command line.
    """
    tokens, port, *options = words
    loaded = load(scan(options), {})
    configuration = loaded.configuration
    lives = {0: LiveConfiguration(configuration)}
    # It sets the reactor, Python's threads and its collector of garbage up as the daemon does.
    from vllmsim.daemon import serve  # noqa: PLC0415

    top = serve(lives, LiveConfigurations(lives, loaded, time.time), 1, leave=None)
    from twisted.internet import reactor as installed  # noqa: PLC0415

    reactor: Any = installed
    c, model = configuration, configuration.served_names[0]
    metrics = RankMetrics("0", model, c.max_model_len, cache_config_labels(c), 0.0, blocks=True)
    models = ModelCatalogue(c.model, c.served_names)
    cache = CacheParts(c, 0, 1, reactor, metrics.cache, models).promising()
    top.privilegedStartService()
    top.startService()
    finding = Finding(cache, int(tokens), model, reactor)
    reactor.listenTCP(int(port), Factory.forProtocol(lambda: Orders(finding)), interface="127.0.0.1")
    reactor.addSystemEventTrigger("before", "shutdown", top.stopService)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
