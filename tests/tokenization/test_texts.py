"""What each token adds to a text."""

import time
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from twisted.trial.unittest import SynchronousTestCase

from tests.tokenization import small
from tests.tokenization.sentences import ENGLISH
from vllmsim.tokenization.texts import token_texts


def size(tokenizer: Tokenizer) -> int:
    """Count the ids of a vocabulary without holes."""
    return tokenizer.get_vocab_size(with_added_tokens=True)


def ids(tokenizer: Tokenizer) -> st.SearchStrategy[list[int]]:
    """Make ids: any, often those of bytes, and some that mean nothing."""
    whole = st.integers(0, size(tokenizer) + 3)
    first = st.integers(0, 270)
    return st.lists(st.one_of(whole, first, st.integers(-3, 2**70)), max_size=40)


def together(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Join tokens as the package does."""
    known = [token for token in tokens if 0 <= token < size(tokenizer)]
    return tokenizer.decode(known, skip_special_tokens=False) if known else ""


class TextTests(SynchronousTestCase):
    """The texts of all tokens are the text of all, for each family of tokenizers."""

    def assert_same(self, tokenizer: Tokenizer, tokens: Sequence[int]) -> None:
        """Compare with the package."""
        texts = token_texts(tokenizer, size(tokenizer)).of(tokens)
        self.assertEqual(len(tokens), len(texts))
        self.assertEqual(together(tokenizer, tokens), "".join(texts))

    @settings(max_examples=200, deadline=None)
    @given(st.data())
    def test_any(self, data: st.DataObject) -> None:
        """Joined they are what the package makes of the ids, whatever these are."""
        tokenizer = data.draw(st.sampled_from(small.FAMILIES))()
        self.assert_same(tokenizer, data.draw(ids(tokenizer)))

    def test_sentences(self) -> None:
        """Joined they are what the package makes of real text."""
        for family in small.FAMILIES:
            tokenizer = family()
            for text in small.texts(100):
                self.assert_same(tokenizer, tokenizer.encode(text).ids)

    @settings(max_examples=100, deadline=None)
    @given(st.text(), st.text())
    def test_never_cut(self, before: str, after: str) -> None:
        """No token of a text shows a character that cannot be read."""
        tokenizer = small.bpe()
        text = before.replace("\ufffd", "") + "東🎉é" + after.replace("\ufffd", "")
        texts = token_texts(tokenizer, size(tokenizer)).of(tokenizer.encode(text, add_special_tokens=False).ids)
        self.assertNotIn("\ufffd", "".join(texts))

    def test_cut_character(self) -> None:
        """A character that is cut over several tokens belongs to the last of them."""
        tokenizer = small.bpe()
        tokens = tokenizer.encode("🎉", add_special_tokens=False).ids
        self.assertGreater(len(tokens), 1)
        texts = token_texts(tokenizer, size(tokenizer))
        self.assertEqual([*[""] * (len(tokens) - 1), "🎉"], texts.of(tokens))
        self.assertEqual("🎉", "".join(texts.of([*tokens[:1], 10**9, *tokens[1:]])))
        self.assertEqual("\ufffd", texts.of([*tokens[:1], 10**9])[-1])

    def test_added(self) -> None:
        """Tokens that were added say what they are called, whatever characters that has."""
        tokenizer = small.bpe()
        tokens = tokenizer.encode("x né du 東", add_special_tokens=False).ids
        self.assertEqual("né du 東", token_texts(tokenizer, size(tokenizer)).of(tokens)[-1])
        self.assert_same(tokenizer, tokens)

    def test_bytes_that_are_no_text(self) -> None:
        """Tokens for bytes that make no text are characters that cannot be read, one each."""
        tokenizer = small.byte_fallback()
        token = tokenizer.token_to_id("<0xE2>")
        assert token is not None
        self.assertEqual(["\ufffd", "", "\ufffd"], token_texts(tokenizer, size(tokenizer)).of([token, 10**9, token]))

    def test_other_decoders(self) -> None:
        """Where nothing is known of a decoder, or there is none, the last token says it all."""
        tokenizer = Tokenizer(models.BPE({"a": 0, "b</w>": 1, "bb": 2}, []))
        strip = [decoders.Fuse(), decoders.Strip("b", 0, 1)]
        anchored = decoders.Sequence([decoders.Replace("a", "c")])
        for decoder in (None, decoders.BPEDecoder(), decoders.CTC(), decoders.Sequence(strip), anchored):
            if decoder is not None:
                tokenizer.decoder = decoder
            for tokens in ([], [0], [0, 1], [1, 0, 9, 2, 2]):
                self.assert_same(tokenizer, tokens)

    def test_nested_decoders(self) -> None:
        """A decoder may be a sequence of sequences, with or without what comes at the end."""
        tokenizer = Tokenizer(models.BPE({"▁": 0, "▁a": 1, "<0xC3>": 2, "<0xA9>": 3, "": 4}, []))
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 2, 0)]
        for count in range(1, len(steps) + 1):
            tokenizer.decoder = decoders.Sequence([decoders.Sequence(steps[:count])])
            for tokens in ([0, 0, 0, 1], [1, 0], [0, 4, 9, 0, 1], [2, 3, 0], [0, 2, 9, 3, 1], [3, 2, 3]):
                self.assert_same(tokenizer, tokens)

    def test_remembered(self) -> None:
        """Ids that mean nothing take no memory."""
        texts = token_texts(small.bpe(), size(small.bpe()))
        texts.of(range(10_000, 20_000))
        texts.of([1, 2, 1])
        self.assertEqual({1, 2}, set(texts._known))  # type: ignore[attr-defined]

    def test_quick(self) -> None:
        """A million tokens that are known take a moment."""
        tokenizer = small.bpe()
        texts = token_texts(tokenizer, size(tokenizer))
        tokens = tokenizer.encode(ENGLISH).ids * 1000
        texts.of(tokens)
        started = time.perf_counter()
        texts.of(tokens)
        # Five times what it should take, as machines that test are busy.
        self.assertLess((time.perf_counter() - started) / len(tokens), 5e-7)
