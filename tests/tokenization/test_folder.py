"""A tokenizer's files."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from vllmsim.tokenization.folder import TokenizerError, TokenizerFolder, read_chat_template, read_folder
from vllmsim.tokenization.huggingface import load_tokenizer


class FolderTests(SynchronousTestCase):
    """What is read of a folder."""

    def setUp(self) -> None:
        """Have a folder."""
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def write(self, name: str, value: Any = "{}") -> Path:
        """Write a file: text as it is, all else as JSON."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
        return path

    def read(self, **config: Any) -> TokenizerFolder:
        """Read the folder."""
        self.write("tokenizer.json")
        if config:
            self.write("tokenizer_config.json", config)
        return read_folder(str(self.folder))

    def refused(self, path: Path) -> str:
        """Read what is no tokenizer, and get the line that says so."""
        with self.assertRaises(TokenizerError) as caught:
            load_tokenizer(str(path), in_thread)
        told = str(caught.exception)
        self.assertIn(str(self.folder), told)
        self.assertTrue(told.startswith("vllmsim: cannot use the tokenizer "))
        self.assertNotIn("\n", told)
        return told

    def test_bare(self) -> None:
        """A folder may have the tokenizer alone, and that may stand without a folder."""
        for found in (self.read(), read_folder(str(self.folder / "tokenizer.json"))):
            self.assertEqual(self.folder / "tokenizer.json", found.file)
            self.assertEqual(({}, {}, ()), (found.config, found.templates, found.added))
            self.assertEqual("<|im_end|>", next(found.endings()))

    def test_missing(self) -> None:
        """What is not there is told, and what one can do about it."""
        self.assertIn("no such file or folder", self.refused(self.folder / "nothing"))
        self.assertIn("no tokenizer.json; ", self.refused(self.folder))
        self.write("tokenizer.model")
        told = self.refused(self.folder)
        self.assertIn("no tokenizer.json, only tokenizer.model", told)
        self.assertIn("save_pretrained", told)

    def test_device(self) -> None:
        """What is neither a file nor a folder is told."""
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        self.assertIn("it is no file", self.refused(pipe))

    def test_wrong(self) -> None:
        """Files that are not what they should be are named."""
        self.write("tokenizer.json", "{}")
        self.assertIn("tokenizer.json", self.refused(self.folder))
        self.write("tokenizer.json", "nonsense")
        self.assertIn("tokenizer.json", self.refused(self.folder))
        for name in ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
            for text, expected in (("{", "not JSON"), ("[]", "not a JSON object"), ("[" * 10**5, "not JSON")):
                path = self.write(name, text)
                told = self.refused(self.folder)
                self.assertIn(expected, told)
                self.assertIn(name, told)
                path.unlink()

    def test_wrong_tokens(self) -> None:
        """Special tokens that are no list are told, and facts of tokens are yes or no, whatever stands there."""
        self.write("tokenizer.json")
        self.write("tokenizer_config.json", {"extra_special_tokens": 5})
        self.assertIn("special tokens are neither", self.refused(self.folder))
        found = self.read(added_tokens_decoder={"1": {"content": "<a>", "lstrip": "yes", "rstrip": None}})
        self.assertEqual({"special": True, "lstrip": True, "rstrip": False}, found.added[0].options)

    def test_unreadable(self) -> None:
        """A file that is no text, or no file, is told."""
        self.write("tokenizer.json")
        (self.folder / "tokenizer_config.json").write_bytes(b"\xff")
        self.assertIn("utf-8", self.refused(self.folder))
        (self.folder / "tokenizer_config.json").unlink()
        (self.folder / "tokenizer_config.json").mkdir()
        self.assertIn("Is a directory", self.refused(self.folder))

    def test_special_tokens(self) -> None:
        """Special tokens have their names in the configuration, or in a file of their own where that is older."""
        found = self.read(bos_token="<s>", eos_token={"content": "</s>", "lstrip": True}, unk_token=None, pad_token=7)
        self.assertEqual({"bos_token": "<s>", "eos_token": "</s>"}, found.special_tokens)
        self.write("special_tokens_map.json", {"bos_token": {"content": "<b>"}, "additional_special_tokens": ["<x>"]})
        found = self.read(bos_token="<s>")
        self.assertEqual({"bos_token": "<b>"}, found.special_tokens)
        self.assertEqual(["<b>", "<x>"], [token.content for token in found.added])
        found = self.read(bos_token="<s>", added_tokens_decoder={})
        self.assertEqual({"bos_token": "<s>"}, found.special_tokens)

    def test_added(self) -> None:
        """Tokens that the configuration adds come in the order of their ids, with what it says of them."""
        tokens = {"10": {"content": "<b>", "rstrip": True, "special": False}, "9": {"content": "<a>"}}
        found = self.read(added_tokens_decoder=tokens, extra_special_tokens={"image_token": "<i>"})
        self.assertEqual(["<a>", "<b>", "<i>"], [token.content for token in found.added])
        self.assertEqual({"special": False, "rstrip": True}, found.added[1].options)
        self.write("added_tokens.json", {"<y>": 8, "<x>": 7})
        found = self.read(eos_token="<x>")
        self.assertEqual(["<x>", "<y>", "<x>"], [token.content for token in found.added])
        self.assertEqual([True, False], [token.options["special"] for token in found.added[:2]])

    def test_ends(self) -> None:
        """What ends a text is the configured token, else what ends an answer, else what is called so."""
        self.write("generation_config.json", {"eos_token_id": [5, 6]})
        self.assertEqual(["</s>", 5, 6], list(self.read(eos_token="</s>").endings())[:3])
        self.write("generation_config.json", {"eos_token_id": 7})
        self.assertEqual((7,), self.read().ends)
        self.write("generation_config.json", {"eos_token_id": None})
        self.assertEqual((), self.read().ends)

    def test_templates(self) -> None:
        """Chat templates are in files of their own, or else in the configuration: one, or several by name."""
        self.write("chat_template.json", {"chat_template": "old"})
        self.assertEqual({"default": "old"}, self.read().templates)
        self.assertEqual({"default": "one"}, self.read(chat_template="one").templates)
        named = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]
        self.assertEqual({"default": "d", "tool_use": "t"}, self.read(chat_template=named).templates)
        self.assertEqual({"rag": "r"}, self.read(chat_template={"rag": "r", "x": 1}).templates)
        self.write("chat_template.jinja", "single")
        self.assertEqual({"default": "single"}, self.read(chat_template="one").templates)
        self.write("chat_templates/rag.jinja", "file é")
        self.assertEqual({"default": "single", "rag": "file é"}, self.read(chat_template="one").templates)

    def test_wrong_templates(self) -> None:
        """A list of something else is told."""
        self.write("tokenizer.json")
        self.write("tokenizer_config.json", {"chat_template": [{"name": "x"}]})
        self.assertIn("chat_template is a list", self.refused(self.folder))

    def test_given_template(self) -> None:
        """The operator gives a file, or the template itself."""
        self.assertEqual("from file", read_chat_template(str(self.write("x.jinja", "from file"))))
        self.assertEqual("{{ 1 }}", read_chat_template("{{ 1 }}"))
        self.assertEqual("a\nb", read_chat_template("a\nb"))
        with self.assertRaises(TokenizerError) as caught:
            read_chat_template("no/such.jinja")
        self.assertIn("no/such.jinja", str(caught.exception))
