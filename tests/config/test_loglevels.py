"""Levels of the log as people write them."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.loading import ConfigurationError
from vllmsim.config.loglevels import LogLevels, parse_levels, write_levels

BOTH = LogLevels("warn", (("vllmsim.web", "debug"), ("vllmsim.web.channel", "error")))


class LevelTests(SynchronousTestCase):
    """What may be written, and what it means."""

    def test_words(self) -> None:
        """A level is one word in any case, in our spelling, in Python's or in uvicorn's."""
        for word, level in (
            ("debug", "debug"), ("INFO", "info"), ("Warning", "warn"), (" warn ", "warn"), ("ERROR", "error"),
            ("critical", "critical"), ("FATAL", "critical"), ("trace", "debug"), ("NOTSET", "debug"),
        ):  # fmt: skip
            self.assertEqual(LogLevels(level), parse_levels(word), word)

    def test_namespaces(self) -> None:
        """Namespaces have levels of their own, in a text or in a map; what is not named has the level for all."""
        self.assertEqual(BOTH, parse_levels("warn, vllmsim.web=debug, vllmsim.web.channel=ERROR"))
        self.assertEqual(
            BOTH, parse_levels({"vllmsim.web": "debug", "default": "warn", "vllmsim.web.channel": "error"})
        )
        self.assertEqual(LogLevels("info", (("a", "debug"),)), parse_levels("a=debug"))

    def test_meaning(self) -> None:
        """The nearest namespace above decides, by whole names."""
        expected = {
            "vllmsim.web": "debug",
            "vllmsim.web.request.Request": "debug",
            "vllmsim.web.channel.Channel": "error",
            "vllmsim.webbed": "warn",
            "vllmsim": "warn",
            "": "warn",
        }
        self.assertEqual(expected, {namespace: BOTH.of(namespace) for namespace in expected})

    def test_written(self) -> None:
        """They are shown as they can be read."""
        self.assertEqual("info", write_levels(LogLevels()))
        self.assertEqual(BOTH, parse_levels(write_levels(BOTH)))

    def test_refused(self) -> None:
        """What is no level, or says two things of one namespace, is refused, and why."""
        bad: tuple[tuple[Any, str], ...] = (
            ("loud", "'loud' is no level"),
            ("", "'' is no level"),
            ("info,", "there are two levels for all"),
            ("a=", "'' is no level"),
            ("=info", "'' is no namespace"),
            ("a=debug,a=info", "a has two levels"),
            ("info,debug", "there are two levels for all"),
            ({"a": 10}, "10 is no level"),
            ({"a": None}, "None is no level"),
            ({1: "info"}, "1 is no namespace"),
            (["info"], ""),
            (None, ""),
        )
        for value, why in bad:
            error = self.assertRaises(ValueError, parse_levels, value)
            self.assertEqual(why, str(error), value)

    def test_sources(self) -> None:
        """They come from the command line, from a file as text or map, and from vLLM's own variable."""
        for words, environ, levels in (
            (["--log-level", "info,a=debug"], {}, LogLevels("info", (("a", "debug"),))),
            (["--log-level", '{"a": "debug"}'], {}, LogLevels("info", (("a", "debug"),))),
            ([], {"VLLM_LOGGING_LEVEL": "WARNING"}, LogLevels("warn")),
            (["--log-level=error"], {"VLLM_LOGGING_LEVEL": "DEBUG"}, LogLevels("error")),
        ):
            self.assertEqual(levels, load_words(words, environ).configuration.log_level)

    def test_one_line(self) -> None:
        """A level that is none is one line, and so is a format."""
        for words, line in (
            (
                ["--log-level", "loud"],
                (
                    "--log-level (command line): 'loud' will not do: it must be a level (debug, info, warn, error or"
                    " critical), or levels of namespaces too, such as info,vllmsim.web=debug or a map of these; 'loud'"
                    " is no level"
                ),
            ),
            (
                ["--log-format", "xml"],
                "--log-format (command line): 'xml' will not do: it must be one of auto, text, journal, json",
            ),
        ):
            error = self.assertRaises(ConfigurationError, load_words, words, {})
            self.assertEqual([line], [str(problem) for problem in error.problems])
