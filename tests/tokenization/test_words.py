"""The word tokenizer."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import in_thread
from vllmsim.hashing import fnv1a_32
from vllmsim.inference import Conversation, Message, Tokens
from vllmsim.interfaces import ITokenizer
from vllmsim.tokenization.words import WordTokenizer, split

VECTORS = {
    "I hear it's very cold.": (
        ["I ", "hear ", "it", "'", "s ", "very ", "cold", "."],
        [2062099468, 3265900095, 1194886160, 571247302, 4149321222, 1809349267, 3930381583, 722245873],
    ),
    "Hello world!": (["Hello ", "world", "!"], [2871118705, 933488787, 604802540]),
    "### user: hi\n": (
        ["#", "#", "# ", "user", ": ", "hi\n"],
        [638357778, 638357778, 399020470, 1618501362, 2382766391, 2765235376],
    ),
}
"""Texts with the tokens and ids that llm-d-inference-sim's simulated tokenizer gives them."""


class SplitTests(SynchronousTestCase):
    """Where text is cut."""

    def test_vectors(self) -> None:
        """Text that the original knows is cut and numbered as there."""
        for text, (words, ids) in VECTORS.items():
            self.assertEqual(words, list(split(text)))
            self.assertEqual(ids, [fnv1a_32(word) for word in words])
        self.assertEqual(9, len(list(split('{"location":"NYC"}'))))

    def test_underscores(self) -> None:
        """An underscore is a token of its own only where a token begins."""
        self.assertEqual(["a_b ", "_", "x ", "_", "_", "init__"], list(split("a_b _x __init__")))

    def test_what_the_original_drops(self) -> None:
        """Leading blanks, other scripts, back-ticks, bars and control characters are tokens too."""
        self.assertEqual(
            ["  ", "lead ", "`", "q", "` ", "|", "x ", "\x0b", "caf", "é ", "漢", "字 ", "привет ", "мир ", "🙂", "👍"],
            list(split("  lead `q` |x \x0bcafé 漢字 привет мир 🙂👍")),
        )

    @settings(max_examples=300, deadline=None)
    @given(st.text())
    def test_lossless(self, text: str) -> None:
        """The tokens of any text joined are the text."""
        self.assertEqual(text, "".join(split(text)))


class WordTokenizerTests(SynchronousTestCase):
    """Tokens and texts, there and back."""

    def setUp(self) -> None:
        """Have a tokenizer that remembers eight tokens of forty characters in all."""
        self.threads = 0
        self.tokenizer = WordTokenizer(self.in_thread, 8, 40)

    def in_thread(self, *call: Any) -> Deferred[Tokens]:
        """Count what goes to a thread."""
        self.threads += 1
        result: Deferred[Tokens] = in_thread(*call)
        return result

    def encode(self, text: str, limit: int = 10**9) -> Tokens:
        """Cut a text."""
        tokens: Tokens = self.successResultOf(self.tokenizer.encode(text, limit))
        return tokens

    def decode(self, ids: Sequence[int]) -> str:
        """Join tokens."""
        text: str = self.successResultOf(self.tokenizer.decode(ids))
        return text

    def test_provides(self) -> None:
        """It is a tokenizer."""
        verifyObject(ITokenizer, self.tokenizer)

    def test_there_and_back(self) -> None:
        """Ids give back the text they were made of; those never made give nothing."""
        tokens = self.encode("Grüße, 漢 `x`")
        self.assertEqual("Grüße, 漢 `x`", self.decode(tokens.ids))
        self.assertEqual(("", None), (self.decode([1, 2]), self.tokenizer.text_of(1)))
        self.assertEqual("Gr", self.tokenizer.text_of(tokens.ids[0]))

    def test_limit(self) -> None:
        """Text beyond the limit is not cut, and the result says so; text that just fits is whole."""
        self.assertEqual([2, 3, 3], [len(self.encode("a b c", limit)) for limit in (2, 3, 4)])

    def test_long_text(self) -> None:
        """A long text is cut in a thread."""
        self.encode("a " * 2048)
        self.assertEqual(0, self.threads)
        self.assertEqual(3000, len(self.encode("a " * 3000)))
        self.assertEqual(1, self.threads)

    def test_memory_is_bounded(self) -> None:
        """The oldest tokens are forgotten beyond the bounds; encoding goes on as before."""
        first = self.encode("first ").ids[0]
        many = self.encode(" ".join(f"w{i}" for i in range(20)))
        self.assertIsNone(self.tokenizer.text_of(first))
        self.assertIsNotNone(self.tokenizer.text_of(many.ids[-1]))
        self.assertEqual([first], list(self.encode("first ").ids))
        huge = self.encode("x" * 100)
        self.assertEqual("x" * 100, self.decode(huge.ids))
        self.assertEqual("", self.decode(many.ids))

    def test_colliding_ids(self) -> None:
        """Two texts with one id are both encoded; the later one is what the id gives back."""
        self.assertEqual(fnv1a_32("costarring "[:-1]), fnv1a_32("liquid"))
        tokens = self.encode("costarring-liquid")
        self.assertEqual(tokens.ids[0], tokens.ids[2])
        self.assertEqual("liquid", self.tokenizer.text_of(tokens.ids[0]))
        self.encode(" ".join("abcdefghi"))
        self.assertIsNone(self.tokenizer.text_of(tokens.ids[0]))

    def test_description(self) -> None:
        """It tells what it was made with, and the template it applies."""
        told = self.tokenizer.describe()
        self.assertEqual((8, 40, "WordTokenizer"), (told["max_words"], told["max_characters"], told["tokenizer_class"]))
        self.assertIn("### {{ message['role'] }}", str(told["chat_template"]))

    def test_chat_template(self) -> None:
        """A conversation is rendered a line per message; a tool's answer names its call."""
        conversation = Conversation((Message("user", "hi"), Message("tool", "sunny", "call_1")))
        self.assertEqual(
            "### user: hi\n### tool(call_1): sunny\n", self.successResultOf(self.tokenizer.read(conversation, 99)).text
        )
