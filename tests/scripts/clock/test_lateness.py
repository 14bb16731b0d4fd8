"""What asked and delivered times have to do with each other."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts.clock.lateness import Asked, Delivered, Run, Spread, compare, milliseconds, verdict

ASKED = Asked(2, 3, first=0.5, gap=0.25)


def on_time(sent: float, *late: float) -> Run:
    """Make a run whose tokens are so late."""
    return Run(sent, [sent + 0.5 + 0.25 * token + each for token, each in enumerate(late)])


def seconds(value: float) -> Spread:
    """Make a spread of one value."""
    return Spread(value, value, value, value, value)


class SpreadTests(SynchronousTestCase):
    """Means and percentiles."""

    def test_of(self) -> None:
        """A percentile is the least value that so many of a hundred do not exceed."""
        self.assertEqual(Spread(50.5, 50, 90, 99, 100), Spread.of([*range(100, 0, -1)]))
        self.assertEqual(Spread(2, 2, 3, 3, 3), Spread.of([3, 1, 2]))
        self.assertEqual(seconds(7), Spread.of([7]))
        self.assertIsNone(Spread.of([]))


class CompareTests(SynchronousTestCase):
    """Runs against what was asked."""

    def test_on_time(self) -> None:
        """A token is as late as it comes after its request's time, the first token's time, and its gaps."""
        delivered = compare(ASKED, [on_time(0, 0, 0.125, 0), on_time(10, 0.25, 0.25, 0.5)])
        assert delivered.first is not None
        assert delivered.gap is not None
        self.assertEqual((0.625, 0.75), (delivered.first.mean, delivered.first.most))
        self.assertEqual((0.125, 0.5), (delivered.gap.p50 - 0.125, delivered.gap.most))
        self.assertEqual(Spread(1.125 / 6, 0.125, 0.5, 0.5, 0.5), delivered.late)
        self.assertEqual(Spread(0.125, 0.0, 0.25, 0.25, 0.25), delivered.drift)
        self.assertEqual((6, 0), (delivered.tokens, delivered.lost))
        self.assertEqual((8.0, 2 / 0.5 + 2 / 0.75), (ASKED.rate, delivered.rate))

    def test_lost(self) -> None:
        """Tokens that never came are counted, and nothing else is made of them."""
        delivered = compare(ASKED, [on_time(0, 0, 0), Run(0, [])])
        self.assertEqual((2, 4), (delivered.tokens, delivered.lost))
        self.assertEqual(seconds(0.5), delivered.first)
        nothing = compare(ASKED, [Run(0, []), Run(0, [])])
        self.assertEqual(Delivered(None, None, None, None, 0, 6, 0.0), nothing)

    def test_varied(self) -> None:
        """Where latencies vary there are no deadlines."""
        delivered = compare(evolve(ASKED, varies="they do"), [on_time(0, 0, 0, 0)])
        self.assertEqual((None, None), (delivered.late, delivered.drift))
        self.assertEqual(seconds(0.25), delivered.gap)

    def test_no_gap(self) -> None:
        """Where no gap is asked the rate is that of all tokens, from the first request on."""
        asked = evolve(ASKED, gap=0.0)
        self.assertIsNone(asked.rate)
        self.assertEqual(8.0, compare(asked, [Run(1, [1.25, 1.25]), Run(1, [1.5, 1.5])]).rate)
        self.assertEqual(0.0, compare(asked, [Run(1, [])]).rate)


class VerdictTests(SynchronousTestCase):
    """The sentence."""

    asked = Asked(100, 100, first=0.2, gap=0.02)

    def test_sentences(self) -> None:
        """It says how well the pace is held: well, with delays, or less and less; and what is lost before all else."""
        good = Delivered(seconds(0.2), seconds(0.02), seconds(0.0012), seconds(0.0), 10000, 0, 5000.0)
        late, behind = evolve(good, late=seconds(0.006)), evolve(good, late=seconds(0.3), drift=seconds(0.3))
        cases = {
            "holds 20 ms gaps at 100 streams within 1.2 ms for 99 % of tokens.": good,
            "keeps the pace of 20 ms gaps at 100 streams, but 1 % of tokens come more than 6 ms late.": late,
            "cannot keep 20 ms gaps at 100 streams: from first to last token a stream falls 300 ms behind.": behind,
            "lost 3 of 10000 tokens at 100 streams.": evolve(good, lost=3),
        }
        for sentence, delivered in cases.items():
            self.assertEqual(f"This machine {sentence}", verdict(self.asked, delivered))

    def test_means(self) -> None:
        """Where latencies vary it compares means, and says why."""
        delivered = Delivered(seconds(0.21), seconds(0.0195), None, None, 10000, 0, 5000.0)
        self.assertEqual(
            "At 100 streams the mean time to first token is 10 ms longer than asked, and the mean gap 0.5 ms shorter; "
            "single times cannot be judged, because dice are thrown.",
            verdict(evolve(self.asked, varies="dice are thrown"), delivered),
        )

    def test_no_gap(self) -> None:
        """Where no gap is asked it says how many tokens come."""
        delivered = Delivered(seconds(0.2), seconds(0), seconds(0.1), seconds(0), 100, 0, 123.4)
        self.assertEqual(
            "This machine delivers 123 tokens/s at 1 stream when no time is asked between them.",
            verdict(Asked(1, 100, 0.2, 0.0), delivered),
        )

    def test_milliseconds(self) -> None:
        """Times have two digits, or all before the point."""
        expected = ["0.012 ms", "1.2 ms", "10 ms", "1234 ms"]
        self.assertEqual(expected, [milliseconds(each) for each in (0.0000123, 0.0012, 0.0101, 1.2341)])
