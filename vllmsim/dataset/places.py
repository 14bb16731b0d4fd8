# -*- test-case-name: tests.dataset.test_places -*-
"""Which row answers a prompt: chosen by chance in a few steps, however many rows there are.

A row has a place: rows that are shorter come first, and of those that are equally long the one with the lower number.
So all rows of some length, or up to it, are a stretch of places, from which one is drawn; and so are the rows of one
prompt, in a list of places sorted by the hash of the prompt and then by place.

The lists are arrays of 24 bytes a row in all. What is drawn depends on the rows and the generator alone, wherever the
lists come from.
"""

import random
import sqlite3
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from attrs import frozen

from vllmsim.dataset.records import quoted

_LONGEST: Final = 2**32 - 1
"""Rows that claim to be longer are taken to be as long."""
_KEY: Final = 8
"""How many bytes of a hash are kept; whoever reads the row compares the rest."""
_HASH: Final = 32
_ROWS: Final = 4096
"""How many rows are read at a time."""


@frozen(eq=False)
class Choice:
    """A row that was drawn.

    :param number: the row's, as SQLite counts.
    :param prompt_hash: the hash under which it was found, if the first bytes of its own do not deceive; None for a row
        that answers another prompt.
    """

    number: int
    prompt_hash: bytes | None


@frozen(eq=False)
class Places:
    """Where each row of a table is.

    :param numbers: of each place, the row's number.
    :param lengths: of each place, how many tokens the row has; never fewer than at the place before.
    :param keys: the first bytes of each prompt's hash, as a number; never less than the one before.
    :param places: for each key, the place of its row; those of equal keys ascend.
    """

    numbers: "array[int]"
    lengths: "array[int]"
    keys: "array[int]"
    places: "array[int]"

    def __len__(self) -> int:
        return len(self.numbers)

    def choose(self, hashes: Iterable[bytes], least: int, most: int, generator: random.Random) -> Choice | None:
        """Draw a row.

        Of the rows of the prompt it is one whose length is in range; if there is none, a longer one, which is to be
        cut; if there is none either, a shorter one. Of the rest it is one whose length is in range, else any.

        :param hashes: the prompt may have each of them; the first that any row has counts, and no
            further one is asked for.
        :param least: the fewest tokens that it should have.
        :param most: the most.
        :return: None if there are no rows.
        """
        if not self.numbers:
            return None
        first = bisect_left(self.lengths, least)
        last = bisect_right(self.lengths, most, first)
        for each in hashes:
            key = int.from_bytes(each[:_KEY], "big")
            start = bisect_left(self.keys, key)
            stop = bisect_right(self.keys, key, start)
            if start < stop:
                low = bisect_left(self.places, first, start, stop)
                high = bisect_left(self.places, last, low, stop)
                if low == high:
                    low, high = (high, stop) if high < stop else (start, low)
                return Choice(self.numbers[self.places[generator.randrange(low, high)]], each)
        return self.choose_other(least, most, generator)

    def choose_other(self, least: int, most: int, generator: random.Random) -> Choice:
        """Draw a row whatever prompt it answers; there must be one."""
        first = bisect_left(self.lengths, least)
        last = bisect_right(self.lengths, most, first)
        if first == last:
            first, last = 0, len(self.numbers)
        return Choice(self.numbers[generator.randrange(first, last)], None)


def find_places(connection: sqlite3.Connection, table: str, tell: Callable[[float], object] | None = None) -> Places:
    """Go through a table once. Rows that have no tokens are left out.

    What takes long here is done by SQLite, which lets other threads run.

    :param connection: in autocommit mode; it may be one that can only read.
    :param tell: is told now and then how much of the table is done, from 0 to 1; None if an index has all that is
        read, since it is quick then.
    :raises sqlite3.Error: when the table cannot be read.
    """
    execute = connection.execute
    execute("PRAGMA temp_store = MEMORY")
    execute("CREATE TEMP TABLE found (number INTEGER PRIMARY KEY, length, hash)")
    try:
        _gather(connection, table, tell)
        execute("CREATE TEMP TABLE placed (place INTEGER PRIMARY KEY, number, length, key)")
        execute(
            "INSERT INTO placed (number, length, key)"  # noqa: S608 - only numbers of ours
            f" SELECT number, min(length, {_LONGEST}),"
            " hash FROM found WHERE length > 0 ORDER BY length, number"
        )
        numbers, lengths, keys, places = array("q"), array("I"), array("Q"), array("I")
        for some in _runs(execute("SELECT number, length FROM placed ORDER BY place")):
            more_numbers, more_lengths = zip(*some, strict=True)
            numbers.extend(more_numbers)
            lengths.extend(more_lengths)
        for some in _runs(execute("SELECT key, place - 1 FROM placed WHERE key IS NOT NULL ORDER BY key, place")):
            more_keys, more_places = zip(*some, strict=True)
            keys.frombytes(b"".join(more_keys))
            places.extend(more_places)
    finally:
        execute("DROP TABLE IF EXISTS temp.placed")
        execute("DROP TABLE temp.found")
    if sys.byteorder == "little":
        keys.byteswap()
    return Places(numbers, lengths, keys, places)


def _gather(connection: sqlite3.Connection, table: str, tell: Callable[[float], object] | None) -> None:
    """Copy what is looked for."""
    name = f"main.{quoted(table)}"
    # Of what is something else nothing is read: it may be as large as the file.
    length = "CASE WHEN typeof(n_gen_tokens) = 'integer' THEN n_gen_tokens END"
    is_hash = f"typeof(prompt_hash) = 'blob' AND length(prompt_hash) = {_HASH}"
    copy = (
        f"INSERT INTO found (number, length, hash) SELECT _rowid_, {length},"  # noqa: S608 - quoted, and ours
        f" CASE WHEN {is_hash} THEN substr(prompt_hash, 1, {_KEY}) END FROM {name}"
    )
    if tell is None:
        connection.execute(copy)
        return
    [(first, last)] = connection.execute(
        f"SELECT (SELECT min(_rowid_) FROM {name}), (SELECT max(_rowid_) FROM {name})"  # noqa: S608 - quoted
    )
    if first is None:
        return
    done = first - 1
    while True:
        cursor = connection.execute(f"{copy} WHERE _rowid_ > ? ORDER BY _rowid_ LIMIT {_ROWS}", [done])
        if cursor.rowcount < _ROWS:
            return
        done = cursor.lastrowid
        tell((done - first) / max(1, last - first))


def _runs(cursor: sqlite3.Cursor) -> Iterator[list[Any]]:
    """Read rows, many at a time."""
    while some := cursor.fetchmany(_ROWS):
        yield some
