"""API keys."""

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.arguments import renewed, scan
from vllmsim.config.keys import LONGEST_KEY, MOST_KEYS, KeyFile, read_key_file
from vllmsim.config.listing import print_config
from vllmsim.config.loading import ConfigurationError, load


class KeyTests(SynchronousTestCase):
    """Which texts are keys, and how they are given."""

    def fault(self, *words: str, **environ: str) -> str:
        """Read a command line that is wrong."""
        return str(self.assertRaises(ConfigurationError, load_words, words, environ))

    def write(self, content: bytes, name: str = "yaml") -> str:
        """Write a file."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        return str(path)

    def test_command_line(self) -> None:
        """Several keys follow their flag, and what looks like JSON is a key as well."""
        configuration = load_words(["--api-key", "a", "b", "[c", "--port", "1"], {}).configuration
        self.assertEqual(("a", "b", "[c"), configuration.api_key)

    def test_environment(self) -> None:
        """The environment has one key, and the command line comes before it; an empty variable is none."""
        environ = {"VLLM_API_KEY": "e f"}
        self.assertEqual(("e f",), load_words([], environ).configuration.api_key)
        self.assertEqual(("a",), load_words(["--api-key", "a"], environ).configuration.api_key)
        self.assertEqual((), load_words([], {"VLLM_API_KEY": ""}).configuration.api_key)

    def test_file(self) -> None:
        """A YAML file has a list, or one; of a key that is there twice there is one."""
        for text, keys in (("[a, b, a]", ("a", "b")), ("a", ("a",)), ("[]", ())):
            path = self.write(b"api-key: " + text.encode())
            self.assertEqual(keys, load_words(["--config", path], {}).configuration.api_key)

    def test_wrong(self) -> None:
        """What no header could carry is refused, and so is nothing; no message shows what was given."""
        for key in ("", " ", "hunter2\n", " hunter2", "hun\tter2", "hunter2" * LONGEST_KEY, "hun\0ter2", "hunter2€"):
            fault = self.fault("--api-key", key)
            self.assertIn("api-key (command line): what is given will not do", fault)
            self.assertNotIn("hunter2", fault)
        for text in ("0123", "[a, '']", "[[a]]", "{a: b}", "true", str([f"k{n}" for n in range(MOST_KEYS + 1)])):
            fault = self.fault("--config", self.write(b"api-key: " + text.encode()))
            self.assertIn("what is given will not do", fault)
            self.assertNotIn(text, fault)

    def test_administrators(self) -> None:
        """That of administrators may have any character that a header can carry as UTF-8; or there is none."""
        for key in ("", "a b", "schlüssel€"):
            self.assertEqual(key, load_words(["--admin-api-key", key], {}).configuration.admin_api_key)
        for key in (" ", "hunter2\n", " hunter2", "hunter2" * LONGEST_KEY):
            fault = self.fault("--admin-api-key", key)
            self.assertIn("what is given will not do: it must be a key as text, or nothing", fault)
            self.assertNotIn("hunter2", fault)
        self.assertIn("admin-api-key", self.fault("--config", self.write(b"admin-api-key: 0123")))

    def test_secret(self) -> None:
        """Nobody is shown keys with the configuration."""
        path = os.path.abspath(self.write(b"hunter2\n"))  # noqa: PTH100
        tenants = '[{"name":"t","keys":["hunter2x"]}]'
        loaded = load_words(["--api-key", "hunter2y", "--api-key-file", path, "--tenants", tenants], {})
        shown = print_config(loaded)
        self.assertNotIn("hunter2", shown)
        self.assertIn('api-key: "***"', shown)
        self.assertIn(f'api-key-file: "{path}"', shown)

    def test_key_file(self) -> None:
        """A file has a key on each line; blank lines and comments are none, and how lines end does not matter."""
        path = os.path.abspath(self.write("# ours\r\na b\r\n\r\n  c  \nä\n".encode()))  # noqa: PTH100 - as the program does
        self.assertEqual(KeyFile(path, ("a b", "c", "ä")), read_key_file(path))
        self.assertEqual(read_key_file(path), load_words([], {"VLLMSIM_API_KEY_FILE": path}).configuration.api_key_file)
        self.assertIsNone(load_words(["--api-key-file", ""], {}).configuration.api_key_file)

    def test_key_file_changes(self) -> None:
        """A file that has changed is another value."""
        path = self.write(b"a")
        before = read_key_file(path)
        Path(path).write_bytes(b"b")
        self.assertNotEqual(before, read_key_file(path))

    def test_read_again(self) -> None:
        """Files that a command line names can be read again; the rest of it stays, and mistakes are told."""
        path, other = self.write(b"a"), self.write(b"c")
        tenants = json.dumps({"t": {"key-file": other}})
        arguments = scan(["--api-key-file", path, "--tenants", tenants, "--port", "7", "--api-key-file", path])
        Path(path).write_bytes(b"b")
        Path(other).write_bytes(b"d")
        configuration = load(renewed(arguments), {}).configuration
        assert configuration.api_key_file is not None
        self.assertEqual((("b",), ("d",), 7), (
            configuration.api_key_file.keys, configuration.tenants[0].keys, configuration.port))  # fmt: skip
        Path(other).unlink()
        fault = str(self.assertRaises(ConfigurationError, load, renewed(arguments), {}))
        self.assertIn("--tenants.0.key-file (command line): cannot read", fault)

    def test_wrong_key_file(self) -> None:
        """A file that is not there, is none, is too large, is no text or has a wrong key is told so, without keys."""
        fifo = self.mktemp()
        os.mkfifo(fifo)
        cases = {
            "/no/such/file": "cannot read '/no/such/file': No such file or directory",
            "\0": "cannot read",
            "/": "it is no regular file",
            "/proc/self/mem": "cannot read '/proc/self/mem': Input/output error",
            fifo: "it is no regular file",
            self.write(b"hunter2\n" * 200_000): "has more than 1048576 bytes",
            self.write(b"hunter2\xff"): "is not UTF-8 text",
            self.write(b"# nothing\n\n"): "has no key in it",
            self.write(b"a\nhunter2\0"): "is no key: a key has no blanks around it and no control characters",
            self.write(b"".join(b"hunter2%d\n" % n for n in range(MOST_KEYS + 1))): f"at most {MOST_KEYS} keys",
        }
        for path, expected in cases.items():
            fault = self.fault("--api-key-file", path)
            self.assertIn(expected, fault)
            self.assertNotIn("hunter2", fault)
        unreadable = self.write(b"hunter2")
        Path(unreadable).chmod(0)
        if not os.access(unreadable, os.R_OK):
            self.assertIn("Permission denied", self.fault("--api-key-file", unreadable))
