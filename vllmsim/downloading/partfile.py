# -*- test-case-name: tests.downloading.test_partfile -*-
"""A file that is being downloaded: ``NAME.part`` beside where ``NAME`` will be.

Who writes it holds a lock on it, so that of several processes that want the same file one fetches it. What identifies
the version that it is a part of, a hash of the URL and the server's entity tag, is in ``NAME.part.etag``; a part
without that is of no use to a later start, and never left behind.

The file is published by a rename: who looks for it finds it whole or not at all.
"""

import fcntl
import json
import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from attrs import define, field

_BLOCK: Final = 1 << 20


class Busy(Exception):
    """Another process writes the file."""


@define(eq=False)
class PartFile:
    """The part of a file that is there.

    :param path: where the file will be.
    :param etag: which version it is a part of; empty if that is not known.
    :param size: bytes that are there.
    """

    path: Path
    _part: Path
    _record: Path
    _file: BinaryIO
    etag: str = ""
    size: int = field(init=False, default=0)

    @classmethod
    def take(cls, path: Path, url: str) -> "PartFile | None":
        """Lock the part of a file, and take over what an earlier start has left of it.

        :param url: where the file comes from.
        :return: the part, or None when the whole file is there.
        :raises Busy: when another process has it.
        :raises OSError: when it cannot be written.
        """
        part = path.with_name(path.name + ".part")
        while not path.exists():
            file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666), "r+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not _is_at(file, part):
                    # It was published or given up by another process in the meantime.
                    file.close()
                    continue
                if path.exists():
                    part.unlink()
                    file.close()
                    break
                taken = cls(path, part, path.with_name(part.name + ".etag"), file)
                taken._resume(url)
            except BlockingIOError:
                file.close()
                raise Busy from None
            except BaseException:
                file.close()
                raise
            return taken
        return None

    def _resume(self, url: str) -> None:
        """Find out what the part is a part of."""
        try:
            record = json.loads(self._record.read_bytes())
            known = record["etag"] if record["of"] == _digest(url) else ""
        except (OSError, ValueError, TypeError, KeyError):
            known = ""
        if known:
            self.etag, self.size = str(known), self._file.seek(0, os.SEEK_END)
        if not self.size:
            self.restart(url, "")

    def restart(self, url: str, etag: str) -> None:
        """Begin anew.

        :param etag: which version of the file comes now; empty if that is not known.
        """
        self._record.unlink(missing_ok=True)
        self._file.seek(0)
        self._file.truncate()
        self.etag, self.size = etag, 0
        if etag:
            self._record.write_text(json.dumps({"of": _digest(url), "etag": etag}))

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._file.write(data)
        self.size += len(data)

    def read_into(self, consume: Callable[[bytes], Any]) -> None:
        """Read all that is there."""
        self._file.flush()
        self._file.seek(0)
        while block := self._file.read(_BLOCK):
            consume(block)

    def show(self, look: Callable[[Path], Any]) -> Any:
        """Have something look at all that is there.

        :param look: given where it is.
        :return: what it returns.
        """
        self._file.flush()
        return look(self._part)

    def sync(self) -> None:
        """Have the disk keep what was written."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def publish(self) -> None:
        """Put the file where it belongs."""
        self._part.replace(self.path)
        self._record.unlink(missing_ok=True)
        self._file.close()
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def keep(self) -> None:
        """Leave the part to a later start, if that can go on with it."""
        if self.etag and self.size:
            self._file.close()
        else:
            self.discard()

    def discard(self) -> None:
        """Leave nothing behind."""
        for each in (self._record, self._part):
            with suppress(OSError):
                each.unlink()
        # What is not written yet may have no place.
        with suppress(OSError):
            self._file.close()


def _digest(url: str) -> str:
    """Identify an address, which may have a password or a signature in it that the disk is not to have."""
    return sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Tell whether an open file is still the one of a name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False
