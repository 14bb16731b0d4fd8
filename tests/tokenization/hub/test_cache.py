"""The cache of the hub on this machine."""

from pathlib import Path
from typing import Any

from huggingface_hub import scan_cache_dir, try_to_load_from_cache
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.downloading.fakeweb import new_directory
from tests.tokenization.fakehub import COMMIT
from vllmsim.tokenization.hub.cache import HubAccess, HubCache, HubModel, hub_access, hub_cache, token_for

MODEL = HubModel("org/model")


class CacheTests(SynchronousTestCase):
    """What we write others find, and what they have written we find."""

    def setUp(self) -> None:
        """Make a cache."""
        self.root = new_directory(self)
        self.cache = HubCache(self.root)

    def fill(self, model: HubModel = MODEL) -> Path:
        """Put a tokenizer into the cache."""
        blob = self.cache.blob(model, "tag")
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_text("{}")
        self.cache.link(model, COMMIT, "tokenizer.json", "tag")
        self.cache.note_commit(model, COMMIT)
        return self.root / "models--org--model" / "snapshots" / COMMIT

    def test_found_by_others(self) -> None:
        """The hub's own library finds our files, under the revision and under the commit, and no fault in them."""
        snapshot = self.fill()
        self.cache.note_missing(MODEL, COMMIT, "config.json")
        for revision in (None, "main", COMMIT):
            path = try_to_load_from_cache("org/model", "tokenizer.json", self.root, revision)
            self.assertEqual(str(snapshot / "tokenizer.json"), path)
        self.assertNotIsInstance(try_to_load_from_cache("org/model", "config.json", self.root), str | None)
        self.assertEqual([], scan_cache_dir(self.root).warnings)

    def test_found(self) -> None:
        """A snapshot is found by its revision or its commit."""
        snapshot = self.fill()
        self.assertEqual(snapshot, self.cache.find(MODEL))
        self.assertEqual(snapshot, self.cache.find(HubModel("org/model", COMMIT)))

    def test_folders(self) -> None:
        """Revisions may be in folders, and models without an organization."""
        for model in (HubModel("org/model", "refs/pr/1"), HubModel("gpt2")):
            self.fill(model)
            self.assertIsNotNone(self.cache.find(model))
        self.assertTrue((self.root / "models--org--model" / "refs" / "refs" / "pr" / "1").is_file())

    def test_not_found(self) -> None:
        """Other revisions, other models, and a snapshot without a tokenizer are not there."""
        snapshot = self.fill()
        for model in (HubModel("org/model", "v2"), HubModel("org/other"), HubModel("org/model", "1" * 40)):
            self.assertIsNone(self.cache.find(model))
        (snapshot / "tokenizer.json").unlink()
        self.assertIsNone(self.cache.find(MODEL))

    def test_nonsense(self) -> None:
        """What leads out of the cache is not followed, whoever says so."""
        snapshot = self.fill()
        reference = snapshot.parents[1] / "refs" / "main"
        for nonsense in (b"../../..", b"", b"\xff\xfe", b"main"):
            reference.write_bytes(nonsense)
            self.assertIsNone(self.cache.find(MODEL))
        for model in (HubModel("../x"), HubModel("org/model", "../../x")):
            self.assertIsNone(self.cache.find(model))

    def test_twice(self) -> None:
        """What has its name keeps it."""
        self.fill()
        self.cache.link(MODEL, COMMIT, "tokenizer.json", "other")
        self.assertIsNotNone(self.cache.find(MODEL))

    def test_without_links(self) -> None:
        """A disk without links has copies."""

        def refuse(*_: Any) -> None:
            raise OSError(1, "no links")

        self.patch(Path, "symlink_to", refuse)
        snapshot = self.fill()
        self.assertEqual("{}", (snapshot / "tokenizer.json").read_text())
        self.assertFalse((snapshot / "tokenizer.json").is_symlink())
        self.assertEqual(["tokenizer.json"], [each.name for each in snapshot.iterdir()])


class AccessTests(SynchronousTestCase):
    """Options and variables."""

    def cache_of(self, *words: str, **environ: str) -> str:
        """Find the cache."""
        return str(hub_cache(load_words(words, {}).configuration, environ).root)

    def access(self, *words: str, **environ: str) -> HubAccess:
        """Find out how the hub is reached."""
        return hub_access(load_words(words, environ).configuration, {"HF_HOME": "/nowhere", **environ})

    def test_cache(self) -> None:
        """Our option comes first, then the variables that the hub's library knows, then its place at home."""
        everything = {"HF_HUB_CACHE": "/a", "HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c", "XDG_CACHE_HOME": "/d"}
        self.assertEqual("/own", self.cache_of("--tokenizers-cache-dir", "/own", **everything))
        for name, place in (
            ("HF_HUB_CACHE", "/a"),
            ("HUGGINGFACE_HUB_CACHE", "/b"),
            ("HF_HOME", "/c/hub"),
            ("XDG_CACHE_HOME", "/d/huggingface/hub"),
        ):
            self.assertEqual(place, self.cache_of(**everything))
            del everything[name]
        self.assertEqual(str(Path("~/.cache/huggingface/hub").expanduser()), self.cache_of())

    def test_access(self) -> None:
        """The endpoint is the public hub's, or what the variable says; it is asked unless the variable forbids it."""
        self.assertEqual(HubAccess("https://huggingface.co", "", offline=False), self.access())
        self.assertEqual("http://mirror", self.access(HF_ENDPOINT="http://mirror/").endpoint)
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            self.assertTrue(self.access(**{name: "1"}).offline)
            self.assertFalse(self.access(**{name: "0"}).offline)

    def test_token(self) -> None:
        """The option comes first, then the variables, then what signing in has left."""
        self.assertEqual("a", self.access("--hf-token", "a", HF_TOKEN="b", HUGGING_FACE_HUB_TOKEN="c").token)
        self.assertEqual("b", self.access(HF_TOKEN="b", HUGGING_FACE_HUB_TOKEN="c").token)
        self.assertEqual("c", self.access(HUGGING_FACE_HUB_TOKEN="c").token)
        home = new_directory(self)
        (home / "token").write_text("d\n")
        self.assertEqual("d", self.access(HF_HOME=str(home)).token)
        self.assertEqual("d", self.access("--hf-token", HF_TOKEN_PATH=str(home / "token")).token)

    def test_datasets(self) -> None:
        """The token goes with addresses of the hub, and with no others."""
        access = HubAccess("https://hub.test", "secret", offline=False)
        self.assertEqual("secret", token_for("https://hub.test/datasets/x", access))
        for url in ("http://hub.test/x", "https://hub.test.evil/x", "https://hub.test:1/x", "https://[/"):
            self.assertEqual("", token_for(url, access))
