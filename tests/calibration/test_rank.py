"""A whole rank whose step time is known, measured over HTTP, in memory."""

import random
from itertools import pairwise

from attrs import define, field

from tests.calibration.known import KNOWN, poisson, scheduler, sizes
from tests.harness import Exchange, RankTestCase
from vllmsim.calibration.fit import Fit, Fitting, simulate
from vllmsim.calibration.measured import Measured, Run, in_order

TOKEN = b'"choices":[{'
WORDS = (
    "--scheduling-model", "step", "--step-time-constant", "8ms", "--step-time-per-prefill-token", "120us",
    "--step-time-per-decode-sequence", "90us", "--step-time-per-cached-token", "25ns", "--max-num-seqs", "64",
    "--max-model-len", "4096", "--kv-cache-size", "4096", "--zmq-endpoint=",
)  # fmt: skip


@define
class Stream:
    """A request that was sent."""

    sent: float
    prompt: int
    exchange: Exchange
    times: list[float] = field(factory=list)


class RankTests(RankTestCase):
    """Calibration finds the options of a rank in the times of its tokens."""

    def measure(self, asked: list[tuple[int, int]], starts: list[float], places: int = 0) -> Run:
        """Send requests at their times, or, with a number of places, when others have ended."""
        generator = random.Random(1)
        left, streams, begun = [*asked], list[Stream](), self.clock.seconds()
        coming = [begun + start for start in (starts or [0.0] * places)]
        while coming or any(not each.exchange.complete for each in streams):
            calls = [call.getTime() for call in self.clock.getDelayedCalls()]
            self.clock.advance(max(0.0, min([*coming, *calls]) - self.clock.seconds()))
            now = self.clock.seconds()
            for each in streams:
                if len(each.times) < each.exchange.raw.count(TOKEN):
                    each.times.append(now)
                    if places and left and each.exchange.complete:
                        coming.append(now + 0.001)
            while coming and min(coming) <= now:
                coming.remove(min(coming))
                prompt, tokens = left.pop(0)
                ids = [generator.randrange(1000, 9000) for _ in range(prompt)]
                exchange = self.complete(ids, max_tokens=tokens, stream=True, ignore_eos=True)
                streams.append(Stream(now, prompt, exchange))
        self.assertEqual([], left)
        return in_order("rank", [self.seen(each) for each in streams])

    def seen(self, stream: Stream) -> Measured:
        """Say of a stream what a load generator would."""
        times = tuple(time - stream.sent for time in stream.times)
        return Measured(stream.sent, stream.prompt, len(times), times[0], times[-1], times)

    def require(self, run: Run, fit: Fit) -> None:
        """Have a run be less than 5 % off in all that is compared."""
        for each in simulate(run, scheduler(), fit.coefficients, fit.outside).agreements:
            self.assertLess(each.mape, 0.05, each.name)

    def test_options(self) -> None:
        """A run of some requests at a time tells them, and what one does that comes at random."""
        self.make_rank(*WORDS)
        fitted = self.measure(sizes(30, 1), [], 6)
        self.assertTrue(all(after > before for each in fitted.requests for before, after in pairwise(each.times)))
        fit = Fitting([fitted], scheduler).fit()
        for value, right in zip(fit.coefficients.values, KNOWN.values, strict=True):
            self.assertLess(abs(value / right - 1), 1e-4)
        self.require(fitted, fit)
        self.require(self.measure(sizes(30, 2), poisson(30, 6.0, 2)), fit)
