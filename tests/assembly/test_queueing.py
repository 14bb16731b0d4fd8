"""A rank's slots and the queue before them, as the configuration asks for them."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import RankTestCase
from vllmsim.assembly.queueing import rank_limits
from vllmsim.config.schema import Configuration
from vllmsim.scheduling.limits import RankLimits


class LimitTests(SynchronousTestCase):
    """Limits are options."""

    def test_limits(self) -> None:
        """Each limit is what its option says."""
        configuration = Configuration(
            max_num_seqs=1, max_waiting_queue_length=2, max_num_queued_reqs=3, max_num_queued_tokens=4
        )
        self.assertEqual(RankLimits(1, 2, 3, 4), rank_limits(configuration))


class PausedTests(RankTestCase):
    """The time in which adapters are loaded."""

    def test_frozen(self) -> None:
        """While a rank stands still no adapter comes from disk."""
        self.make_rank("--lora-modules", "a=/a", "--lora-load-time", "10s")
        asked = self.complete(model="a", max_tokens=1)
        self.clock.advance(4)
        self.post("/pause?mode=keep&clear_cache=false", b"")
        self.clock.advance(100)
        self.post("/resume", b"")
        self.clock.pump([5.9, 0])
        self.assertEqual(0, asked.status)
        self.clock.pump([0.1, 0])
        self.assertEqual(200, asked.status)

    def test_live(self) -> None:
        """A change of another option starts nobody, and harms nobody."""
        self.make_rank("--max-num-seqs", "1", "--time-to-first-token", "1s")
        exchanges = [self.complete(max_tokens=1) for _ in range(2)]
        self.live.swap(evolve(self.live.current, inter_token_latency=1.0))
        self.clock.pump([0, 1, 0])
        self.assertEqual([200, 0], [each.status for each in exchanges])
