"""Operations of the sleep mode in numbers."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import RankTestCase
from tests.metrics.reading import read
from vllmsim.metrics.exposition import Families
from vllmsim.metrics.sleeping import SleepMetrics

DURATION = "vllm:sleep_mode_operation_duration_seconds"


class SleepMetricsTests(SynchronousTestCase):
    """What is measured."""

    def test_operations(self) -> None:
        """Nothing is shown before the first operation; then those under way, and how long each took."""
        clock, families = Clock(), Families({"engine": "0"})
        metrics = SleepMetrics(families, clock.seconds)
        self.assertEqual("", families.write())
        first = metrics.began("sleep")
        clock.advance(0.5)
        second = metrics.began("sleep")

        def value(name: str, **labels: str) -> float | None:
            return read(families).get((name, frozenset(labels.items())))

        under_way = [
            value("vllm:sleep_mode_operations_in_flight", operation=each)
            for each in ("sleep", "release_kv_cache_memory", "wake")
        ]
        self.assertEqual([2, 0, 0], under_way)
        self.assertNotIn(f"{DURATION}_count", families.write())
        clock.advance(1)
        first()
        second()
        self.assertEqual((2, 2.5), (value(f"{DURATION}_count", operation="sleep"),
                                    value(f"{DURATION}_sum", operation="sleep")))  # fmt: skip
        self.assertEqual(0, value("vllm:sleep_mode_operations_in_flight", operation="sleep"))
        bounds = ["0.01", "0.1", "1.0", "10.0", "30.0", "60.0", "120.0", "300.0", "600.0", "+Inf"]
        seen = [value(f"{DURATION}_bucket", operation="sleep", le=bound) for bound in bounds]
        self.assertEqual([0, 0, 1, 2, 2, 2, 2, 2, 2, 2], seen)


class RankTests(RankTestCase):
    """What a server measures."""

    def test_measured(self) -> None:
        """It takes until nothing runs to fall asleep, and nothing to wake up."""
        self.make_rank("--enable-sleep-mode", "--time-to-first-token", "3s")
        self.assertNotIn(b"sleep_mode_operation", self.get("/metrics").body)
        self.complete(max_tokens=1)
        self.post("/sleep?mode=wait", b"")
        self.assertEqual(1, self.sample('vllm:sleep_mode_operations_in_flight{operation="sleep"}'))
        self.clock.advance(3)
        self.clock.advance(0)
        self.assertEqual(0, self.sample('vllm:sleep_mode_operations_in_flight{operation="sleep"}'))
        self.post("/wake_up", b"")
        for operation, seconds in (("sleep", 3), ("wake", 0)):
            self.assertEqual(seconds, self.sample(f'{DURATION}_sum{{operation="{operation}"}}'))
            self.assertEqual(1, self.sample(f'{DURATION}_count{{operation="{operation}"}}'))

    def test_given_up(self) -> None:
        """One whose client leaves is over."""
        self.make_rank("--enable-sleep-mode", "--time-to-first-token", "3s")
        self.complete(max_tokens=1)
        self.post("/sleep?mode=wait", b"").drop()
        self.assertEqual(0, self.sample('vllm:sleep_mode_operations_in_flight{operation="sleep"}'))
