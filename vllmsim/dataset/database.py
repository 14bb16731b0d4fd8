# -*- test-case-name: tests.dataset.test_database -*-
"""An SQLite file that is read and never written: whether it is a dataset, and whether it is still the same.

The file is opened with ``mode=ro``. Its table must have the columns of a dataset with their types; what is wrong is
said in the words of llm-d-inference-sim, and which file it is.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from attrs import evolve, frozen

from vllmsim.dataset.records import COLUMNS, LONGEST_ANSWER, quoted

_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNFINISHED: Final = frozenset({sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY})
_HEADER: Final = 100
_COUNTER: Final = slice(24, 28)
_COOKIE: Final = slice(40, 44)
_BESIDE: Final = ("-journal", "-wal", "-shm")
_LONGEST: Final = 2**31 - 1
_WRITE_VERSION: Final = 18
_LOGS: Final = 2
_MOST_SHOWN: Final = 4000
_MAGIC: Final = b"SQLite format 3\0"


class DatasetError(Exception):
    """A dataset cannot be used; the message names the file and says why, in a line whatever the file has in it."""

    def __init__(self, message: str) -> None:
        shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in message[:_MOST_SHOWN])
        super().__init__(shown + "..." * (len(message) > _MOST_SHOWN))


class DatasetLockedError(DatasetError):
    """Another program keeps it locked: it can be used later."""


@frozen
class Identity:
    """By what one tells that a file is still the same.

    :param device: where it is, and which file it is there.
    :param size: in bytes.
    :param modified: nanoseconds since the epoch.
    :param log: size and time of the log beside it that SQLite has not put into it yet.
    """

    device: tuple[int, int]
    size: int
    modified: int
    log: tuple[int, int]

    @classmethod
    def of(cls, path: str, *, logs: bool = True) -> "Identity":
        """Look at a file. That happens at each lookup.

        :param logs: whether it may have a log.
        :raises DatasetError: when there is none.
        """
        try:
            # pathlib takes several times as long.
            facts = os.stat(path)  # noqa: PTH116
        except FileNotFoundError:
            raise DatasetError(f"database file does not exist: {path}") from None
        except (OSError, ValueError) as error:
            raise DatasetError(f"database file cannot be read: {path}: {_reason(error)}") from None
        if not stat.S_ISREG(facts.st_mode):
            raise DatasetError(f"database file is not a file: {path}")
        log = _log_of(path) if logs else (0, 0)
        return cls((facts.st_dev, facts.st_ino), facts.st_size, facts.st_mtime_ns, log)


def _log_of(path: str) -> tuple[int, int]:
    try:
        facts = os.stat(f"{path}-wal")  # noqa: PTH116
    except OSError:
        return 0, 0
    return (facts.st_size, facts.st_mtime_ns) if facts.st_size else (0, 0)


@frozen
class Stamp:
    """By what one tells that what was found in a file still holds, also for a copy of it.

    :param identity: where it is, and whether it is the same.
    :param counters: what SQLite keeps in the file's header: how often it changed, and how often its schema.
    :param logs: whether SQLite writes to a log beside it first, and reads that too.
    """

    identity: Identity
    counters: tuple[int, int]
    logs: bool

    @classmethod
    def of(cls, path: str) -> "Stamp":
        """Look at a file.

        It is opened and closed here, which drops the locks that this process has on it: none of its connections may be
        in use meanwhile.

        :raises DatasetError: when it is no database.
        """
        identity = Identity.of(path)
        _check_beside(path)
        try:
            with Path(path).open("rb") as file:
                header = file.read(_HEADER)
        except OSError as error:
            raise DatasetError(f"database file cannot be read: {path}: {_reason(error)}") from None
        if len(header) < _HEADER or not header.startswith(_MAGIC):
            raise DatasetError(f"failed to verify database: {path} is no SQLite database")
        counter, cookie = (int.from_bytes(header[part], "big") for part in (_COUNTER, _COOKIE))
        logs = header[_WRITE_VERSION] == _LOGS
        return cls(identity if logs else evolve(identity, log=(0, 0)), (counter, cookie), logs)

    def is_of(self, path: str) -> bool:
        """Tell whether a file is still as it was.

        :raises DatasetError: when it is gone.
        """
        return Identity.of(path, logs=self.logs) == self.identity

    @property
    def content(self) -> list[object]:
        """What a copy of the file has too, as JSON says it."""
        identity = self.identity
        return [identity.size, identity.modified, *identity.log, *self.counters]


def _check_beside(path: str) -> None:
    """See that what SQLite reads beside a file are files: it would wait for ever for who writes to a pipe."""
    for suffix in _BESIDE:
        beside = Path(path + suffix)
        if beside.exists() and not beside.is_file():
            raise DatasetError(f"database file has something beside it that is not a file: {beside}")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def told_of(path: str) -> Iterator[None]:
    """Have SQLite's errors name a file.

    :raises DatasetError: for each.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF in _BUSY:
            raise DatasetLockedError(f"database is locked or has other active connections: {path}") from error
        reason = str(error)
        if code in _UNFINISHED:
            reason = "a program stopped while it wrote to it; opening it with sqlite3 puts it right"
        elif code == sqlite3.SQLITE_INTERRUPT:
            reason = "it takes more work than a file of its size should"
        elif code & 0xFF == sqlite3.SQLITE_CORRUPT:
            reason = f"it is damaged or has been cut off ({error})"
        raise DatasetError(f"failed to read database: {path}: {reason}") from error
    except UnicodeDecodeError as error:
        # SQLite's message names something in the file, which is no text.
        reason = error.object.decode("utf-8", "replace")
        raise DatasetError(f"failed to read database: {path}: {reason}") from error


def connect(path: str, stamp: Stamp, patience: float) -> sqlite3.Connection:
    """Open a file for reading. The connection may move between threads, as long as one at a time uses it.

    :param stamp: the file's.
    :param patience: seconds to wait each time that it is locked.
    :raises sqlite3.Error: when it cannot be opened.
    """
    place = Path(path).resolve()
    address = f"file:{quote(str(place))}?mode=ro"
    if stamp.logs and stamp.identity.log == (0, 0) and not os.access(place.parent, os.W_OK):
        # SQLite would want to make a log, where it cannot. There is none, so that the file has everything.
        address += "&immutable=1"
    connection = sqlite3.connect(address, timeout=patience, isolation_level=None, check_same_thread=False, uri=True)
    # Nothing that the file has can be longer than the file. What it says of its tables calls no function that does
    # anything, and what is on its pages is looked at more closely.
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(max(LONGEST_ANSWER, stamp.identity.size), _LONGEST))
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def look(path: Path) -> str | None:
    """Tell what is wrong with a file to which nobody writes, apart from what its tables are; None if nothing is."""
    try:
        Stamp.of(str(path))
        address = f"file:{quote(str(path.resolve()))}?immutable=1"
        with told_of(str(path)), closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
            size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            [(whole,)] = connection.execute(size)
    except DatasetError as error:
        cause = error.__cause__
        return f"is no whole SQLite database ({cause})" if cause else "is no SQLite database"
    # SQLite forgives that a piece of the last page is missing.
    there = path.stat().st_size
    return f"is no whole SQLite database ({there} of {whole} bytes)" if there < whole else None


def verify(connection: sqlite3.Connection, path: str, table: str) -> bool:
    """See that a table is a dataset.

    :param path: how messages call the file.
    :return: whether an index of it has all that is needed to find answers.
    :raises DatasetError: with all that is wrong with it.
    :raises sqlite3.Error: when it cannot be read.
    """
    named = "type IN ('table', 'view') AND typeof(name) = 'text'"
    kinds = dict(connection.execute(f"SELECT name, type FROM sqlite_master WHERE {named}"))  # noqa: S608 - ours
    name = next((each for each in kinds if each.lower() == table.lower()), None)
    if name is None:
        tables = ", ".join(sorted(kinds)) or "none"
        raise DatasetError(
            f"failed to verify database: there is no table {table!r} in {path}, whose tables are: {tables}"
        )
    columns = {
        column.lower(): kind
        for column, kind in connection.execute("SELECT name, type FROM pragma_table_info(?)", [name])
    }
    faults = [_fault(table, column, kind, columns.get(column)) for column, kind in COLUMNS.items()]
    if problems := "; ".join(fault for fault in faults if fault):
        raise DatasetError(f"failed to verify database: {problems}, in {path}")
    try:
        connection.execute(f"SELECT _rowid_ FROM {quoted(name)} WHERE _rowid_ = 0").fetchall()  # noqa: S608 - quoted
        numbered = kinds[name] == "table"
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        numbered = False
    if not numbered:
        raise DatasetError(f"failed to verify database: {table} is a view or a table without rowid, in {path}")
    return _has_index(connection, name)


def _fault(table: str, column: str, expected: str, declared: str | None) -> str | None:
    if declared is None:
        return f"missing expected column in {table} table: {column}"
    if declared.upper() != expected:
        return f"column {column} of {table} has incorrect type: expected {expected}, got {declared or 'none'}"
    return None


def _has_index(connection: sqlite3.Connection, table: str) -> bool:
    indices = connection.execute("SELECT name FROM pragma_index_list(?) WHERE NOT partial", [table]).fetchall()
    wanted = {"prompt_hash", "n_gen_tokens"}
    for [index] in indices:
        columns = connection.execute("SELECT name FROM pragma_index_info(?)", [index])
        if wanted <= {(column or "").lower() for [column] in columns}:
            return True
    return False
