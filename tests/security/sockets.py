"""What a process listens on, its children included, as the kernel tells."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_LISTENS: Final = "0A"
_ACCEPTS: Final = 0x10000
"""The flag of unix sockets that take connections."""
_FAMILIES: Final = {"tcp": socket.AF_INET, "tcp6": socket.AF_INET6, "udp": socket.AF_INET, "udp6": socket.AF_INET6}


def family_of(pid: int) -> Iterator[int]:
    """List a process and all that come from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in task.joinpath("children").read_text("ascii").split():
            yield from family_of(int(child))


def _inodes(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        # It may be closed meanwhile.
        with suppress(OSError):
            target = str(link.readlink())
            if target.startswith("socket:["):
                yield target.removeprefix("socket:[").removesuffix("]")


def _address(family: int, text: str) -> str:
    raw, port = text.split(":")
    words = (int(raw[start : start + 8], 16).to_bytes(4, "little") for start in range(0, len(raw), 8))
    return f"{socket.inet_ntop(family, b''.join(words))}:{int(port, 16)}"


def _bound(table: str) -> Iterator[tuple[str, str]]:
    """List the sockets of this network that take what comes from others: each with its inode."""
    for line in Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]:
        columns = line.split()
        if table.startswith("udp") or columns[3] == _LISTENS:
            yield columns[9], f"{table.rstrip('6')}:{_address(_FAMILIES[table], columns[1])}"


def _unix() -> Iterator[tuple[str, str]]:
    for line in Path("/proc/net/unix").read_text("utf-8").splitlines()[1:]:
        columns = line.split(maxsplit=7)
        if int(columns[3], 16) & _ACCEPTS:
            yield columns[6], f"unix:{columns[7] if len(columns) > 7 else ''}"


def listening(pid: int) -> set[str]:
    """List where a process and its children can be reached: ``tcp:127.0.0.1:8000``, ``unix:/path``."""
    own = {inode for each in family_of(pid) for inode in _inodes(each)}
    every = [*_unix(), *(entry for table in _FAMILIES for entry in _bound(table))]
    return {where for inode, where in every if inode in own}
