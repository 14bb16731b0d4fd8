"""The plugins, without a server: ``python -m unittest`` beside setup.cfg."""

import random
from typing import Any
from unittest import TestCase, main

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from vllmsim.config.schema import Configuration
from vllmsim.dataset.sentences import SentenceSource
from vllmsim.inference import Extent, TextPrompt
from vllmsim.interfaces.plugins import (
    ILatencyModelFactory,
    IResponseSourceFactory,
    IStepTimeFactory,
    LatencySurroundings,
    SourceSurroundings,
    StepTimeSurroundings,
)
from vllmsim.latency import LatencyModel
from vllmsim.plugins.registry import PluginError, create
from vllmsim.steps import StepWork
from vllmsim.steptime.linear import LinearStepTime
from vllmsim.tokenization.words import WordTokenizer


def surroundings(made: Any, options: dict[str, Any], **more: Any) -> Any:
    """Make what a plugin finds."""
    usual = {"generator": random.Random(0), "clock": Clock(), "defer_to_thread": execute, "rank": 0, "model": "m"}
    return made(options=options, **usual, **more)


class LimerickTests(TestCase):
    """Answers."""

    def source(self, **options: Any) -> Any:
        """Make what answers, as vllmsim does."""
        tokenizer = WordTokenizer(execute)
        usual = SentenceSource(tokenizer)
        found = surroundings(SourceSurroundings, options, tokenizer=tokenizer, usual=usual)
        return create(IResponseSourceFactory, "limericks", found)

    def said(self, source: Any, text: str, seed: int = 0) -> str:
        """Ask."""
        texts: list[str] = []

        async def ask() -> None:
            prompt = await WordTokenizer(execute).read(TextPrompt(text), 100)
            extent = Extent(0, 100, explicit=False)
            texts.extend((await source.respond(prompt, "m", extent, random.Random(seed))).texts)

        Deferred.fromCoroutine(ask())
        return "".join(texts)

    def test_subject(self) -> None:
        """A limerick is about the last word."""
        said = self.said(self.source(), "Tell me of the Router!")
        self.assertIn(" router ", said)
        self.assertEqual(5, said.count("\n"))
        self.assertIn("token", self.said(self.source(), "1 + 1 ="))

    def test_seed(self) -> None:
        """Which it is depends on the request's randomness."""
        source = self.source()
        self.assertEqual(3, len({self.said(source, "hi", seed) for seed in range(20)}))
        self.assertEqual(self.said(source, "hi", 1), self.said(source, "hi", 1))

    def test_verses(self) -> None:
        """There may be others, which must be texts."""
        self.assertEqual("Oh hi!", self.said(self.source(verses=["Oh {subject}!"]), "hi"))
        for wrong in ([], "text", [1]):
            with self.assertRaisesRegex(PluginError, "verses must be a list of texts"):
                self.source(verses=wrong)


class LognormalTests(TestCase):
    """Times."""

    def model(self, **options: Any) -> Any:
        """Make what takes time, usually a second."""
        usual = LatencyModel(Configuration(time_to_first_token=1.0, inter_token_latency=1.0))
        return create(ILatencyModelFactory, "lognormal", surroundings(LatencySurroundings, options, usual=usual))

    def test_times(self) -> None:
        """Half of them are shorter than usual, and some are much longer."""
        generator = random.Random(1)
        for draw in (
            lambda model: model.inter_token_latency(1, generator),
            lambda model: model.time_to_first_token(5, 0, False, 1, generator),
        ):
            model = self.model(sigma=1)
            times = sorted(draw(model) for _ in range(1001))
            self.assertAlmostEqual(1.0, times[500], delta=0.15)
            self.assertGreater(times[-1], 5)

    def test_options(self) -> None:
        """Without a spread they are the usual ones, and what is no spread is refused."""
        self.assertEqual(1.0, self.model(sigma=0).inter_token_latency(1, random.Random(1)))
        for wrong in (-1, 3, "much"):
            with self.assertRaisesRegex(PluginError, "sigma must be a number from 0 to 2"):
                self.model(sigma=wrong)
        with self.assertRaisesRegex(PluginError, "did you mean sigma"):
            self.model(sigme=1)


class PaddedTests(TestCase):
    """Steps."""

    def seconds(self, work: StepWork, **options: Any) -> float:
        """Ask for the time of a step, of which each sequence usually takes a second."""
        found = surroundings(StepTimeSurroundings, options, usual=LinearStepTime(0.0, 0.01, 1.0))
        seconds: float = create(IStepTimeFactory, "padded", found).seconds(work, random.Random(1))
        return seconds

    def test_times(self) -> None:
        """A batch takes the time of the next size that there is, if there is one, and it computes no prompt."""
        for decodes, seconds in ((1, 1), (3, 4), (4, 4), (9, 16), (513, 513)):
            self.assertEqual(seconds, self.seconds(StepWork(decodes=decodes)))
        self.assertEqual(4.0, self.seconds(StepWork(prefill_tokens=100, decodes=3)))

    def test_options(self) -> None:
        """There may be other sizes, and what is none is refused."""
        self.assertEqual(10.0, self.seconds(StepWork(decodes=3), sizes=[20, 10]))
        for wrong in (3, [0], ["many"]):
            with self.assertRaisesRegex(PluginError, "sizes must be a list of numbers above 0"):
                self.seconds(StepWork(decodes=1), sizes=wrong)


if __name__ == "__main__":
    main()
