"""The ``twistd vllmsim`` command."""

import io
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from tests.dropins import drop_in
from vllmsim import __version__, tap


class OptionTests(SynchronousTestCase):
    """Words that are read, and words that are refused."""

    def setUp(self) -> None:
        """Take standard output and error over."""
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def parse(self, *words: str) -> tap.Options:
        """Read words."""
        options = tap.Options()
        options.parseOptions(list(words))
        return options

    def exits(self, *words: str) -> tuple[object, str]:
        """Read words that end the program, and return its status and what it said."""
        error = self.assertRaises(SystemExit, self.parse, *words)
        return error.code, self.out.getvalue() + self.err.getvalue()

    def test_good(self) -> None:
        """Good words are a configuration."""
        self.assertEqual(9000, self.parse("--port", "9000").loaded.configuration.port)

    def test_own_words(self) -> None:
        """Without words the program's own are read."""
        self.patch(sys, "argv", ["vllmsim", "--port", "9001"])
        options = tap.Options()
        options.parseOptions()
        self.assertEqual(9001, options.loaded.configuration.port)

    def test_bad(self) -> None:
        """Bad words are all reported on standard error, with status 1 and without usage."""
        status, said = self.exits("--port", "0", "--bogusly")
        self.assertEqual(1, status)
        self.assertIn("vllmsim: 2 problems in the configuration:\n  --port", said)
        self.assertNotIn("Usage", said)

    def test_answers(self) -> None:
        """Help, version and the effective configuration are printed, with status 0."""
        self.assertIn("--inter-token-latency DURATION", self.exits("--help")[1])
        self.assertEqual((0, f"vllmsim {__version__}\n"), self.exits_alone("--version"))
        self.assertIn("port: 9000  # --port", self.exits("--print-config", "--port", "9000")[1])
        self.assertIn("--port", str(tap.Options()))

    def test_check(self) -> None:
        """A configuration can be checked without starting anything, and there is nothing to say when it is right."""
        self.assertEqual((0, ""), self.exits("--check-config", "--port", "9000"))
        status, said = self.exits("--check-config", "--prot", "9000")
        self.assertEqual(1, status)
        self.assertIn("--prot", said)

    def test_plugins(self) -> None:
        """What plugins there are is told, and one that is named in vain is a problem of the configuration."""
        drop_in(self, some='one = offer(ILatencyModelFactory, "tidal", None)')
        self.assertIn("  tidal\n        Is made for a test.", self.exits("--help-plugins")[1])
        self.assertIn("--help-plugins", self.exits("--help")[1])
        status, said = self.exits("--latency-calculator", "tidall", "--plugin-options.x.y", "1")
        self.assertEqual(1, status)
        self.assertIn("vllmsim: 2 problems in the configuration:\n  latency-calculator (--latency-calculator): ", said)
        self.assertIn("did you mean tidal?\n  plugin-options (--plugin-options.x.y): there is no plugin 'x'\n", said)
        self.assertEqual("tidal", self.parse("--latency-calculator", "tidal").loaded.configuration.latency_calculator)

    def exits_alone(self, *words: str) -> tuple[object, str]:
        """Read words that end the program, without what was said before."""
        self.out.truncate(0)
        self.out.seek(0)
        return self.exits(*words)


class PluginTests(SynchronousTestCase):
    """What twistd finds."""

    def test_found(self) -> None:
        """The command is among twistd's, and its module is loaded only when it is used."""
        makers: list[Any] = [each for each in getPlugins(IServiceMaker) if each.tapname == "vllmsim"]
        [maker] = makers
        self.assertEqual("vllmsim.tap", maker.module)
        self.assertIs(tap.Options, maker.options)

    def test_not_a_package(self) -> None:
        """The plugin directories have no __init__.py, with which Twisted would skip them."""
        root = Path(__file__).parents[1] / "twisted"
        self.assertEqual([], list(root.rglob("__init__.py")))
