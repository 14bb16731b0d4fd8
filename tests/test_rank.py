"""Wiring a rank."""

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.fakes import Ticker, in_thread
from tests.harness import Exchange
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.rank import build_rank


def configured(words: str = "") -> Configuration:
    """Read a command line."""
    return load_words(words.split(), {}).configuration


class WiringTests(SynchronousTestCase):
    """What a rank's parts get."""

    def setUp(self) -> None:
        """Have a clock."""
        self.clock = Clock()

    def test_long_texts(self) -> None:
        """Long prompts are tokenized and long answers written off the reactor; short ones are not."""
        calls: list[str] = []

        def defer(function: Any, *arguments: Any) -> Deferred[Any]:
            calls.append(function.__name__)
            return in_thread(function, *arguments)

        rank = build_rank(LiveConfiguration(configured("--max-model-len 9000")), 0, 1, Clocks.same(self.clock), defer)
        rank.start()
        for text, logprobs in (("x", 1), ("x " * 5000, None), ("x " * 200, 1)):
            exchange = Exchange(rank.site)
            body = json.dumps({"prompt": text, "logprobs": logprobs}).encode()
            exchange.send("POST", "/v1/completions", body, Content_Type="application/json")
            self.clock.advance(0)
            self.assertEqual(200, exchange.status)
            exchange.drop()
        self.assertEqual(["_encode", "body"], calls)
        rank.lifecycle.drain()
        rank.stop()

    def test_stopped(self) -> None:
        """A rank that is stopped emits nothing more."""
        rank = build_rank(LiveConfiguration(configured()), 0, 1, Clocks.same(self.clock), in_thread)
        rank.start()
        rank.lifecycle.drain()
        rank.stop()
        ticker = Ticker(self.clock, [])
        rank.pacer.add(0.0, ticker)
        self.clock.advance(1)
        self.assertEqual([], ticker.emitted)
        self.assertEqual([], self.clock.getDelayedCalls())
