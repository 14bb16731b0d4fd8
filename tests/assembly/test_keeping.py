"""What plugins give stays as long as what it depends on."""

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.assembly.test_latencies import MODEL
from tests.dropins import drop_in
from tests.fakes import in_thread
from vllmsim.assembly.keeping import KeptTimes, times_key
from vllmsim.config.schema import Configuration
from vllmsim.interfaces import ILatencyModel
from vllmsim.latency import LatencyModel
from vllmsim.randomness import Randomness


class KeepingTests(SynchronousTestCase):
    """Latency models; tests of whole ranks have the failures."""

    def setUp(self) -> None:
        """Have one from a plugin."""
        drop_in(self, model=MODEL)
        self.kept: KeptTimes[ILatencyModel] = KeptTimes("latency-calculator", 0, Clock(), in_thread, Randomness(7))
        self.slow = Configuration(latency_calculator="slow")

    def test_key(self) -> None:
        """A model depends on all that has to do with latencies, and on nothing else."""
        key = times_key("latency-calculator", self.slow)
        for values in ({"inter_token_latency": 1.0}, {"max_num_seqs": 9}, {"plugin_options": {"slow": {"by": 3}}}):
            self.assertNotEqual(key, times_key("latency-calculator", evolve(self.slow, **values)))
        for values in ({"journal_size": 3}, {"plugin_options": {"other": {"by": 3}}}):
            self.assertEqual(key, times_key("latency-calculator", evolve(self.slow, **values)))

    def test_kept(self) -> None:
        """It stays while these do, until it is not wanted for a while."""
        first = self.kept.times(self.slow, None)
        self.assertIs(first, self.kept.times(evolve(self.slow, journal_size=3), first))
        self.kept.forget()
        self.assertIsNot(first, self.kept.times(self.slow, first))

    def test_former(self) -> None:
        """What cannot be had leaves what there was, or ends the start."""
        former = LatencyModel(self.slow)
        wrong = evolve(self.slow, plugin_options={"slow": {"bye": 1}})
        self.assertIs(former, self.kept.times(wrong, former))
        error = self.assertRaises(SystemExit, self.kept.times, wrong, None)
        self.assertIn("vllmsim: cannot start: latency-calculator: ", str(error))
