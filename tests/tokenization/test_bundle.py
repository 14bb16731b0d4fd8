"""Archives of tokenizers' files."""

import hashlib
import io
import os
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.folders import make_folder
from vllmsim.tokenization import bundle
from vllmsim.tokenization.bundle import BundleError, pack, read_files


class PackTests(SynchronousTestCase):
    """Archives."""

    def test_archive(self) -> None:
        """It has the files in their order, as plain ones, and its hash is told."""
        packed = pack({"b": b"2" * 1000, "a": b"1"})
        self.assertEqual(hashlib.sha256(packed.data).hexdigest(), packed.sha256)
        with zipfile.ZipFile(io.BytesIO(packed.data)) as archive:
            self.assertEqual(["b", "a"], archive.namelist())
            self.assertEqual(b"1", archive.read("a"))
            self.assertEqual({0o100644}, {info.external_attr >> 16 for info in archive.infolist()})
        self.assertLess(len(packed.data), 500)

    def test_same(self) -> None:
        """The same files make the same archive, to the byte: it tells nothing of when it was made, or where."""
        packed = pack({"tokenizer.json": b"{}"})
        self.assertEqual(packed, pack({"tokenizer.json": b"{}"}))
        with zipfile.ZipFile(io.BytesIO(packed.data)) as archive:
            [info] = archive.infolist()
        self.assertEqual(((1980, 1, 1, 0, 0, 0), 3), (info.date_time, info.create_system))


class ReadTests(SynchronousTestCase):
    """Folders."""

    def setUp(self) -> None:
        """Have a folder."""
        self.folder = make_folder(self)

    def write(self, *names: str) -> None:
        """Write files that say what they are called."""
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)

    def refusal(self, place: Path) -> str:
        """Find out why there are no files."""
        return str(self.assertRaises(BundleError, read_files, place))

    def test_chosen(self) -> None:
        """Files of known names come first, then templates and vocabularies by name; weights and folders do not."""
        self.write("z.jinja", "config.json", "a.tiktoken", "tokenizer.json", "spiece.model", "model.safetensors",
                   "x/tokenizer.json", "vocab.json/x", "README.md", "tokenizer.model")  # fmt: skip
        names = ["tokenizer.json", "config.json", "tokenizer.model", "a.tiktoken", "spiece.model", "z.jinja"]
        files = read_files(self.folder)
        self.assertEqual((names, b"z.jinja"), (list(files), files["z.jinja"]))

    def test_links(self) -> None:
        """Links of the hub's cache are followed, and those within the folder; what leads elsewhere is left out."""
        snapshot = self.folder / "models--a--b" / "snapshots" / "c1"
        snapshot.mkdir(parents=True)
        self.write("models--a--b/blobs/e1", "models--a--b/snapshots/c1/..data/config.json", "secret.json")
        (snapshot / "tokenizer.json").symlink_to(Path("../../blobs/e1"))
        (snapshot / "config.json").symlink_to(Path("..data/config.json"))
        (snapshot / "vocab.json").symlink_to(self.folder / "secret.json")
        (snapshot / "merges.txt").symlink_to(self.folder / "nowhere")
        self.assertEqual({"tokenizer.json": b"e1", "config.json": b"config.json"}, read_files(snapshot))
        link = self.folder / "model"
        link.symlink_to(snapshot)
        self.assertEqual({"config.json"}, set(read_files(link)) - {"tokenizer.json"})

    def test_one_file(self) -> None:
        """A file that stands alone is the tokenizer, whatever it is called."""
        self.write("x.json")
        self.assertEqual({"tokenizer.json": b"x.json"}, read_files(self.folder / "x.json"))

    def test_none(self) -> None:
        """A folder without any, and one that is not there, have none."""
        self.assertEqual(f"No tokenizer files found in {self.folder}", self.refusal(self.folder))
        self.assertIn("cannot be read: No such file or directory", self.refusal(self.folder / "x"))

    def test_too_large(self) -> None:
        """Files that are too large together are not read."""
        self.patch(bundle, "MOST_BYTES", 20)
        self.write("tokenizer.json")
        self.assertEqual({"tokenizer.json"}, set(read_files(self.folder)))
        self.write("config.json")
        self.assertIn("have 25 bytes, and at most 20 are told", self.refusal(self.folder))

    def test_no_file(self) -> None:
        """What is no plain file is left out, and nobody waits for it."""
        os.mkfifo(self.folder / "tokenizer.json")
        self.write("config.json")
        self.assertEqual(["config.json"], list(read_files(self.folder)))
