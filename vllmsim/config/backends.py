# -*- test-case-name: tests.config.test_backends -*-
"""What the option ``kv-cache-backend`` may say: ``memory``, or the address of a Redis or Valkey server.

Addresses are those that other clients take: ``redis://[[user]:password@]host[:port][/database]``, ``rediss://`` for the
same over TLS, and ``unix:///path?db=database`` for a socket of this machine. ``valkey`` means ``redis`` in each.
"""

import re
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from attrs import field, frozen

MEMORY: Final = "memory"
"""The word for no backend at all: blocks are in this server's own memory and nowhere else."""
_TLS: Final = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_PORT: Final = 6379
_ALLOWED: Final = "memory, or an address that begins with redis://, rediss://, valkey://, valkeys:// or unix://"


@frozen
class Backend:
    """A Redis or Valkey server.

    :param host: its name or address; empty for a socket of this machine.
    :param path: that socket's.
    :param user: who to be there; None for the default user.
    :param password: None where none is needed.
    :param database: the number of the database.
    :param tls: whether it is spoken to over TLS.
    """

    host: str = ""
    port: int = _PORT
    path: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: bool = False

    def __str__(self) -> str:
        """Write the address without user and password."""
        if self.path:
            return f"unix://{self.path}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' if self.tls else ''}://{host}:{self.port}/{self.database}"


def parse_backend(text: str) -> Backend | None:
    """Read a value of the option.

    :return: None for :data:`MEMORY`.
    :raises ValueError: saying what is wrong, and nothing of what may be secret.
    """
    if text == MEMORY:
        return None
    if "#" in text:
        raise ValueError("has a # in it, which a password must write as %23")
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError:
        raise ValueError(f"is no address: it must be {_ALLOWED}") from None
    if address.scheme == "unix":
        return _unix(address)
    if address.scheme not in _TLS:
        raise ValueError(f"must be {_ALLOWED}")
    if not address.hostname:
        raise ValueError("names no host")
    if port == 0:
        raise ValueError("names port 0, where nobody listens")
    if address.query:
        raise ValueError("has a query, which means nothing there")
    return Backend(
        host=address.hostname,
        port=port or _PORT,
        user=_unquoted(address.username),
        password=_unquoted(address.password),
        database=_database(address.path.removeprefix("/") or "0"),
        tls=_TLS[address.scheme],
    )


def _unix(address: SplitResult) -> Backend:
    if address.hostname or not address.path.startswith("/"):
        raise ValueError("is no path of a socket: it must be unix:///path")
    query = parse_qs(address.query, keep_blank_values=True)
    if query.keys() - {"db"}:
        raise ValueError("has something other than db in its query")
    return Backend(
        path=unquote(address.path),
        user=_unquoted(address.username),
        password=_unquoted(address.password),
        database=_database(query.get("db", ["0"])[-1]),
    )


def _unquoted(text: str | None) -> str | None:
    return unquote(text) if text else None


def _database(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError("names no database: that is a number from 0 on")
    return int(text)
