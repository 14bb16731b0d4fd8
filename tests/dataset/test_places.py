"""Which row answers a prompt."""

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dataset.making import Row, hash_of, lengths_to_rows
from vllmsim.dataset.places import Places, find_places
from vllmsim.dataset.records import create_index, create_table, insert_row


def places_of(rows: Sequence[Row], *, table: str = "llmd", indexed: bool = False) -> Places:
    """Go through a table in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(create_table(table).replace(" NOT NULL", ""))
        connection.executemany(insert_row(table), rows)
        if indexed:
            connection.execute(create_index(table))
        return find_places(connection, table, None if indexed else lambda _: None)


class Reference:
    """The rules of the choice, over a list."""

    def __init__(self, pairs: Sequence[tuple[int, int]]) -> None:
        self.rows = sorted((length, number, prompt) for number, (prompt, length) in enumerate(pairs, 1))

    def choose(self, prompts: Sequence[int], least: int, most: int, generator: random.Random) -> tuple[int, int | None]:
        """Draw a row: its number, and the prompt that it answers."""
        for prompt in prompts:
            own = [row for row in self.rows if row[2] == prompt]
            good = [row for row in own if least <= row[0] <= most]
            longer = [row for row in own if row[0] > most]
            if own:
                return generator.choice(good or longer or own)[1], prompt
        good = [row for row in self.rows if least <= row[0] <= most]
        return generator.choice(good or self.rows)[1], None


PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), min_size=1, max_size=20)


class ChoiceTests(SynchronousTestCase):
    """What is drawn."""

    @settings(deadline=None)
    @given(PAIRS, st.lists(st.integers(0, 5), max_size=3), st.integers(0, 10), st.integers(1, 10), st.integers(0, 99))
    def test_reference(
        self, pairs: list[tuple[int, int]], prompts: list[int], least: int, most: int, seed: int
    ) -> None:
        """Every choice is the one that the rules make over a list, with the same generator."""
        least = min(least, most)
        places = places_of(lengths_to_rows(pairs), indexed=seed % 2 == 0)
        choice = places.choose(map(hash_of, prompts), least, most, random.Random(seed))
        assert choice is not None
        number, prompt = Reference(pairs).choose(prompts, least, most, random.Random(seed))
        expected = (number, None if prompt is None else hash_of(prompt))
        self.assertEqual(expected, (choice.number, choice.prompt_hash))

    def drawn(self, places: Places, prompts: Sequence[int], least: int, most: int) -> set[int]:
        """Draw often."""
        choices = [places.choose(map(hash_of, prompts), least, most, random.Random(seed)) for seed in range(200)]
        return {choice.number for choice in choices if choice}

    def test_own(self) -> None:
        """Of a prompt's rows those in range are drawn, else longer ones, else shorter ones; all of them at times."""
        places = places_of(lengths_to_rows([(1, 2), (1, 3), (1, 5), (1, 5), (1, 8), (2, 4), (2, 9)]))
        self.assertEqual({1, 2, 3, 4}, self.drawn(places, [1], 0, 5))
        self.assertEqual({3, 4}, self.drawn(places, [1], 5, 5))
        self.assertEqual({3, 4, 5}, self.drawn(places, [1], 4, 4))
        self.assertEqual({1, 2, 3, 4, 5}, self.drawn(places, [1], 9, 9))
        self.assertEqual({1, 2, 3, 4, 5}, self.drawn(places, [1], 0, 1))
        self.assertEqual({2}, self.drawn(places, [1], 3, 4))

    def test_others(self) -> None:
        """Without rows of its own a prompt gets any in range, else any at all."""
        places = places_of(lengths_to_rows([(1, 2), (1, 3), (2, 5), (3, 8)]))
        self.assertEqual({1, 2, 3}, self.drawn(places, [7], 0, 5))
        self.assertEqual({3}, self.drawn(places, [], 5, 5))
        self.assertEqual({1, 2, 3, 4}, self.drawn(places, [7], 4, 4))
        self.assertEqual({1, 2, 3, 4}, self.drawn(places, [7], 0, 1))

    def test_first_hash(self) -> None:
        """Of several hashes the first that is there counts, and those behind it are not computed."""
        places = places_of(lengths_to_rows([(1, 2), (2, 2)]))

        def hashes() -> object:
            yield from (hash_of(7), hash_of(2))
            raise AssertionError("one too many")

        choice = places.choose(hashes(), 0, 9, random.Random(1))  # type: ignore[arg-type]
        assert choice is not None
        self.assertEqual((2, hash_of(2)), (choice.number, choice.prompt_hash))

    def test_empty(self) -> None:
        """From nothing nothing is drawn."""
        self.assertIsNone(places_of([]).choose([hash_of(1)], 0, 9, random.Random(1)))
        self.assertEqual(0, len(places_of([], indexed=True)))


class FindTests(SynchronousTestCase):
    """What is taken from a table."""

    def test_odd_rows(self) -> None:
        """Rows without tokens are left out; those with an odd hash answer other prompts only."""
        good = hash_of(1)
        rows: list[Row] = [
            (good, "x", 3), (good, "x", 0), (good, "x", -1), (good, "x", None), (good, "x", "many"), (good, "x", 2.5),
            (None, "x", 4), (good[:31], "x", 5), (good + b"x", "x", 6), ("f" * 32, "x", 7), (good, "x", 2**40),
        ]  # fmt: skip
        for indexed in (False, True):
            places = places_of(rows, indexed=indexed)
            self.assertEqual([1, 7, 8, 9, 10, 11], list(places.numbers))
            self.assertEqual([3, 4, 5, 6, 7, 2**32 - 1], list(places.lengths))
            self.assertEqual(([int.from_bytes(good[:8], "big")] * 2, [0, 5]), (list(places.keys), list(places.places)))

    def test_many(self) -> None:
        """Tables of any size are gone through in pieces, which are told of, and with any name."""
        shares: list[float] = []
        name = 'a "b"'
        rows = lengths_to_rows([(number % 7, number % 11 + 1) for number in range(10_000)])
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.execute(create_table(name))
            connection.executemany(insert_row(name), rows)
            connection.execute('DELETE FROM "a ""b""" WHERE id BETWEEN 3000 AND 4000')
            connection.execute('UPDATE "a ""b""" SET id = -7 WHERE id = 9000')
            found = find_places(connection, name, shares.append)
            self.assertEqual([], connection.execute("SELECT name FROM sqlite_temp_master").fetchall())
        expected = sorted(
            (number % 11 + 1, -7 if number == 8999 else number + 1)
            for number in range(10_000)
            if not 2999 <= number < 4000
        )
        self.assertEqual(expected, list(zip(found.lengths, found.numbers, strict=True)))
        self.assertEqual(sorted(found.keys), list(found.keys))
        self.assertEqual(2, len(shares))
        self.assertTrue(0 < shares[0] < shares[1] < 1, shares)

    def test_left_nothing(self) -> None:
        """A table that cannot be read leaves nothing behind."""
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.execute("CREATE TABLE llmd (id INTEGER)")
            self.assertRaises(sqlite3.OperationalError, find_places, connection, "llmd")
            self.assertEqual([], connection.execute("SELECT name FROM sqlite_temp_master").fetchall())
