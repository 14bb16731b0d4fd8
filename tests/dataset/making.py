"""Datasets for tests."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import in_thread
from vllmsim.dataset.records import TABLE, create_table, hash_ids, insert_row, make_row
from vllmsim.inference import TextPrompt, TokenizedPrompt, Tokens
from vllmsim.tokenization.words import WordTokenizer

Row = tuple[object, object, object]
"""A prompt's hash, what is said, and how many tokens that is, as the columns have it."""


def ids_of(text: str) -> list[int]:
    """Cut a text into words."""
    tokens: Tokens = SynchronousTestCase().successResultOf(WordTokenizer(in_thread).encode(text, len(text)))
    return list(tokens.ids)


def prompt_of(text: str) -> TokenizedPrompt:
    """Make the prompt of a completion."""
    words = SynchronousTestCase().successResultOf(WordTokenizer(in_thread).encode(text, len(text)))
    return TokenizedPrompt(TextPrompt(text), text, words.ids, words.texts)


def row_of(prompt: str, *words: str) -> Row:
    """Make the row of an answer whose tokens are words; their ids count from 100."""
    return make_row(ids_of(prompt), Tokens(range(100, 100 + len(words)), words))


def fill(path: Path | str, rows: Iterable[Row], *statements: str, table: str = TABLE, journal: str = "delete") -> None:
    """Add rows to a database, making it if it is not there.

    :param statements: what else is done.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("BEGIN")
        connection.execute(create_table(table).replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
        connection.executemany(insert_row(table), rows)
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")


def lengths_to_rows(pairs: Iterable[tuple[int, int]]) -> list[Row]:
    """Make rows of so many tokens, for the prompts of one id."""
    return [
        make_row([prompt], Tokens(range(length), [f"{prompt}.{place} " for place in range(length)]))
        for prompt, length in pairs
    ]


def hash_of(prompt: int) -> bytes:
    """Hash a prompt of one id."""
    return hash_ids([prompt])


class DatasetTestCase(SynchronousTestCase):
    """Tests that have a folder with a database."""

    def setUp(self) -> None:
        """Have a folder."""
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.path = self.folder / "conversations.sqlite3"

    def database(self, rows: Iterable[Row] = (), *statements: str, **facts: Any) -> str:
        """Make the database.

        :return: its path.
        """
        fill(self.path, rows, *statements, **facts)
        return str(self.path)

    def files(self) -> set[str]:
        """List what is in the folder."""
        return {each.name for each in self.folder.iterdir()}

    def lock(self) -> sqlite3.Connection:
        """Have another program write to the database, and not come to an end; the test ends it if nothing else does."""
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN EXCLUSIVE")
        return other
