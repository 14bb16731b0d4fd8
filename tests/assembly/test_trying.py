"""What a change wants of plugins is tried before it holds."""

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.assembly.test_latencies import MODEL
from tests.commandline import load_words
from tests.dropins import drop_in
from tests.fakes import in_thread
from vllmsim.assembly.trying import try_plugins
from vllmsim.config.schema import Configuration

FIXED = (
    "source = offer(IResponseSourceFactory, 'source', None)\n"
    "letters = offer(ITokenizerFactory, 'letters', None)\n"
    "memory = offer(IBlockEventPublisherFactory, 'memory', None)\n"
)


class TrialTests(SynchronousTestCase):
    """Changes, and what is wrong with them; rank tests have the rest."""

    def setUp(self) -> None:
        """Put some plugins where plugins are."""
        drop_in(self, model=MODEL, fixed=FIXED)

    def faults(self, before: Configuration, now: Configuration) -> list[tuple[str, str]]:
        """Try a change."""
        return try_plugins(before, now, Clock(), in_thread)

    def test_fixed(self) -> None:
        """Options of what is made once for the life of a server cannot change; others may be there for later."""
        words = "--mode", "source", "--tokenizer", "plugin:letters", "--kv-events-publisher", "memory"
        before = load_words(words, {}).configuration
        for name, option in (("source", "mode"), ("letters", "tokenizer"), ("memory", "kv-events-publisher")):
            now = evolve(before, plugin_options={name: {"x": 1}})
            text = f"those of {name} cannot change live: the {option} of a server stays as it is"
            self.assertEqual([("plugin-options", text)], self.faults(before, now))
            self.assertEqual([], self.faults(now, now))
        self.assertEqual([], self.faults(before, evolve(before, plugin_options={"slow": {"x": 1}})))

    def test_all(self) -> None:
        """Everything that is wrong is told at once."""
        before = Configuration()
        now = evolve(before, latency_calculator="slaw", failure_plugins=("a", "b"), plugin_options={"c": {}})
        names = [name for name, _ in self.faults(before, now)]
        self.assertEqual(["latency-calculator", "failure-plugins", "failure-plugins", "plugin-options"], names)
