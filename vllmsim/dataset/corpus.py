# -*- test-case-name: tests.dataset.test_corpus -*-
"""The answers of one table, ready to be drawn: the database that has them, and where each of them is.

Nothing here is asynchronous: it runs in threads, one at a time for each corpus.
"""

import random
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import define, field, frozen

from vllmsim.dataset.database import DatasetError, DatasetLockedError, Stamp, connect, told_of, verify
from vllmsim.dataset.effort import Effort
from vllmsim.dataset.places import Choice, Places, find_places
from vllmsim.dataset.records import LONGEST_ANSWER, BadRecordError, Saved, create_index, decode_answer, quoted
from vllmsim.dataset.sidefile import load_places, save_places

PATIENCE: Final = 0.05
"""Seconds to wait for a lock: for others to write a few rows, and not for more."""
_SMALL: Final = 1 << 20
"""Bytes of a database that is gone through anew each time, as that takes some milliseconds."""
_PAGES: Final = 4096
"""How many are read into memory at a time."""

Tell = Callable[[float], object]
"""Is told how much is done, from 0 to 1."""


@frozen(eq=False)
class Found:
    """What a lookup found.

    :param saved: what to say; None if the table is empty, or the file has changed and the row is gone or bad.
    :param hit: whether it answers this prompt.
    :param current: whether the file is still as it was when it was opened.
    """

    saved: Saved | None
    hit: bool
    current: bool


@define(eq=False)
class Corpus:
    """An open dataset.

    :param stamp: how the file was when it was opened.
    :param places: where the rows are.
    :param unkept: why the places cannot be kept beside the database, if they should be: each start takes long then.
    :param watched: whether the file is looked at at each lookup.
    """

    path: str
    table: str
    stamp: Stamp
    places: Places
    unkept: str | None
    watched: bool
    _connection: sqlite3.Connection
    _effort: Effort
    _failure: DatasetError | None = field(init=False, default=None)

    @property
    def advice(self) -> str:
        """What makes the next start quick where the places cannot be kept."""
        return create_index(self.table)

    def find(self, hashes: Iterable[bytes], least: int, most: int, generator: random.Random) -> Found:
        """Draw an answer; see :meth:`vllmsim.dataset.places.Places.choose`.

        What can be read no more is not tried again, as all who wait would wait for its lock one after the other.

        :raises BadRecordError: when a row cannot be read.
        :raises DatasetLockedError: when the file is locked.
        :raises DatasetError: when it is gone, or changed and cannot be read any more.
        """
        if self._failure is not None:
            raise self._failure
        try:
            return self._find(hashes, least, most, generator)
        except DatasetError as error:
            self._failure = error
            raise

    def _find(self, hashes: Iterable[bytes], least: int, most: int, generator: random.Random) -> Found:
        current = not self.watched or self.stamp.is_of(self.path)
        choice = self.places.choose(hashes, least, most, generator)
        if choice is None:
            return Found(None, hit=False, current=current)
        try:
            with told_of(self.path):
                content = self._read(choice)
                if content is None:
                    choice = self.places.choose_other(least, most, generator)
                    content = self._read(choice)
        except DatasetLockedError:
            raise
        except DatasetError as error:
            if not current:
                raise
            raise BadRecordError(str(error)) from error
        if content is None and not current:
            return Found(None, hit=False, current=False)
        if content is None:
            raise BadRecordError(f"row {choice.number} is gone")
        try:
            return Found(decode_answer(content[0]), choice.prompt_hash is not None, current)
        except BadRecordError as error:
            if not current:
                return Found(None, hit=False, current=False)
            raise BadRecordError(f"gen_tokens of row {choice.number}: {error}") from None

    def _read(self, choice: Choice) -> tuple[Any, ...] | None:
        """Read a row; None if it is gone, or is of another prompt than it should be."""
        self._effort.find()
        select = f"SELECT gen_tokens, prompt_hash FROM {quoted(self.table)} WHERE _rowid_ = ?"  # noqa: S608 - quoted
        row: tuple[Any, ...] | None = self._connection.execute(select, [choice.number]).fetchone()
        if row is not None and choice.prompt_hash not in {None, row[1]}:
            return None
        return row

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def open_corpus(
    path: str, table: str, stamp: Stamp, *, in_memory: bool, former: Corpus | None = None, tell: Tell | None = None
) -> Corpus:
    """Open a dataset.

    :param stamp: how the file is now.
    :param in_memory: read the whole file, and look at it no more.
    :param former: the same dataset as it was opened before, if it was.
    :param tell: see :func:`vllmsim.dataset.places.find_places`.
    :raises DatasetLockedError: when the file is locked.
    :raises DatasetError: when it is no dataset.
    """
    effort = Effort()
    with told_of(path):
        connection = connect(path, stamp, PATIENCE)
        try:
            effort.find()
            effort.watch(connection)
            indexed = verify(connection, path, table)
            if in_memory:
                connection = _copy(connection)
                effort.watch(connection)
            unkept = None
            places = _known_places(path, table, stamp, former)
            if places is None:
                effort.go_through(stamp.identity.size + stamp.identity.log[0])
                places = find_places(connection, table, None if indexed else tell or _say_nothing)
                if not in_memory and stamp.identity.size >= _SMALL:
                    unkept = _keep(path, table, stamp, places)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_ANSWER)
        except BaseException:
            connection.close()
            raise
    return Corpus(path, table, stamp, places, None if indexed else unkept, not in_memory, connection, effort)


def _known_places(path: str, table: str, stamp: Stamp, former: Corpus | None) -> Places | None:
    if former is not None and former.stamp == stamp:
        return former.places
    return None if stamp.identity.size < _SMALL else load_places(path, table, stamp)


def _keep(path: str, table: str, stamp: Stamp, places: Places) -> str | None:
    """Keep the places beside the database, unless that has changed since.

    :return: why that is not possible.
    """
    try:
        if stamp.is_of(path):
            save_places(path, table, stamp, places)
    except (OSError, DatasetError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _copy(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Read a whole database into memory, and close it."""

    def go_on(status: int, *_: int) -> None:
        if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            # SQLite's own way is to try for ever.
            locked = sqlite3.OperationalError("database is locked")
            locked.sqlite_errorcode = status
            raise locked

    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        connection.backup(memory, pages=_PAGES, progress=go_on)
    except BaseException:
        memory.close()
        raise
    connection.close()
    return memory


def _say_nothing(share: float) -> None:
    """Tell nobody."""
