"""The option ``middleware``."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.loading import ConfigurationError
from vllmsim.config.middlewares import MiddlewareEntry, Middlewares


class MiddlewareTests(SynchronousTestCase):
    """Which stand where."""

    def fault(self, *words: str) -> str:
        """Read a command line that is wrong."""
        return str(self.assertRaises(ConfigurationError, load_words, words, {}))

    def test_command_line(self) -> None:
        """Names follow the flag, which may be there several times; maps are JSON."""
        words = ["--middleware", "cors", '{"name":"api-key","enabled":false}', "--middleware", '["request-id"]']
        self.assertEqual(
            (MiddlewareEntry("cors"), MiddlewareEntry("api-key", enabled=False), MiddlewareEntry("request-id")),
            load_words(words, {}).configuration.middleware,
        )

    def test_file(self) -> None:
        """A file has a list, and what is read is written so that it can be read again."""
        path = self.mktemp()
        Path(path).write_text("middleware: [cors, {name: api-key, enabled: false}]")
        read = load_words(["--config", path], {}).configuration.middleware
        self.assertEqual((MiddlewareEntry("cors"), MiddlewareEntry("api-key", enabled=False)), read)
        kind = Middlewares()
        entries = (*read, MiddlewareEntry("x", options={"a": 1}))
        self.assertEqual(entries, kind.from_value(kind.to_value(entries)))

    def test_wrong(self) -> None:
        """What is wrong is named by its place, and nobody can be at two."""
        for text, fault in (
            ('["cors", "cors"]', "cors is there twice"),
            ('["cors", 7]', "--middleware.1.name (command line): must be the name of a middleware"),
            ('[{"enabled": true}]', "0.name"),
            ('[{"name": "cors", "enabled": "no"}]', "0.enabled (command line): must be true or false"),
            ('[{"name": "cors", "origins": []}]', "0.origins (command line): is no option of cors"),
            ('{"name": "a\\nb"}', "0.name"),
            ("[", "it is not JSON"),
        ):
            self.assertIn(fault, self.fault("--middleware", text), text)
        self.assertRaises(ValueError, Middlewares().from_value, 7)
        self.assertIn(
            "0.options: must have names that are text",
            str(self.assertRaises(ValueError, Middlewares().from_value, [{"name": "x", 7: 1}])),
        )
        self.assertRaises(ValueError, Middlewares().from_value, ["cors"] * 65)

    def test_doubts(self) -> None:
        """Keys that nobody needs, and limits that cannot find their tenants, are named."""
        key, off = ("--api-key", "a"), ("--middleware", '{"name":"api-key","enabled":false}')
        tenants = "--tenants", '[{"name":"t","keys":["b"],"requests-per-minute":1}]'
        for words, doubt in (
            (off, ""),
            ((*key, *off), "nobody needs one"),
            ((*tenants, *off), "nobody needs one"),
            ((*tenants, "--middleware", "rate-limit"), "rate-limit before api-key"),
            ((*tenants, "--middleware", "api-key", "rate-limit"), ""),
            ((*tenants, "--middleware", '{"name":"rate-limit","enabled":false}'), ""),
            ((*key, "--middleware", "rate-limit"), ""),
        ):
            doubts = load_words(("--admin-api-key", "b", *words), {}).doubts
            self.assertIn(doubt, "".join(doubts), words)
            self.assertEqual(bool(doubt), bool(doubts), words)
