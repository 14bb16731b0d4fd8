# -*- test-case-name: tests.dataset.test_sidefile -*-
"""The file beside a database that saves going through its table at every start.

``conversations.sqlite3.vllmsim-index`` has a line of JSON, which says of which table it is and how the database was
when it was made, and behind it the four arrays of :class:`vllmsim.dataset.places.Places` as they are in memory. It may
be deleted at any time. Whoever finds that it is missing, or of another state of the database, makes it anew: first
under another name, so that several may do so at once and nobody ever reads half a file.
"""

import os
import sys
import tempfile
import zlib
from array import array
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from vllmsim.dataset.database import Stamp
from vllmsim.dataset.places import Places
from vllmsim.dataset.records import TABLE

SUFFIX: Final = ".vllmsim-index"
_FORMAT: Final = 1
_LONGEST_LINE: Final = 4096
_CODES: Final = ("q", "I", "Q", "I")
"""Of the arrays, in their order."""


def side_path(path: str, table: str) -> Path:
    """Find the place of a database's side file.

    :param table: has one of its own, unless its name is the usual one.
    """
    more = "" if table == TABLE else f".{quote(table, safe='')}"
    return Path(f"{path}{more}{SUFFIX}")


def _line(table: str, stamp: Stamp, rows: int, keys: int, checksum: int) -> bytes:
    facts = {
        "format": _FORMAT,
        "order": sys.byteorder,
        "sizes": [array(code).itemsize for code in _CODES],
        "table": table,
        "database": stamp.content,
        "rows": rows,
        "keys": keys,
        "checksum": checksum,
    }
    return orjson.dumps(facts) + b"\n"


def load_places(path: str, table: str, stamp: Stamp) -> Places | None:
    """Read the side file of a database.

    :param stamp: how the database is now.
    :return: None when there is none, or it says nothing of that.
    """
    side = side_path(path, table)
    try:
        # A pipe would never begin.
        if not side.is_file():
            return None
        with side.open("rb") as file:
            line = file.readline(_LONGEST_LINE)
            facts = orjson.loads(line)
            rows, keys, checksum = facts["rows"], facts["keys"], facts["checksum"]
            if line != _line(table, stamp, rows, keys, checksum):
                return None
            arrays = [array(code) for code in _CODES]
            counts = (rows, rows, keys, keys)
            expected = sum(count * items.itemsize for items, count in zip(arrays, counts, strict=True))
            if os.fstat(file.fileno()).st_size != len(line) + expected:
                return None
            sum_ = 0
            for items, count in zip(arrays, counts, strict=True):
                content = file.read(count * items.itemsize)
                items.frombytes(content)
                sum_ = zlib.crc32(content, sum_)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    places = Places(*arrays)
    return places if sum_ == checksum and max(places.places, default=-1) < rows else None


def save_places(path: str, table: str, stamp: Stamp, places: Places) -> None:
    """Write the side file of a database.

    :param stamp: how the database was before `places` were found, and is still.
    :raises OSError: when that is not possible; nothing is left then.
    """
    target = side_path(path, table)
    arrays: tuple[Any, ...] = (places.numbers, places.lengths, places.keys, places.places)
    checksum = 0
    for items in arrays:
        checksum = zlib.crc32(items, checksum)
    with tempfile.NamedTemporaryFile(prefix=f"{target.name}.", dir=target.parent, delete=False) as file:
        half = Path(file.name)
        try:
            # Who may read the database may read this.
            half.chmod(Path(path).stat().st_mode & 0o666)
            file.write(_line(table, stamp, len(places.numbers), len(places.keys), checksum))
            for items in arrays:
                file.write(items)
            file.flush()
            os.fsync(file.fileno())
            half.replace(target)
        except BaseException:
            half.unlink(missing_ok=True)
            raise
