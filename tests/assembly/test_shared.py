"""What ranks share."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.commandline import load_words
from tests.fakes import in_thread
from vllmsim.assembly.shared import build_shared
from vllmsim.clocks.clocks import Clocks
from vllmsim.dataset.echo import EchoSource
from vllmsim.dataset.encoder import EncoderSource
from vllmsim.dataset.sentences import SentenceSource
from vllmsim.interfaces import IResponseSource, ITokenizer


class SharedTests(SynchronousTestCase):
    """What a configuration asks for."""

    def test_sources(self) -> None:
        """Answers are sentences, echoes, or nothing but exclamation marks."""
        for words, expected in (
            ((), SentenceSource),
            (("--mode", "echo"), EchoSource),
            (("--mm-encoder-only",), EncoderSource),
        ):
            shared = build_shared(load_words(words, {}).configuration, Clocks.same(Clock()), in_thread)
            self.assertIsInstance(shared.source, expected)
            verifyObject(IResponseSource, shared.source)
            verifyObject(ITokenizer, shared.tokenizer)
            self.successResultOf(shared.close())
