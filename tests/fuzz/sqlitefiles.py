"""Files that somebody might give as a dataset, made by chance: whole ones, odd ones, broken ones, and what is none."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.dataset.making import row_of
from vllmsim.dataset.records import TABLE, create_index, create_table, insert_row
from vllmsim.dataset.sidefile import side_path

PROMPT: Final = "Hello!"
_TEN_GIGABYTES: Final = 10 << 30
_ANSWERS: Final = (
    None, 7, -1.5, b"", b"\xff\0", "", "null", "[]", "{}", "7", '"x"', '["a"]', '["a", 1]', "[[[]]]", '{"Tokens": 1}',
    '{"Tokens": []}', '{"Tokens": [1]}', '{"Tokens": [-1]}', '{"Tokens": [4294967296]}', '{"Tokens": [1.5]}',
    '{"Tokens": [true]}', '{"tokens": [1], "NUMBERS": [2], "strings": ["a"]}', '{"Tokens": [1], "Strings": ["a", "b"]}',
    '{"Tokens": [1, 2], "Strings": [null, {}]}', '{"Strings": ["\\ud800"]}', '{"Strings": ["\\u0000"]}', '{"Tokens":',
    "[" * 100_000, '{"a":' * 50_000, '["' + "x" * 100_000 + '"]', '{"Tokens": [' + "1," * 50_000 + "1]}",
    '{"Tokens": [' + "9" * 5000 + "]}", "[1e999]", "\ufeff[]", '["a"]\0', "{}" * 3,
)  # fmt: skip
_NUMBERS: Final = (None, 0, -1, 1, 5, 2**32, 2**63 - 1, -(2**63), 1.5, 1e308, "5", "x", b"\5", "")
_NAMES: Final = ("id", "prompt_hash", "gen_tokens", "n_gen_tokens", "x", "_rowid_", "oid", 'a"b', "a\nb", "é", "")
_COLUMNS: Final = "id INTEGER, prompt_hash BLOB, gen_tokens JSON, n_gen_tokens INTEGER"
_TRUE: Final = f"CREATE TABLE t ({_COLUMNS})"
_ENDLESS: Final = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
_ALL: Final = "SELECT *, id AS _rowid_ FROM t UNION ALL SELECT x, x, x, x, x FROM"
_SCHEMAS: Final = (
    (f"CREATE TABLE llmd ({_COLUMNS}, PRIMARY KEY (id)) WITHOUT ROWID",),
    ("CREATE TABLE llmd (id INTEGER PRIMARY KEY, prompt_hash BLOB, gen_tokens TEXT, n_gen_tokens INTEGER)",),
    (_TRUE.replace("TABLE t", "TABLE llmd").replace("JSON", "JSON AS (zeroblob(900000000))"),),
    (f"CREATE TABLE llmd ({_COLUMNS}, _rowid_ TEXT, oid TEXT)",),
    (f"CREATE TABLE LLMD ({_COLUMNS.upper()} CHECK (N_GEN_TOKENS < 0))",),
    ("CREATE TABLE llmd (id INTEGER, prompt_hash BLOB COLLATE NOCASE, gen_tokens JSON, n_gen_tokens INTEGER)",),
    (_TRUE, "CREATE VIEW llmd AS SELECT * FROM t"),
    (_TRUE, f"CREATE VIEW llmd AS {_ALL} ({_ENDLESS})"),
    (_TRUE, f"CREATE VIEW llmd AS {_ALL} ({_ENDLESS} WHERE x < 0)"),
    (
        _TRUE,
        "CREATE VIEW llmd AS SELECT id, zeroblob(900000000) prompt_hash, gen_tokens, n_gen_tokens, id _rowid_ FROM t",
    ),
    (_TRUE, f"CREATE TABLE llmd ({_COLUMNS})", "CREATE TRIGGER r AFTER INSERT ON llmd BEGIN DELETE FROM llmd; END"),
    ("CREATE VIEW llmd AS SELECT * FROM llmd",),
    ("CREATE VIEW llmd AS SELECT * FROM other",),
    ("CREATE VIRTUAL TABLE llmd USING fts5(id, prompt_hash, gen_tokens, n_gen_tokens)",),
    ("CREATE VIRTUAL TABLE llmd USING rtree(id, prompt_hash, gen_tokens)",),
)
_TYPES: Final = ("INTEGER", "BLOB", "JSON", "TEXT", "", "integer", "REAL", "x" * 2000, '"a\nb"')
_LIES: Final = ("type", "name", "tbl_name", "rootpage", "sql")
_HEADER: Final = ((16, 2), (18, 1), (19, 1), (20, 1), (21, 1), (24, 4), (28, 4), (32, 4), (36, 4), (40, 4), (44, 4),
                  (52, 4), (56, 4), (62, 2), (92, 4), (96, 4))  # fmt: skip
"""Where the header of a database has which numbers, and how many bytes these are."""


class SqliteFiles:
    """Files of one kind.

    :param chance: decides.
    :param path: where they are made. What is there goes.
    :param large: a whole database that is large enough to have a side file, which lies beside it.
    """

    def __init__(self, chance: Random, path: Path, large: Path) -> None:
        self._chance, self._path, self._large = chance, path, large

    def make(self) -> None:
        """Make one."""
        chance = self._chance
        if chance.random() < 0.04:
            self._no_file()
            return
        if chance.random() < 0.1:
            self._aside()
        else:
            self._database()
        for _ in range(chance.choice((0, 0, 1, 1, 2))):
            self._damage(self._path)
        if chance.random() < 0.1:
            self._beside()

    def _no_file(self) -> None:
        chance, path = self._chance, self._path
        ways: Sequence[Callable[[], object]] = (
            path.mkdir,
            lambda: os.mkfifo(path),
            lambda: path.symlink_to("/dev/zero"),
            lambda: path.symlink_to(path.name),
            lambda: path.symlink_to("none"),
            lambda: path.write_bytes(b""),
            lambda: path.write_bytes(chance.randbytes(chance.randrange(5000))),
            lambda: path.write_bytes(b"SQLite format 3\0" + chance.randbytes(chance.randrange(5000))),
            self._sparse,
            lambda: None,
        )
        chance.choice(ways)()

    def _sparse(self) -> None:
        self._database()
        os.truncate(self._path, _TEN_GIGABYTES)

    def _database(self) -> None:
        """Make a database, odd or not."""
        chance = self._chance
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {chance.choice((512, 1024, 4096, 4096, 65536))}")
            connection.execute(f"PRAGMA encoding = '{chance.choice(('UTF-8', 'UTF-8', 'UTF-16'))}'")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA journal_mode = {chance.choice(('memory', 'memory', 'memory', 'wal'))}")
            connection.execute("BEGIN")
            if chance.random() < 0.75:
                connection.execute(create_table(TABLE).replace(" NOT NULL", ""))
                connection.executemany(insert_row(TABLE), self._rows())
            elif chance.random() < 0.5:
                self._odd(connection)
            else:
                for statement in chance.choice(_SCHEMAS):
                    connection.execute(statement)
                self._odd_rows(connection)
            if chance.random() < 0.3:
                self._try(connection, create_index(TABLE))
            if chance.random() < 0.15:
                self._lie(connection)
            connection.execute("COMMIT")

    def _rows(self) -> list[Any]:
        chance = self._chance
        rows: list[Any] = []
        for number in range(chance.choice((0, 1, 3, 30, 300))):
            good = row_of(chance.choice((PROMPT, PROMPT, f"{number}")), *["a "] * chance.choice((1, 5, 90)))
            rows.append(good if chance.random() < 0.6 else self._odd_row(good))
        return rows

    def _odd_row(self, good: tuple[object, object, object]) -> tuple[object, ...]:
        chance = self._chance
        digest, answer, length = good
        if chance.random() < 0.3:
            digest = chance.choice(
                (None, 7, "x" * 32, b"", chance.randbytes(32), bytes(chance.choice((31, 33, 2**20))))
            )
        if chance.random() < 0.5:
            answer = chance.choice(_ANSWERS)
        if chance.random() < 0.02:
            answer = bytes(chance.choice((2**20, 2**23 + 1)))
        if chance.random() < 0.3:
            length = chance.choice(_NUMBERS)
        return digest, answer, length

    def _odd_rows(self, connection: sqlite3.Connection) -> None:
        """Put rows into what may be no table, or take none."""
        for row in self._rows():
            self._try(connection, insert_row(self._chance.choice((TABLE, "t"))), row)

    def _odd(self, connection: sqlite3.Connection) -> None:
        """Make tables that have other columns, or other names."""
        chance = self._chance
        for _ in range(chance.choice((1, 1, 2, 300))):
            name = chance.choice((TABLE, TABLE, "t", "a\nb", "sqlite", "é" * 100, f"t{chance.random()}"))
            columns = [
                f"[{chance.choice(_NAMES)}] {chance.choice(_TYPES)}" for _ in range(chance.choice((1, 4, 5, 900)))
            ]
            self._try(connection, f'CREATE TABLE "{name}" ({", ".join(columns)})')

    def _lie(self, connection: sqlite3.Connection) -> None:
        """Have the schema say something else than what there is."""
        chance = self._chance
        self._try(connection, "PRAGMA writable_schema = ON")
        value = chance.choice(("table", "view", "index", None, 1, 2, 3, 10**9, -1, b"llmd", b"\xff", "x\ny", TABLE, ""))
        where = "" if chance.random() < 0.3 else " WHERE name = 'llmd'"
        column = chance.choice(_LIES)
        self._try(connection, f"UPDATE sqlite_master SET {column} = ?{where}", (value,))  # noqa: S608 - ours

    def _try(self, connection: sqlite3.Connection, statement: str, values: Sequence[object] = ()) -> None:
        # What SQLite does not let happen need not be tried on anybody.
        with suppress(sqlite3.Error, OverflowError):
            connection.execute(statement, values)

    def _damage(self, path: Path) -> None:
        """Change bytes of a file."""
        chance = self._chance
        data = bytearray(path.read_bytes())
        size = max(1, len(data))
        page = int.from_bytes(data[16:18], "big") or 4096
        at = chance.randrange(size)
        ways: Sequence[Callable[[], object]] = (
            lambda: data.__delitem__(slice(at, None)),
            lambda: data.__delitem__(slice(at - at % page, None)),
            lambda: data.__delitem__(slice(at, at + chance.choice((1, 10, page)))),
            lambda: data.extend(chance.randbytes(chance.choice((1, page, page * 3)))),
            lambda: self._flip(data, range(size), chance.choice((1, 1, 5, 50, 500))),
            lambda: self._flip(data, range(min(100, size)), chance.choice((1, 3))),
            lambda: self._flip(data, range(100, min(200, size + 101)), chance.choice((1, 3, 10))),
            lambda: self._header(data),
            lambda: self._header(data),
            lambda: self._pages(data, page),
            lambda: self._pages(data, page),
        )
        chance.choice(ways)()
        path.write_bytes(data)

    def _flip(self, data: bytearray, where: range, count: int) -> None:
        for _ in range(count):
            at = self._chance.choice(where)
            if at < len(data):
                data[at] = self._chance.choice((0, 1, 0xFF, data[at] ^ 1, data[at] ^ 0x80, self._chance.randrange(256)))

    def _header(self, data: bytearray) -> None:
        at, size = self._chance.choice(_HEADER)
        number = self._chance.choice(
            (0, 1, 2, 3, 512, 4096, 2**16, 2**31 - 1, 2**32 - 1, self._chance.randrange(2**32))
        )
        data[at : at + size] = (number % 256**size).to_bytes(size, "big")

    def _pages(self, data: bytearray, page: int) -> None:
        """Put a page in the place of another, or of none."""
        count = max(1, len(data) // page)
        one, other = self._chance.randrange(count) * page, self._chance.randrange(count) * page
        content = self._chance.choice((bytes(data[one : one + page]), bytes(page), self._chance.randbytes(page)))
        data[other : other + page] = content

    def _beside(self) -> None:
        """Put a log, a journal or shared memory beside the file, or something else in its place."""
        beside = Path(f"{self._path}{self._chance.choice(('-wal', '-journal', '-shm'))}")
        if beside.exists():
            return
        log = (0x377F0682).to_bytes(4, "big") + bytes((0, 0x2D, 0xE2, 0x18, 0, 0, 16, 0)) + self._chance.randbytes(20)
        journal = bytes.fromhex("d9d505f920a163d7") + self._chance.randbytes(600)
        ways: Sequence[Callable[[], object]] = (
            beside.mkdir,
            lambda: os.mkfifo(beside),
            lambda: beside.symlink_to("/dev/zero"),
            lambda: beside.write_bytes(log + self._chance.randbytes(self._chance.choice((0, 24, 4120, 9000)))),
            lambda: beside.write_bytes(journal + bytes(self._chance.choice((0, 4000)))),
            lambda: beside.write_bytes(self._chance.randbytes(200)),
        )
        self._chance.choice(ways)()

    def _aside(self) -> None:
        """Take a database that has a side file, and damage that."""
        self._path.write_bytes(self._large.read_bytes())
        facts = self._large.stat()
        os.utime(self._path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        side = side_path(str(self._path), TABLE)
        side.write_bytes(side_path(str(self._large), TABLE).read_bytes())
        pick = self._chance.random()
        if pick < 0.7:
            self._damage(side)
        elif pick < 0.8:
            os.truncate(side, _TEN_GIGABYTES)
        else:
            side.unlink()
            ways: Sequence[Callable[[], object]] = (
                side.mkdir,
                lambda: os.mkfifo(side),
                lambda: side.symlink_to("/dev/zero"),
            )
            self._chance.choice(ways)()
