"""Faults 41 to 47: who runs, and how long that takes."""

from tests.harness import RankTestCase


class LoadTests(RankTestCase):
    """The factor by which a loaded server is slower."""

    def test_fakes_do_not_count(self) -> None:
        """44: It is that of the sequences that run, at once, whatever metrics say."""
        words = ("--max-num-seqs", "2", "--inter-token-latency", "100ms", "--time-factor-under-load", "3")
        for fakes in (
            (),
            ("--fake-metrics", '{"running-requests": 0}'),
            ("--fake-metrics", '{"running-requests": 99}'),
        ):
            self.make_rank("m", *words, "--mode", "echo", "--time-to-first-token", "10ms", *fakes)
            alone = self.complete("a b", stream=True)
            self.clock.pump([0.02, 0.09])
            self.assertEqual(2, len(alone.events()), fakes)
            alone.drop()
            first, second = (self.complete("a b c", stream=True) for _ in range(2))
            self.clock.pump([0.02, 0.02, 0.26])
            self.assertEqual((1, 1), (len(first.events()), len(second.events())), fakes)
            self.clock.advance(0.04)
            self.assertEqual((2, 2), (len(first.events()), len(second.events())), fakes)
            for exchange in (first, second):
                exchange.drop()
            self.clock.advance(1)
