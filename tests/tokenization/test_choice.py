"""Which tokenizer the configuration asks for."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.downloading.fakeweb import new_directory
from tests.tokenization.fakehub import COMMIT
from vllmsim.tokenization.choice import Choice, choose
from vllmsim.tokenization.hub.cache import HubCache, HubModel


class ChoiceTests(SynchronousTestCase):
    """The option first, then the model."""

    def setUp(self) -> None:
        """Make a folder with a tokenizer."""
        self.folder = new_directory(self)
        (self.folder / "tokenizer.json").write_text("{}")
        self.environ = {"HF_HUB_CACHE": str(self.folder / "cache")}

    def choose(self, *words: str) -> Choice:
        """Choose for the words of a command line."""
        return choose(load_words(words, {}).configuration, self.environ)

    def test_names(self) -> None:
        """Tokenizers with names are chosen by them, whatever the model is."""
        for kind in ("words", "builtin", "remote"):
            self.assertEqual(kind, self.choose(str(self.folder), "--tokenizer", kind).kind)

    def test_path(self) -> None:
        """A path is the tokenizer's own, a file or a folder."""
        for path in (self.folder, self.folder / "tokenizer.json"):
            self.assertEqual(Choice("path", path), self.choose("--tokenizer", str(path)))

    def test_model(self) -> None:
        """Without the option it is the model's, if that is here; a name is never looked for elsewhere."""
        self.assertEqual(Choice("path", self.folder), self.choose(str(self.folder)))
        for model in (
            "Qwen/Qwen3-0.6B",
            "/no/such",
            "~no-user-has-this-name/x",
            str(self.folder / "cache"),
            "x" * 5000,
        ):
            self.assertEqual(Choice("words"), self.choose(model))

    def test_forced(self) -> None:
        """The words can be forced."""
        words = (str(self.folder), "--tokenizer", str(self.folder), "--force-dummy-tokenizer")
        self.assertEqual(Choice("words"), self.choose(*words))

    def test_hub(self) -> None:
        """A model of the hub is what must be downloaded, until it is in the cache."""
        self.assertEqual(Choice("hub", model=HubModel("org/model")), self.choose("--tokenizer", "org/model"))
        cache = HubCache(self.folder / "cache")
        cache.blob(HubModel("org/model"), "t").parent.mkdir(parents=True)
        cache.blob(HubModel("org/model"), "t").touch()
        cache.link(HubModel("org/model"), COMMIT, "tokenizer.json", "t")
        cache.note_commit(HubModel("org/model"), COMMIT)
        snapshot = self.folder / "cache" / "models--org--model" / "snapshots" / COMMIT
        self.assertEqual(Choice("path", snapshot), self.choose("--tokenizer", "org/model"))

    def test_revision(self) -> None:
        """The tokenizer has a revision of its own, or the model's if it is the model's tokenizer."""
        for words, revision in (
            (("--tokenizer-revision", "a", "--revision", "b", "--model", "org/model"), "a"),
            (("--revision", "b", "--model", "org/model"), "b"),
            (("--revision", "b", "--model", "other"), "main"),
        ):
            choice = self.choose("--tokenizer", "org/model", *words)
            self.assertEqual(Choice("hub", model=HubModel("org/model", revision)), choice)

    def test_gone(self) -> None:
        """A path that has gone since the configuration was read is an error."""
        configuration = load_words(("--tokenizer", str(self.folder / "tokenizer.json")), {}).configuration
        (self.folder / "tokenizer.json").unlink()
        self.assertRaises(ValueError, choose, configuration, self.environ)
