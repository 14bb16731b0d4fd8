"""What of a configuration is secret."""

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.schema import Configuration
from vllmsim.config.secrets import secret_names, secret_values


class SecretTests(SynchronousTestCase):
    """All that is."""

    def test_none(self) -> None:
        """Defaults are no secrets."""
        self.assertEqual(frozenset(), secret_values(Configuration()))

    def test_values(self) -> None:
        """Keys of clients, tenants, files and administrators, tokens, and the passwords in addresses are."""
        with TemporaryDirectory() as folder:
            path = Path(folder, "keys")
            path.write_text("from-a-file\n", "utf-8")
            c = load_words(
                [
                    *("--api-key", "one", "two", "--admin-api-key", "admin", "--hf-token", "hf_x"),
                    *("--tenants", '{"a": {"keys": ["of-a"]}}', "--api-key-file", str(path), "--enable-kvcache"),
                    *("--kv-cache-backend", "redis://me:p%40ss@host"),
                ],
                {},
            ).configuration
        expected = {"one", "two", "admin", "hf_x", "of-a", "from-a-file", "redis://me:p%40ss@host", "p%40ss", "p@ss"}
        self.assertEqual(expected, secret_values(c))

    def test_names(self) -> None:
        """Their options are known by name."""
        self.assertLessEqual({"api-key", "tenants", "admin-api-key", "hf-token", "kv-cache-backend"}, secret_names())
        self.assertNotIn("port", secret_names())
