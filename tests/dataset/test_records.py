"""What a row of a dataset is."""

import base64
import hashlib
import sqlite3
import struct
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from vllmsim.dataset.records import (
    COLUMNS,
    BadRecordError,
    Saved,
    create_index,
    create_table,
    decode_answer,
    encode_answer,
    hash_ids,
    hash_texts,
    insert_row,
    make_row,
    quoted,
)
from vllmsim.inference import Conversation, Message, TextPrompt, TokenPrompt, Tokens
from vllmsim.tokenization.words import WordTokenizer


class HashTests(SynchronousTestCase):
    """How a prompt is found."""

    def test_vectors(self) -> None:
        """Token ids are hashed as llm-d-inference-sim does."""
        expected = "4636993d3e1da4e9d6b8f87b79e8f7c6d018580d52661950eabc3845c5897a4d"
        self.assertEqual(expected, hash_ids((1, 2, 3)).hex())
        said = self.successResultOf(WordTokenizer(in_thread).encode("Hello world!", 9))
        expected = "a0ca83f59d3a35d2d2d91a897001017adecf057e105c832014ced6a069335c31"
        self.assertEqual(expected, hash_ids(said.ids).hex())

    def test_long(self) -> None:
        """It makes no difference that long prompts are hashed in pieces."""
        ids = range(10_000)
        self.assertEqual(hashlib.sha256(struct.pack("<10000I", *ids)).digest(), hash_ids(ids))
        self.assertEqual(hashlib.sha256(b"").digest(), hash_ids(()))
        self.assertRaises(struct.error, hash_ids, (2**32,))

    def test_text_vectors(self) -> None:
        """Texts are hashed as the old tool of llm-d-inference-sim does."""
        first = TextPrompt("human q1"), "OZ5Edy+9rw0CsSMabW2TwSxR78jJGYRVRWtz8SXRm6U="
        turns = Message("user", "human q1"), Message("assistant", "gpt a1"), Message("user", "human q2")
        one = Conversation(turns[:1]), "8eh+o90xEiD3eJ7fYJxpr3i1J6H8qx1GYnKpen8Jktg="
        three = Conversation(turns), "J+hRSEBht2WjJ2/4Mq+HfNCWf2VvxHaP11LnwJ7yHWE="
        for prompt, expected in (first, one, three):
            self.assertEqual(expected, base64.b64encode(hash_texts(prompt)[0]).decode())

    def test_texts(self) -> None:
        """A completion may be found as a conversation of one message; a tool is unknown; ids have no text."""
        [chat] = hash_texts(Conversation((Message("user", "hi"),)))
        self.assertEqual([hashlib.sha256(b"hi").digest(), chat], hash_texts(TextPrompt("hi")))
        [tool] = hash_texts(Conversation((Message("tool", "hi", "c1"),)))
        self.assertEqual(hashlib.sha256(b"### unknown:\nhi\n").digest(), tool)
        self.assertEqual([], hash_texts(TokenPrompt((1,))))
        self.assertEqual(1, len(hash_texts(Conversation((Message("user", "\ud800"),)))))


class AnswerTests(SynchronousTestCase):
    """How an answer is written and read."""

    def test_forms(self) -> None:
        """Every form of an answer that there was is read."""
        hi = Saved([7, 8], ["Hi", "!"])
        for text in (
            '{"Tokens":[7,8],"Strings":["Hi","!"]}',
            '{"tokens":[7,8],"strings":["Hi","!"],"more":{}}',
            '{"NUMBERS":[7,8],"Strings":["Hi","!"]}',
        ):
            self.assertEqual(hi, decode_answer(text))
            self.assertEqual(hi, decode_answer(text.encode()))
        self.assertEqual(Saved(None, ["Hi", "!"]), decode_answer('["Hi","!"]'))
        self.assertEqual(Saved(None, ["Hi", "!"]), decode_answer('{"Tokens":null,"Strings":["Hi","!"]}'))
        self.assertEqual(Saved(None, ["Hi", "!"]), decode_answer('{"Tokens":[],"Strings":["Hi","!"]}'))
        self.assertEqual([2, 2], [len(hi), len(Saved(None, ["Hi", "!"]))])

    def test_ids_alone(self) -> None:
        """Texts that are missing, or not as many as ids, are left out."""
        for strings in ("null", "[]", '["Hi"]', '["H","i","!"]'):
            self.assertEqual(Saved([7, 8], None), decode_answer(f'{{"Tokens":[7,8],"Strings":{strings}}}'))
        self.assertEqual(Saved([2**32 - 1], None), decode_answer('{"Tokens":[4294967295]}'))

    def test_bad(self) -> None:
        """What is no answer is told from one, whatever it is."""
        for value, why in (
            (None, "it is empty"),
            (7, "it is no text"),
            ("", "it is not JSON"),
            ('["Hi"', "it is not JSON"),
            (b"\xff", "it is not JSON"),
            ('["\\ud800"]', "it is not JSON"),
            ("[" * 2000, "it is not JSON"),
            ("{}", "it has no tokens"),
            ("[]", "it has no tokens"),
            ("7", "its tokens are not all texts"),
            ('"Hi"', "its tokens are not all texts"),
            ('["Hi", 7]', "its tokens are not all texts"),
            ('{"Strings": {"a": 1}}', "its tokens are not all texts"),
            ('{"Tokens": [true]}', "its token ids"),
            ('{"Tokens": [-1]}', "its token ids"),
            ('{"Tokens": [4294967296]}', "its token ids"),
            ('{"Tokens": [1.0]}', "its token ids"),
            ('{"Tokens": "1"}', "its token ids"),
        ):
            error = self.assertRaises(BadRecordError, decode_answer, value)
            self.assertTrue(str(error).startswith(why), (value, str(error)))

    @given(
        st.lists(st.tuples(st.integers(0, 2**32 - 1), st.text(st.characters(exclude_categories=["Cs"]))), min_size=1)
    )
    def test_round_trip(self, pairs: list[tuple[int, str]]) -> None:
        """What is written is read again."""
        ids, texts = [token for token, _ in pairs], [text for _, text in pairs]
        self.assertEqual(Saved(ids, texts), decode_answer(encode_answer(Tokens(ids, texts))))


class TableTests(SynchronousTestCase):
    """How a dataset is made."""

    def test_table(self) -> None:
        """A table of any name takes rows, and has the columns that a dataset must have."""
        for name in ("llmd", 'a "b"; DROP TABLE x --', "select"):
            with closing(sqlite3.connect(":memory:")) as connection:
                connection.execute(create_table(name))
                connection.execute(insert_row(name), make_row((1, 2, 3), Tokens((7, 8), ("Hi", "!"))))
                connection.execute(create_index(name))
                [row] = connection.execute(f"SELECT * FROM {quoted(name)}")  # noqa: S608 - quoted
                self.assertEqual((1, hash_ids((1, 2, 3)), '{"Tokens":[7,8],"Strings":["Hi","!"]}', 2), row)
                columns = connection.execute("SELECT name, type FROM pragma_table_info(?)", [name])
                self.assertEqual(COLUMNS, dict(columns))
