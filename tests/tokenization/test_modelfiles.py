"""What models' files say of models."""

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.folders import make_folder
from vllmsim.tokenization.modelfiles import ModelFiles, describe_model, family_of, number_type, read_model

COMMIT = "0123456789" * 4


class ReadTests(SynchronousTestCase):
    """A model's folder."""

    def setUp(self) -> None:
        """Have a folder."""
        self.folder = make_folder(self)

    def read(self, **config: Any) -> ModelFiles:
        """Read it with a ``config.json``."""
        (self.folder / "config.json").write_text(json.dumps(config))
        return read_model(self.folder)

    def test_all(self) -> None:
        """Family, classes, ids, vocabulary and number type are told."""
        files = self.read(model_type="qwen3", architectures=["A", "B"], eos_token_id=[5, 6], pad_token_id=7,
                          bos_token_id=8, vocab_size=9, torch_dtype="float16")  # fmt: skip
        expected = ModelFiles(
            kind="qwen3", architectures=("A", "B"), ends=(5, 6), pad=7, bos=8, vocabulary_size=9, dtype="float16"
        )
        self.assertEqual(expected, files)
        self.assertEqual(((5,), "bfloat16"), (self.read(eos_token_id=5).ends, self.read(dtype="torch.bfloat16").dtype))

    def test_words(self) -> None:
        """Models that see have what is said of their words in a part; what is said of the whole comes first."""
        files = self.read(model_type="vl", text_config={"model_type": "t", "vocab_size": 5, "eos_token_id": 3})
        self.assertEqual(("vl", 5, (3,)), (files.kind, files.vocabulary_size, files.ends))

    def test_wrong(self) -> None:
        """Members that are not what they should be say nothing."""
        wrong = self.read(model_type=7, architectures=["A", 7], eos_token_id=[True, -1, "x", 4], pad_token_id=True,
                          vocab_size="many", dtype=[], text_config=7)  # fmt: skip
        self.assertEqual(ModelFiles(architectures=("A",), ends=(4,)), wrong)
        self.assertEqual(ModelFiles(), self.read(architectures="A"))

    def test_unreadable(self) -> None:
        """Nor does a file that is no JSON, no object, too deep, too large, or not there."""
        self.assertEqual(ModelFiles(), read_model(self.folder))
        for text in ("[]", "{", "\xff", "[" * 100_000, '{"model_type": "x"}' + " " * (1 << 22)):
            (self.folder / "config.json").write_text(text, "latin-1")
            self.assertEqual(ModelFiles(), read_model(self.folder))

    def test_sampling(self) -> None:
        """Sampling defaults are numbers."""
        (self.folder / "generation_config.json").write_text('{"top_k": 20, "do_sample": true, "x": "y", "top_p": 0.8}')
        self.assertEqual({"top_k": 20, "top_p": 0.8}, self.read().sampling)


class DescribeTests(SynchronousTestCase):
    """A configuration's model."""

    def setUp(self) -> None:
        """Have a folder."""
        self.folder = make_folder(self)

    def describe(self, *words: str) -> ModelFiles:
        """Find out about it."""
        environ = {"HF_HUB_CACHE": str(self.folder / "hub")}
        return describe_model(load_words(words, {}).configuration, environ)

    def write(self, place: str, kind: str, top_k: int) -> Path:
        """Write a model's folder."""
        folder = self.folder / place
        folder.mkdir(parents=True)
        (folder / "tokenizer.json").write_text("{}")
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        (folder / "generation_config.json").write_text(json.dumps({"top_k": top_k}))
        return folder

    def test_places(self) -> None:
        """The model's own folder comes first, then the hub's cache, then the tokenizer's folder, then its name."""
        self.assertEqual("llama", self.describe("--model", "a/Llama-3").kind)
        tokenizer = str(self.write("t", "third", 3))
        self.assertEqual("third", self.describe("--model", "a/b", "--tokenizer", tokenizer).kind)
        self.write(f"hub/models--a--b/snapshots/{COMMIT}", "second", 2)
        self.assertEqual("second", self.describe("--model", "a/b", "--tokenizer", tokenizer, "--revision", COMMIT).kind)
        own = str(self.write("m", "first", 1))
        self.assertEqual("first", self.describe("--model", own, "--tokenizer", tokenizer).kind)

    def test_sampling(self) -> None:
        """Sampling defaults are from where the configuration says, and it may say them itself."""
        own, other = str(self.write("m", "first", 1)), str(self.write("o", "other", 7))
        for words, expected in (
            ((), {"top_k": 1}),
            (("--generation-config", "vllm"), {}),
            (("--generation-config", other), {"top_k": 7}),
            (("--override-generation-config", '{"top_k": 9, "top_p": 0.5}'), {"top_k": 9, "top_p": 0.5}),
        ):
            self.assertEqual(expected, self.describe("--model", own, *words).sampling)

    def test_strange_names(self) -> None:
        """A name that can be no path is none."""
        for name in ("~nobody/x", "x" * 5000, "a\0b"):
            self.assertEqual(ModelFiles(), self.describe("--model", name))


class NameTests(SynchronousTestCase):
    """What names say."""

    def test_families(self) -> None:
        """The family is in the last part of a name; of most nothing is known."""
        kinds = {
            "Qwen/Qwen3-0.6B": "qwen3",
            "openai/gpt-oss-20b": "gpt_oss",
            "llama/x": "",
            "/m/Mixtral-8x7B/": "mixtral",
        }
        self.assertEqual(kinds, {name: family_of(name).kind for name in kinds})

    def test_numbers(self) -> None:
        """Number types have one name each."""
        names = [number_type(text) for text in ("half", "float", "torch.bfloat16", "fp8", "")]
        self.assertEqual(["float16", "float32", "bfloat16", "fp8", ""], names)
