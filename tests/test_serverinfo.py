"""What the server tells about itself."""

import json

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.schema import own_options
from vllmsim.serverinfo import describe_configuration, describe_environment, describe_system, installed


class ServerInfoTests(SynchronousTestCase):
    """Everything but secrets."""

    def test_configuration(self) -> None:
        """Every option has its effective value, as a file would have it."""
        words = ["m", "--time-to-first-token", "1500", "--lora-modules", "a=/p", "--failure-types", "rate_limit"]
        shown = describe_configuration(load_words(words, {}).configuration)
        self.assertEqual(
            {option.name for option in own_options()} - {"api-key", "hf-token", "kv-cache-backend"}, set(shown)
        )
        self.assertEqual(("m", "1.5s"), (shown["model"], shown["time-to-first-token"]))
        self.assertEqual(([{"name": "a", "path": "/p"}], None), (shown["lora-modules"], shown["seed"]))
        json.dumps(shown)

    def test_passwords(self) -> None:
        """An address is shown without what signs its reader in."""
        configuration = evolve(load_words([], {}).configuration, dataset_url="https://me:secret@host/x@y")
        self.assertEqual("https://***@host/x@y", describe_configuration(configuration)["dataset-url"])

    def test_environment(self) -> None:
        """VLLM's variables are shown, in order; of those that may be secret just that they are there."""
        environ = {"VLLM_PORT": "1", "VLLM_API_KEY": "a", "VLLM_S3_ACCESS_KEY_ID": "b", "HF_TOKEN": "c"}
        expected = {"VLLM_API_KEY": "***", "VLLM_PORT": "1", "VLLM_S3_ACCESS_KEY_ID": "***"}
        self.assertEqual(expected, describe_environment(environ))

    def test_system(self) -> None:
        """The machine, Python and the packages are named."""
        system = describe_system()
        self.assertEqual("0.33.0", system["packages"]["vllm"])
        self.assertRegex(system["packages"]["Twisted"], r"^\d+\.\d+")
        self.assertTrue(system["os"])
        self.assertEqual(("no-such-package", "unknown"), installed("no-such-package"))
