"""The word embedder."""

import math
import subprocess
import sys
from collections.abc import Sequence
from operator import mul
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import in_thread
from vllmsim.embedding import WordEmbedder
from vllmsim.interfaces import IEmbedder
from vllmsim.tokenization.words import split

TEXTS = st.lists(st.one_of(st.text(), st.integers(0, 2**32 - 1)), max_size=30)
SIZES = st.one_of(st.integers(1, 70), st.sampled_from([383, 384, 1023, 1024, 1025, 1536, 2048, 3000, 65536]))
WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=8)


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Compare two vectors of length one."""
    return float(sum(map(mul, first, second)))


class EmbedderTestCase(SynchronousTestCase):
    """Tests that embed."""

    def setUp(self) -> None:
        """Have an embedder, and count what goes to a thread."""
        self.threads = 0
        self.embedder = WordEmbedder(self.in_thread)

    def in_thread(self, *call: Any) -> Deferred[Any]:
        """Count a call."""
        self.threads += 1
        return in_thread(*call)

    def embed(self, tokens: Sequence[str | int], dimensions: int = 384) -> Sequence[float]:
        """Embed tokens."""
        return self.successResultOf(self.embedder.embed(tokens, dimensions))

    def compare(self, first: str, *others: str) -> Sequence[float]:
        """Compare a text with others."""
        return self.successResultOf(self.embedder.compare(list(split(first)), [list(split(each)) for each in others]))


class VectorTests(EmbedderTestCase):
    """What holds for every text and every length."""

    def test_provides(self) -> None:
        """It is an embedder."""
        verifyObject(IEmbedder, self.embedder)

    @settings(max_examples=200, deadline=None)
    @given(TEXTS, SIZES)
    def test_unit_length(self, tokens: list[str | int], dimensions: int) -> None:
        """Every vector has the length one, as far as 32-bit floats go, and as many numbers as are asked for."""
        vector = self.embed(tokens, dimensions)
        self.assertEqual(dimensions, len(vector))
        self.assertApproximates(1.0, math.sqrt(cosine(vector, vector)), 1e-6)

    @settings(max_examples=100, deadline=None)
    @given(TEXTS, SIZES)
    def test_again(self, tokens: list[str | int], dimensions: int) -> None:
        """The same text has the same vector, from any embedder."""
        other = self.successResultOf(WordEmbedder(in_thread).embed(tokens, dimensions))
        self.assertEqual(list(self.embed(tokens, dimensions)), list(other))

    @settings(max_examples=100, deadline=None)
    @given(st.sets(WORDS, min_size=12, max_size=12), st.integers(1, 4))
    def test_shared_words(self, words: set[str], shared: int) -> None:
        """A text is closer to one that shares some of its four words than to one that shares none."""
        many = sorted(words)
        text, other = many[:4], many[8:]
        sharing = [*many[:shared], *many[4 : 8 - shared]]
        vector = self.embed(text, 2048)
        self.assertGreater(cosine(vector, self.embed(sharing, 2048)), cosine(vector, self.embed(other, 2048)))

    @settings(max_examples=50, deadline=None)
    @given(TEXTS, st.integers(1, 4000), st.integers(1, 4000))
    def test_matryoshka(self, tokens: list[str | int], first: int, second: int) -> None:
        """A shorter vector is the beginning of a longer one, but for the length."""
        short, long = sorted((first, second))
        beginning = self.embed(tokens, long)[:short]
        length = math.sqrt(cosine(beginning, beginning))
        assume(length > 1e-3)
        for expected, number in zip(beginning, self.embed(tokens, short), strict=True):
            self.assertApproximates(expected / length, number, 1e-5)

    @settings(max_examples=100, deadline=None)
    @given(TEXTS, st.permutations(range(30)))
    def test_order(self, tokens: list[str | int], order: list[int]) -> None:
        """The order of words does not count."""
        turned = [tokens[position] for position in order if position < len(tokens)]
        self.assertEqual(list(self.embed(tokens, 64)), list(self.embed(turned, 64)))


class WordTests(EmbedderTestCase):
    """What a word is."""

    def test_elsewhere(self) -> None:
        """Another process computes the same numbers, and so did the first release."""
        program = (
            "from vllmsim.embedding import WordEmbedder\n"
            "print(list(WordEmbedder(None).embed(['Hello ', 'world'], 1025).result[:4]))"
        )
        root = Path(__file__).parents[1]
        output = subprocess.run([sys.executable, "-c", program], cwd=root, check=True, capture_output=True).stdout
        numbers = list(self.embed(["Hello ", "world"], 1025)[:4])
        self.assertEqual(numbers, eval(output))  # noqa: S307 - a list of numbers
        for expected, number in zip((-0.06029, -0.02157, -0.05497, 0.0), numbers, strict=True):
            self.assertApproximates(expected, number, 0.00001)

    def test_case_and_blanks(self) -> None:
        """Case and the blanks around a token do not count; how often a word occurs does."""
        self.assertEqual(self.embed(["Hello ", " ", "WORLD\n"]), self.embed(["world", "hello"]))
        self.assertNotEqual(self.embed(["a", "b"]), self.embed(["a", "b", "b"]))
        self.assertEqual(self.embed(["a", "a", "b"]), self.embed(["a", "a", "a", "b"]))

    def test_punctuation(self) -> None:
        """Punctuation counts only where there is nothing else."""
        self.assertEqual(self.embed(["hi", "!"]), self.embed(["hi"]))
        self.assertNotEqual(self.embed(["!"]), self.embed(["?"]))

    def test_empty(self) -> None:
        """A text without words has a vector of its own, which is not that of any word."""
        self.assertEqual(self.embed([]), self.embed([" ", "\n"]))
        self.assertLess(abs(cosine(self.embed([]), self.embed(["a"]))), 0.3)

    def test_ids(self) -> None:
        """An id is a word that no text is."""
        self.assertEqual(self.embed([7, 8]), self.embed([8, 7]))
        self.assertNotEqual(self.embed([7]), self.embed(["7"]))
        self.assertNotEqual(self.embed([7]), self.embed(["#7"]))

    def test_words_that_cancel_out(self) -> None:
        """Words whose directions add up to nothing have the vector of the empty text."""
        signs = {word: self.embed([word], 1)[0] for word in "abcdefghijklmnop"}
        up = [word for word, sign in signs.items() if sign > 0]
        self.assertTrue(0 < len(up) < 16)
        empty = self.embed([], 1)[0]
        sums = {self.embed([first, second], 1)[0] for first in signs for second in signs}
        self.assertEqual({1.0, -1.0}, sums | {empty})

    def test_long_words(self) -> None:
        """Long words are words too, told apart to the end."""
        self.assertEqual(self.embed(["x" * 100_000]), self.embed(["X" * 100_000]))
        self.assertNotEqual(self.embed(["x" * 100_000]), self.embed(["x" * 99_999]))

    def test_many_words(self) -> None:
        """A text of more words than count has a vector all the same."""
        vector = self.embed(range(70_000), 8)
        self.assertEqual(vector, self.embed(range(1 << 16), 8))
        self.assertApproximates(1.0, cosine(vector, vector), 1e-6)


class CompareTests(EmbedderTestCase):
    """Scores."""

    def test_scores(self) -> None:
        """The same words score 1, no common word 0, and a common one something between."""
        self.assertEqual([1.0, 0.5, 0.0], list(self.compare("The cat", "the CAT!", "the dog", "A bird.")))
        self.assertEqual([1.0, 0.0], list(self.compare("", " ", "a")))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(WORDS, min_size=1, max_size=40), st.lists(WORDS, min_size=1, max_size=40))
    def test_cosine(self, first: list[str], second: list[str]) -> None:
        """A score is from 0 to 1, the same both ways, and about the cosine of long vectors."""
        [score] = self.successResultOf(self.embedder.compare(first, [second]))
        self.assertTrue(0 <= score <= 1)
        self.assertEqual([score], self.successResultOf(self.embedder.compare(second, [first])))
        self.assertApproximates(score, cosine(self.embed(first, 1024), self.embed(second, 1024)), 0.2)


class ThreadTests(EmbedderTestCase):
    """What is computed where."""

    def test_short(self) -> None:
        """A sentence is embedded and compared on the spot."""
        self.embed([f"word{number}" for number in range(20)])
        self.embed([f"word{number}" for number in range(20)], 65536)
        self.compare("a b c", *["d e f"] * 20)
        self.assertEqual(0, self.threads)

    def test_long(self) -> None:
        """Long texts are embedded and compared in a thread."""
        self.embed([f"word{number}" for number in range(1000)])
        self.assertEqual(1, self.threads)
        self.compare("a b c " * 200, *["d e f"] * 20)
        self.assertEqual(2, self.threads)
