"""What a distant vocabulary is known to have."""

from twisted.trial.unittest import SynchronousTestCase

from tests.tokenization.fakerender import Kind, strings, tokenizer_of
from vllmsim.tokenization.render.spelling import Spellings

TEXT = "H\u00e9, w\u00f6rld! \u4f60\u597d  \U0001f600 x"


class SpellingTests(SynchronousTestCase):
    """Spellings and texts."""

    def test_read(self) -> None:
        """Spellings of bytes, and of marked blanks, become the text, in any script."""
        kinds: tuple[Kind, ...] = ("bytes", "blanks")
        for kind in kinds:
            tokenizer, spellings = tokenizer_of(kind), Spellings()
            for text in (TEXT, *strings(20)):
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                pieces = [str(tokenizer.id_to_token(each)) for each in ids]
                if not spellings.readable:
                    self.assertTrue(spellings.learn(text, ids, pieces))
                spellings.remember(ids, pieces)
                self.assertTrue(spellings.know(ids))
                self.assertEqual(text, "".join(spellings.texts_of(ids)))
                self.assertEqual(pieces, spellings.pieces_of(ids))

    def test_plain(self) -> None:
        """Spellings may be the text itself."""
        spellings = Spellings()
        self.assertTrue(spellings.learn("a b", [7, 8], ["a ", "b"]))
        self.assertEqual(["b", "a "], spellings.texts_of([8, 7]))

    def test_unreadable(self) -> None:
        """If no way to read spellings gives the text back, it is not known what tokens say."""
        spellings = Spellings()
        self.assertFalse(spellings.learn("A B", [7, 8], ["a", "b"]))
        self.assertFalse(spellings.readable)
        spellings.remember([7], ["a"])
        self.assertFalse(spellings.know([7]))
        self.assertEqual(["a", ""], spellings.texts_of([7, 8]))
        self.assertEqual(("a", None), (spellings.text_of(7), spellings.text_of(8)))

    def test_new(self) -> None:
        """Tokens that come later are known then, and what is spelled otherwise now is so."""
        spellings = Spellings()
        spellings.learn("a ", [7], ["a "])
        self.assertFalse(spellings.know([7, 8]))
        self.assertEqual(["a ", ""], spellings.texts_of([7, 8]))
        spellings.remember([8], ["b"])
        self.assertEqual(["a ", "b"], spellings.texts_of([7, 8]))
        spellings.remember([8], ["c"])
        self.assertEqual(["a ", "c"], spellings.texts_of([7, 8]))

    def test_bound(self) -> None:
        """So many are remembered and no more."""
        spellings = Spellings(max_tokens=10)
        for number in range(100):
            spellings.remember([number], [str(number)])
            self.assertEqual(str(number), spellings.text_of(number))
            self.assertLessEqual(len(spellings._pieces), 10)
        for number in range(10):
            spellings.remember([number], ["x" * (1 << 23)])
        self.assertLessEqual(spellings._characters, 5 << 23)
