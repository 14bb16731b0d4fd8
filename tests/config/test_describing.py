"""What is shown of a configuration."""

import json

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.describing import describe_configuration
from vllmsim.config.listing import print_config
from vllmsim.config.loading import ConfigurationError
from vllmsim.config.schema import own_options


class DescribingTests(SynchronousTestCase):
    """Everything but secrets."""

    def test_configuration(self) -> None:
        """Every option has its effective value, as a file would have it."""
        words = ["m", "--time-to-first-token", "1500", "--lora-modules", "a=/p", "--failure-types", "rate_limit"]
        shown = describe_configuration(load_words(words, {}).configuration)
        secret = {"admin-api-key", "api-key", "hf-token", "kv-cache-backend", "ssl-keyfile-password", "tenants"}
        self.assertEqual({option.name for option in own_options()} - secret, set(shown))
        self.assertEqual(("m", "1.5s"), (shown["model"], shown["time-to-first-token"]))
        self.assertEqual(([{"name": "a", "path": "/p"}], None), (shown["lora-modules"], shown["seed"]))
        json.dumps(shown)

    def test_repr(self) -> None:
        """Secrets are not even shown by who prints the whole configuration, as a log with fields would."""
        words = ["--api-key", "hunter2", "--admin-api-key", "hunter2", "--tenants", '{"a":{"keys":["hunter2x"]}}']
        self.assertNotIn("hunter2", repr(load_words(words, {})))

    def test_passwords(self) -> None:
        """An address is shown without what signs its reader in."""
        configuration = evolve(load_words([], {}).configuration, dataset_url="https://me:secret@host/x@y")
        self.assertEqual("https://***@host/x@y", describe_configuration(configuration)["dataset-url"])

    def test_within(self) -> None:
        """What is secret within a value is shown nowhere: not here, not by --print-config, not where it is refused."""
        words = (
            *("--datasets", '{"m":{"path":"/x","url":"https://me:hunter2@host/x?sig=hunter2"}}'),
            *("--dataset-path", "/x", "--dataset-url", "https://host/x?sig=hunter2"),
            *("--render-url", "http://me:hun@ter2@host", "--failure-rules", '[{"api-key":"hunter2","status":500}]'),
            *("--kv-transfer-config.kv_connector_extra_config", '{"password":"hunter2"}'),
        )
        loaded = load_words(words, {})
        for shown in (json.dumps(describe_configuration(loaded.configuration)), print_config(loaded)):
            self.assertNotRegex(shown, "hunter2|ter2")
            self.assertIn("https://host/x?***", shown)
            self.assertIn('"api-key": "***"', shown)
        wrong = ("--lora-modules", '{"name":7,"path":"http://me:hunter2@host"}')
        self.assertNotIn("hunter2", str(self.assertRaises(ConfigurationError, load_words, wrong, {})))
