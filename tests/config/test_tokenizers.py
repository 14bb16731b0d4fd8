"""What the option tokenizer may say."""

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.tokenizers import is_hub_id, is_revision, kind_of_tokenizer


class TokenizerKindTests(SynchronousTestCase):
    """Names, paths and models of the hub are told apart."""

    def test_names(self) -> None:
        """Our own and the render service have names."""
        for name in ("words", "builtin", "remote"):
            self.assertEqual(name, kind_of_tokenizer(name))

    def test_paths(self) -> None:
        """What is there is a path, whatever it is called."""
        with TemporaryDirectory() as folder:
            self.assertEqual("path", kind_of_tokenizer(folder))
            file = Path(folder) / "tokenizer.json"
            self.assertRaises(ValueError, kind_of_tokenizer, str(file))
            file.touch()
            self.assertEqual("path", kind_of_tokenizer(str(file)))
        self.assertEqual("path", kind_of_tokenizer("."))

    def test_missing(self) -> None:
        """What looks like a path, and is none, is not looked for on the hub."""
        for value in (
            "/no/such",
            "./no",
            "../no/such",
            "~/no/such/thing",
            "~nobody-has-this-name/x",
            "a\0b",
            "x" * 5000,
        ):
            self.assertRaises(ValueError, kind_of_tokenizer, value)

    def test_hub(self) -> None:
        """Models of the hub have one or two parts, of few characters."""
        for good in ("gpt2", "Qwen/Qwen3-0.6B", "_a/b_", "org.x/a-b_c.1", "a" * 96):
            self.assertTrue(is_hub_id(good), good)
            self.assertEqual("hub", kind_of_tokenizer(good))
        for bad in (
            "",
            "a/b/c",
            "a--b",
            "a..b",
            "x/b.git",
            "a b",
            "-a",
            "a-",
            ".a",
            "a.",
            "a/",
            "/a",
            "é",
            "a" * 97,
            "a\n",
        ):
            self.assertFalse(is_hub_id(bad), bad)

    def test_revisions(self) -> None:
        """Revisions may have folders, and lead out of none."""
        for good in ("main", "v1.0", "refs/pr/1", "0123456789abcdef0123456789abcdef01234567", "a@b"):
            self.assertTrue(is_revision(good), good)
        for bad in ("", "..", "a/../b", "/a", "a/", "a//b", ".hidden", "a b", "a\0", "a/.b"):
            self.assertFalse(is_revision(bad), bad)
