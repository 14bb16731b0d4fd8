"""Options written for people."""

from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.listing import help_text, options_table, print_config, sample_yaml
from vllmsim.config.loading import read_yaml
from vllmsim.config.names import all_options
from vllmsim.config.schema import Configuration, own_options


class HelpTests(SynchronousTestCase):
    """``--help``."""

    def test_own(self) -> None:
        """Help shows the program's options with default, unit and environment, and not vLLM's."""
        text = help_text()
        for option in own_options():
            self.assertIn(f"--{option.name}", text)
        self.assertNotIn("--enforce-eager", text)
        for part in ("default 8000", "$SIM_MODEL", "in ms if no unit is given", "can change live", "has no effect"):
            self.assertIn(part, text)

    def test_topics(self) -> None:
        """Help shows all flags, one group, or one option with what it allows."""
        self.assertIn("--enforce-eager", help_text("all"))
        latency = help_text("latency")
        self.assertIn("--prefill-overhead", latency)
        self.assertNotIn("--port", latency)
        self.assertIn("It must be an integer from 1 to 65535", help_text("--port"))


class PrintConfigTests(SynchronousTestCase):
    """``--print-config``."""

    def test_read_back(self) -> None:
        """Every effective value is shown with its source, and the whole is a configuration file again."""
        words = ("m", "--inter-token-latency", "20ms", "--lora-modules", "a=/p", "--dtype", "auto", "--no-omni")
        loaded = load_words(words, {"POD_NAME": "p"})
        text = print_config(loaded)
        self.assertIn('inter-token-latency: "20ms"  # --inter-token-latency\n', text)
        self.assertIn('pod-name: "p"  # environment POD_NAME\n', text)
        self.assertIn("port: 8000  # default\n", text)
        values, problems = read_yaml(text, "printed")
        self.assertEqual([], problems)
        given = {o.attribute: values[o.name][0] for o in own_options() if o.name in values}
        self.assertEqual(loaded.configuration, Configuration(**given))


class SampleTests(SynchronousTestCase):
    """``etc/vllmsim/sim.yaml``."""

    def test_true(self) -> None:
        """The file in the repository is what the table says today."""
        path = Path(__file__).parents[2] / "etc" / "vllmsim" / "sim.yaml"
        self.assertEqual(sample_yaml(), path.read_text("utf-8"), "run `make sample`")

    def test_uncommented(self) -> None:
        """Uncommenting every option changes nothing."""
        lines = [line[1:] for line in sample_yaml().splitlines() if line.startswith("#") and line[1:2].islower()]
        self.assertEqual(len(all_options()), len(lines))
        values, problems = read_yaml("\n".join(lines), "sample")
        self.assertEqual([], problems)
        given = {o.attribute: values[o.name][0] for o in own_options() if o.name in values}
        self.assertEqual(Configuration(), Configuration(**given))
        self.assertEqual(None, yaml.safe_load(sample_yaml()))


class TableTests(SynchronousTestCase):
    """The documentation's page."""

    def test_complete(self) -> None:
        """Every option is in the table with what it allows."""
        table = options_table()
        for option in all_options():
            self.assertIn(f"``--{option.name}", table)
