"""Which tokenizer a configuration gets."""

from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.commandline import load_words
from tests.fakes import in_thread
from tests.tokenization.small import bpe, write_folder
from vllmsim.assembly.tokenizing import make_tokenizer
from vllmsim.clocks.clocks import Clocks
from vllmsim.interfaces import ITokenizer


class TokenizingTests(SynchronousTestCase):
    """From options to tokenizers."""

    def setUp(self) -> None:
        """Have a model's folder, and a cache with nothing in it."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        write_folder(str(self.folder), bpe(), chat_template="of the folder")
        self.environ = {"HF_HOME": str(self.folder / "cache"), "HF_HUB_OFFLINE": "1"}

    def make(self, *words: str) -> ITokenizer:
        """Read a command line, and make its tokenizer."""
        tokenizer = make_tokenizer(
            load_words(words, {}).configuration, self.environ, Clocks.same(MemoryReactorClock()), in_thread
        )
        verifyObject(ITokenizer, tokenizer)
        self.successResultOf(self.close(tokenizer))
        return tokenizer

    async def close(self, tokenizer: ITokenizer) -> None:
        """Close a tokenizer."""
        await tokenizer.close()

    def test_kinds(self) -> None:
        """The dummy is what one gets unless the model is a folder, or another is asked for."""
        folder = str(self.folder)
        for words, size in (
            ((), 2**32),
            (("--model", "org/model"), 2**32),
            (("--tokenizer", "words", "--model", folder), 2**32),
            (("--tokenizer", folder, "--force-dummy-tokenizer"), 2**32),
            (("--model", folder), 702),
            (("--tokenizer", folder), 702),
            (("--tokenizer", f"{folder}/tokenizer.json"), 702),
            (("--tokenizer", "builtin", "--model", folder), 8192),
        ):
            self.assertEqual(size, self.make(*words).vocabulary_size, words)

    def test_remote(self) -> None:
        """A render service is not asked anything before there is a prompt."""
        reactor = MemoryReactorClock()
        words = ("--tokenizer", "remote", "--render-url", "http://127.0.0.1:9")
        tokenizer = make_tokenizer(load_words(words, {}).configuration, self.environ, Clocks.same(reactor), in_thread)
        verifyObject(ITokenizer, tokenizer)
        self.assertEqual([], reactor.tcpClients)
        self.successResultOf(self.close(tokenizer))

    def test_template(self) -> None:
        """The chat template is the folder's unless another is given."""
        self.assertEqual("of the folder", self.make("--model", str(self.folder)).describe()["chat_template"])
        given = self.make("--tokenizer", "builtin", "--chat-template", "{{ messages }}")
        self.assertEqual("{{ messages }}", given.describe()["chat_template"])

    def test_missing(self) -> None:
        """What is not there ends the start with a reason."""
        (self.folder / "tokenizer.json").write_text("{}")
        for words, reason in (
            (("--tokenizer", "org/model"), "not in the hub's cache"),
            (("--model", str(self.folder)), "cannot use the tokenizer"),
        ):
            with self.assertRaisesRegex(SystemExit, reason):
                self.make(*words)
