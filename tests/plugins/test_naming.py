"""Whether there are the plugins that a configuration names."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.dropins import drop_in
from vllmsim.plugins.naming import missing_plugins

PLUGINS = """
one = offer(IResponseSourceFactory, "limericks", None)
two = offer(ILatencyModelFactory, "tidal", None)
"""


class NamingTests(SynchronousTestCase):
    """Names and options."""

    def missing(self, words: str) -> list[tuple[str, str]]:
        """Look what some words name in vain."""
        drop_in(self, some=PLUGINS)
        return missing_plugins(load_words(words.split(), {}).configuration)

    def test_there(self) -> None:
        """What is there is no fault, and neither are options of what is not used now."""
        self.assertEqual([], self.missing("--mode limericks --plugin-options.tidal.x 1"))

    def test_missing(self) -> None:
        """Every option that names something in vain is told."""
        words = "--mode tidal --latency-calculator a --tokenizer plugin:b --failure-plugins c --kv-events-publisher d"
        missing = self.missing(words)
        options = ["mode", "latency-calculator", "tokenizer", "failure-plugins", "kv-events-publisher"]
        self.assertEqual(options, [option for option, _ in missing])
        self.assertIn("there is no response source 'tidal'; there are random, echo, limericks", missing[0][1])

    def test_options(self) -> None:
        """So are options of what is not there, with what was meant."""
        self.assertEqual(
            [("plugin-options", "there is no plugin 'limmericks'; did you mean limericks?")],
            self.missing("--plugin-options.limmericks.x 1"),
        )
