# -*- test-case-name: tests.scripts.dataset.test_output -*-
"""The three files that are made, all of them or none.

They are written into a folder of their own beside where they belong, and moved there when all are complete. Whatever
ends the program before leaves nothing; what cannot be caught leaves that folder, whose name begins with a dot.
"""

import base64
import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import IO, Final, Self

import orjson
from attrs import define, field, frozen

from vllmsim.dataset.records import LONGEST_ANSWER, create_index, create_table, insert_row, make_row
from vllmsim.inference import Tokens
from vllmsim.scripts.dataset.faults import BadItem, BuildError, UsageError

DATABASE, LISTING, CARD = ".sqlite3", ".json", ".md"
_ENDINGS: Final = (DATABASE, LISTING, CARD)
_PAGE: Final = 4096


@frozen
class Record:
    """One answer to one prompt.

    :param prompt: the prompt's token ids.
    :param text: the prompt, for people.
    :param chat: whether that is a conversation.
    """

    prompt: tuple[int, ...]
    text: str
    answer: Tokens
    chat: bool = False


class Place:
    """Where the files will be; a ``with`` block of it is their making.

    :param folder: made when it is not there.
    :param name: of the files, without their endings.
    :param force: whether files that are there may be replaced.
    """

    def __init__(self, folder: Path, name: str, *, force: bool) -> None:
        self._folder, self._name, self._force = folder, name, force
        self._made: list[Path] = []
        self._work = Path()

    @property
    def paths(self) -> Mapping[str, Path]:
        """The files by their endings."""
        return {ending: self._folder / f"{self._name}{ending}" for ending in _ENDINGS}

    def draft(self, ending: str) -> Path:
        """Name a file while it is made."""
        return self._work / f"{self._name}{ending}"

    def write(self, ending: str, text: str) -> None:
        """Write a file while it is made.

        :raises BuildError: when the disk is full.
        """
        try:
            self.draft(ending).write_text(text, "utf-8")
        except OSError as error:
            raise BuildError(f"{self._folder} cannot be written to: {error.strerror}") from None

    def check(self) -> None:
        """Look whether the files may be made.

        :raises UsageError: when the name is none.
        :raises BuildError: when one is there, and may not be replaced.
        """
        if self._name in {"", ".", ".."} or Path(self._name).name != self._name or "\0" in self._name:
            raise UsageError(f"--output-file must be the name of a file, not {self._name!r}")
        for path in self.paths.values():
            if path.is_dir():
                raise BuildError(f"output file is a folder: {path}")
            if not self._force and os.path.lexists(path):
                raise BuildError(f"output file already exists: {path}; --force replaces it")

    def __enter__(self) -> Self:
        """Make room.

        :raises BuildError: when that cannot be.
        """
        try:
            self._make_folder()
            self._work = Path(mkdtemp(prefix=f".{self._name}-", dir=self._folder))
        except OSError as error:
            self._leave()
            raise BuildError(f"{self._folder} cannot be written to: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take away all that has no place."""
        shutil.rmtree(self._work, ignore_errors=True)
        if error is not None:
            self._leave()

    def settle(self) -> None:
        """Move the files to where they belong.

        :raises BuildError: when one cannot be moved; then none is.
        """
        self.check()
        moved: list[tuple[Path, Path]] = []
        try:
            for ending, path in self.paths.items():
                draft = self.draft(ending)
                _save(draft)
                before = self._work / f"before{ending}"
                for source, target in ((path, before), (draft, path)):
                    if os.path.lexists(source):
                        source.rename(target)
                        moved.append((source, target))
        except BaseException as error:
            for source, target in reversed(moved):
                target.rename(source)
            if isinstance(error, OSError):
                raise BuildError(f"{self._folder} cannot be written to: {error.strerror}") from None
            raise

    def _make_folder(self) -> None:
        missing = [each for each in (self._folder, *self._folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir()
            self._made.append(each)

    def _leave(self) -> None:
        for each in reversed(self._made):
            each.rmdir()


def _save(path: Path) -> None:
    """Have a file on the disk before it gets its name."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@define(eq=False)
class Writer:
    """Writes records, to the database and to its listing, in the order in which they come.

    Equal records make equal files, to the byte: rows are added one after the other and never taken away, and what a
    page has no use for is zero.

    :param database: where that is made; it may not be there.
    :param table: its name.
    :param index: whether there is one.
    """

    _database: Path
    _listing: Path
    _table: str
    _index: bool
    count: int = field(init=False, default=0)
    tokens: int = field(init=False, default=0)
    """Of all answers together."""
    longest: int = field(init=False, default=0)
    _connection: sqlite3.Connection = field(init=False)
    _file: IO[bytes] = field(init=False)
    _insert: str = field(init=False)

    def __enter__(self) -> Self:
        """Begin both files.

        :raises BuildError: when the table cannot have its name.
        """
        # The end of the work is done in a thread.
        self._connection = sqlite3.connect(self._database, isolation_level=None, check_same_thread=False)
        self._file = self._listing.open("wb")
        for name, value in {
            "page_size": _PAGE,
            "secure_delete": "ON",
            "journal_mode": "OFF",
            "synchronous": "OFF",
        }.items():
            self._connection.execute(f"PRAGMA {name} = {value}").fetchall()
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
            self._connection.execute(create_table(self._table))
        except (sqlite3.Error, ValueError) as error:
            self.__exit__(None, None, None)
            raise BuildError(f"--table-name {self._table!r} will not do: {error}") from None
        self._insert = insert_row(self._table)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both files."""
        self._connection.close()
        # What a full disk says of the rest has been said.
        with suppress(OSError):
            self._file.close()

    def add(self, record: Record) -> int:
        """Add a record.

        :return: how many there are now.
        :raises BadItem: when its answer is longer than what is read of one.
        :raises BuildError: when the disk is full.
        """
        prompt_hash, answer, length = row = make_row(record.prompt, record.answer)
        if len(answer.encode()) > LONGEST_ANSWER:
            raise BadItem(f"its answer's {length} tokens take more than {LONGEST_ANSWER} bytes")
        try:
            self._connection.execute(self._insert, row)
            self._file.write(b",\n" if self.count else b"[\n")
            self._file.write(
                orjson.dumps(
                    {
                        "prompt_hash": base64.b64encode(prompt_hash).decode(),
                        "n_gen_tokens": length,
                        "gen_tokens": orjson.Fragment(answer),
                        "input_text": record.text,
                        "generated": "".join(record.answer.texts),
                    }
                )
            )
        except (sqlite3.Error, OSError) as error:
            raise BuildError(f"the output cannot be written: {error}") from None
        self.count += 1
        self.tokens += length
        self.longest = max(self.longest, length)
        return self.count

    def finish(self) -> None:
        """Make the index, and write what is still in memory. It may take seconds.

        :raises BuildError: when the disk is full, or it is interrupted.
        """
        try:
            if self._index:
                self._connection.execute(create_index(self._table))
            self._connection.execute("COMMIT")
            self._connection.close()
            self._file.write(b"\n]\n" if self.count else b"[]\n")
            self._file.close()
        except (sqlite3.Error, OSError) as error:
            raise BuildError(f"the output cannot be written: {error}") from None

    def interrupt(self) -> None:
        """End what the database does now; from another thread."""
        self._connection.interrupt()
