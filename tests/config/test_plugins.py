"""How options name plugins."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.loading import ConfigurationError
from vllmsim.config.plugins import has_plugins, named_plugins, options_of, publisher_of


class NamedTests(SynchronousTestCase):
    """Configurations."""

    def named(self, *words: str) -> list[Any]:
        """List what some words name."""
        return list(named_plugins(load_words(words, {}).configuration))

    def fault(self, *words: str) -> str:
        """Find out what is wrong with some words."""
        return str(self.assertRaises(ConfigurationError, load_words, words, {}))

    def test_ours(self) -> None:
        """What is ours is no plugin."""
        words = "--mode", "echo", "--latency-calculator", "per-token", "--tokenizer", "builtin"
        for some in ((), words, ("--kv-events-publisher", "null"), ("--kv-events-config", '{"publisher":null}')):
            self.assertEqual([], self.named(*some))
        self.assertFalse(has_plugins(load_words(words, {}).configuration))

    def test_named(self) -> None:
        """Each option that may name a plugin does."""
        words = "--mode a --latency-calculator b --tokenizer plugin:c --failure-plugins d e --kv-events-publisher f"
        self.assertEqual(
            [
                ("mode", "source", "a"),
                ("latency-calculator", "latency", "b"),
                ("tokenizer", "tokenizer", "c"),
                ("failure-plugins", "failure", "d"),
                ("failure-plugins", "failure", "e"),
                ("kv-events-publisher", "publisher", "f"),
            ],
            self.named(*words.split()),
        )

    def test_publisher(self) -> None:
        """A configuration of events in vLLM's form has its own publisher, and says nothing of the other."""
        for config, name in (('{"publisher":"f"}', "f"), ("{}", "zmq")):
            configuration = load_words(["--kv-events-publisher", "g", "--kv-events-config", config], {}).configuration
            self.assertEqual(("kv-events-config", name), publisher_of(configuration))

    def test_options(self) -> None:
        """Options of plugins come as JSON, or one by one."""
        words = "--plugin-options", '{"a":{"b":1}}', "--plugin-options.a.c", "two", "--plugin-options.d.e+", "3"
        configuration = load_words(words, {}).configuration
        self.assertEqual({"b": 1, "c": "two"}, options_of(configuration, "a"))
        self.assertEqual({"e": [3]}, options_of(configuration, "d"))
        self.assertEqual({}, options_of(configuration, "f"))
        self.assertTrue(has_plugins(configuration))

    def test_faults(self) -> None:
        """What cannot be is told."""
        self.assertIn("plugin-options (--plugin-options): a must have a map of options, not 1", self.fault(
            "--plugin-options", '{"a":1}'
        ))  # fmt: skip
        self.assertIn(
            "'a b' will not do: it must be random, echo, or the name of a plugin", self.fault("--mode", "a b")
        )
        self.assertIn("no name of a plugin behind the colon", self.fault("--tokenizer", "plugin:"))
        replay = "--kv-events-replay-endpoint", "tcp://*:6000"
        self.assertIn("asks for events of zmq, and f publishes", self.fault("--kv-events-publisher", "f", *replay))
        config = '{"publisher":"f","replay_endpoint":"tcp://*:6000"}'
        self.assertIn("replay_endpoint asks for events of zmq, and f", self.fault("--kv-events-config", config))
