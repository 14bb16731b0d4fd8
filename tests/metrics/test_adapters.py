"""What metrics tell of adapters."""

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.metrics.reading import read
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.lora import LoraModule
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import IAdapterMetrics
from vllmsim.metrics.adapters import AdapterMetrics
from vllmsim.metrics.exposition import Families

NAME = "vllm:lora_requests_info"
EPOCH = 1795339833.0


class AdapterMetricsTests(SynchronousTestCase):
    """A series for each combination, and who is where."""

    def setUp(self) -> None:
        """Have room for two adapters, which nobody has named."""
        self.now = EPOCH
        self.make(max_loras=2)

    def make(self, **options: Any) -> None:
        """Make metrics."""
        self.live = LiveConfiguration(Configuration(**options))
        self.metrics = AdapterMetrics(self.live, lambda: self.now)
        self.families = Families({"engine": "0"})
        self.metrics.show_info(self.families)
        self.metrics.show_own(self.families)

    def series(self) -> list[tuple[str, ...]]:
        """List the combinations in the order in which they were written, the latest last."""
        found = {labels: value for (name, labels), value in read(self.families).items() if name == NAME}
        assert len(set(found.values())) == len(found)
        return [tuple(value for _, value in sorted(labels)) for labels in sorted(found, key=lambda each: found[each])]

    def move(self, name: str, *moves: tuple[int, int]) -> None:
        """Have sequences of an adapter come, move and go."""
        for waiting, running in moves:
            self.metrics.sequences_changed(name, waiting, running)

    def test_provides(self) -> None:
        """It hears what it should."""
        verifyObject(IAdapterMetrics, self.metrics)

    def test_not_in_use(self) -> None:
        """Where adapters are of no interest nothing is told of them."""
        self.assertEqual("", self.families.write())
        self.live.swap(evolve(self.live.current, max_loras=3))
        self.assertEqual("", self.families.write())

    def test_of_interest(self) -> None:
        """When there are adapters, or one is loaded, or the option says so, the idle state is told."""
        for options in ({"enable_lora": True}, {"lora_modules": (LoraModule("a"),)}):
            self.make(**options)
            self.assertEqual([("1", "", "")], self.series())
        self.make()
        self.metrics.slots_changed(0, 1)
        self.assertEqual([("1", "", "")], self.series())
        text = self.families.write()
        self.assertIn("# TYPE vllm:lora_requests_info gauge\n", text)
        self.assertIn(
            'vllm:lora_requests_info{max_lora="1",running_lora_adapters="",waiting_lora_adapters=""} 1.795339833', text
        )

    def test_both_lists(self) -> None:
        """As in vLLM an adapter with any sequence is in both lists, and the greatest value is that of now."""
        self.metrics.slots_changed(0, 0)
        self.move("b", (1, 0), (-1, 1))
        self.move("a", (1, 0))
        self.assertEqual([("2", "", ""), ("2", "b", "b"), ("2", "a,b", "a,b")], self.series())
        self.move("b", (0, -1))
        self.move("a", (-1, 1), (0, -1))
        self.assertEqual([("2", "b", "b"), ("2", "a,b", "a,b"), ("2", "a", "a"), ("2", "", "")], self.series())

    def test_exact(self) -> None:
        """With the option each list says what its name does."""
        self.make(max_loras=1, lora_info_exact=True, enable_lora=True)
        self.move("a", (1, 0), (-1, 1), (1, 0))
        self.move("b", (1, 0))
        self.move("a", (-1, 0), (0, -1))
        self.move("b", (-1, 1), (0, -1))
        self.assertEqual(
            [
                ("1", "a", "a"), ("1", "a", "a,b"), ("1", "a", "b"), ("1", "", "b"), ("1", "b", ""), ("1", "", ""),
            ],
            [each for each in self.series() if each not in {("1", "", "a"), ("1", "a", "")}],
        )  # fmt: skip
        self.live.swap(evolve(self.live.current, lora_info_exact=False))
        self.move("a", (1, 0))
        self.assertEqual(("1", "a", "a"), self.series()[-1])

    def test_time(self) -> None:
        """The value is the time of the change; it grows also when the clock does not, or is set back."""
        self.metrics.slots_changed(0, 0)
        self.now += 5
        self.move("a", (1, 0))
        self.now -= 100
        self.move("a", (-1, 0))
        values = sorted(value for (name, _), value in read(self.families).items() if name == NAME)
        self.assertEqual(EPOCH + 5, values[0])
        self.assertTrue(EPOCH + 5 < values[1] < EPOCH + 6)
        self.assertEqual(("2", "", ""), self.series()[-1])

    def test_bounded(self) -> None:
        """Of the combinations that have been the latest are remembered."""
        self.metrics.slots_changed(0, 0)
        for number in range(1000):
            self.move(f"a{number}", (1, 0))
            self.move(f"a{number}", (-1, 0))
        self.assertEqual(256, len(self.series()))
        self.assertEqual([("2", "a999", "a999"), ("2", "", "")], self.series()[-2:])

    def test_long_names(self) -> None:
        """Of combinations with long names fewer are told, so that a scrape stays short; the latest always is."""
        self.metrics.slots_changed(0, 0)
        for number in range(400):
            self.move(f"{number:03}" + "x" * 1021, (1, 0))
            if number == 30:
                self.assertEqual(32, len(self.series()))
        self.assertEqual([400], [each[1].count(",") + 1 for each in self.series()])
        self.move("short", (1, 0))
        for number in range(400):
            self.move(f"{number:03}" + "x" * 1021, (-1, 0))
        self.move("short", (-1, 0))
        self.assertEqual(("2", "", ""), self.series()[-1])
        self.assertLess(len(self.families.write()), 3 << 20)

    def test_more_adapters(self) -> None:
        """When more adapters may run a series says so from then on."""
        self.metrics.slots_changed(0, 0)
        self.live.swap(evolve(self.live.current, max_loras=7))
        self.live.swap(evolve(self.live.current, max_num_seqs=7))
        self.assertEqual([("2", "", ""), ("7", "", "")], self.series())

    def test_names(self) -> None:
        """Names of adapters are written so that they can be read again."""
        self.move('a"\\\n%s', (1, 0))
        self.metrics.slots_changed(1, 1)
        self.assertEqual(("2", 'a"\\\n%s', 'a"\\\n%s'), self.series()[-1])

    def test_places(self) -> None:
        """It is told how many adapters are where, how many came from disk and how long that took, and who gave way."""
        self.metrics.adapter_loaded(1.5)
        self.metrics.adapter_loaded(0.5)
        self.metrics.adapter_evicted("gpu")
        self.metrics.slots_changed(1, 2)
        values = {
            (name, *(value for label, value in labels if label == "place")): value
            for (name, labels), value in read(self.families).items()
            if name != NAME and not name.endswith("_created")
        }
        self.assertEqual(
            {
                ("vllmsim:lora_adapters", "gpu"): 1,
                ("vllmsim:lora_adapters", "memory"): 2,
                ("vllmsim:lora_loads_total",): 2,
                ("vllmsim:lora_load_seconds_total",): 2.0,
                ("vllmsim:lora_evictions_total", "gpu"): 1,
                ("vllmsim:lora_evictions_total", "memory"): 0,
            },
            values,
        )
