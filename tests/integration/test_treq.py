"""treq against the daemon: a Twisted client of a Twisted server."""

import json
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from tests.integration.daemon import Daemon


class TreqTests(TestCase):
    """Requests side by side."""

    def setUp(self) -> None:
        """Start a daemon with few slots, and a client."""
        self.daemon = Daemon("--mode", "echo", "--max-num-seqs", "3", "--inter-token-latency", "2ms", "--model", "m")
        self.addCleanup(self.daemon.log.close)
        self.addCleanup(self.daemon.stop)
        self.daemon.wait()
        self.pool = HTTPConnectionPool(reactor)
        self.client = treq.client.HTTPClient(Agent(reactor, pool=self.pool))

    def tearDown(self) -> Any:
        """Close the client's connections."""
        return self.pool.closeCachedConnections().addCallback(lambda _: deferLater(reactor, 0.05))

    async def ask(self, text: str, **fields: Any) -> Any:
        """Send a chat completion request and read the answer."""
        body = {"messages": [{"role": "user", "content": text}], **fields}
        response = await self.client.post(self.daemon.url("/v1/chat/completions"), json=body)
        return response.code, await response.text()

    async def test_many(self) -> None:
        """Fifty requests on three slots are all answered, each with its own text."""
        texts = [f"question {number} of fifty" for number in range(50)]
        asked = [self.later(text, stream=bool(i % 2)) for i, text in enumerate(texts)]
        for text, (code, body) in zip(texts, await gatherResults(asked), strict=True):
            self.assertEqual(200, code)
            if body.startswith("{"):
                said = json.loads(body)["choices"][0]["message"]["content"]
            else:
                chunks = [json.loads(part[6:]) for part in body.split("\n\n") if part.startswith("data: {")]
                said = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
            self.assertEqual(text, said)

    def later(self, text: str, **fields: Any) -> Any:
        """Ask without waiting."""
        return deferLater(reactor, 0, lambda: None).addCallback(lambda _: _deferred(self.ask(text, **fields)))

    async def test_errors(self) -> None:
        """Errors are JSON, and the connection is good for the next request."""
        code, body = await self.ask("x", n=0)
        self.assertEqual((400, "n must be at least 1, got 0."), (code, json.loads(body)["error"]["message"]))
        code, _ = await self.ask("x")
        self.assertEqual(200, code)


def _deferred(coroutine: Any) -> Any:
    from twisted.internet.defer import Deferred  # noqa: PLC0415

    return Deferred.fromCoroutine(coroutine)
