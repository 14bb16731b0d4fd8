# -*- test-case-name: tests.web.http2.test_head -*-
"""The head of a request of HTTP/2 as one of HTTP/1.1.

What is a request line there are fields here whose names begin with a colon, before all others: ``:method``,
``:scheme``, ``:path`` and ``:authority``, which stands for ``host``. Names are in lower case; what is about one
connection alone has no place; and what a client remembers (``cookie``) may come in pieces.
"""

import re
from collections.abc import Sequence
from itertools import chain
from typing import Final

from attrs import frozen

Field = tuple[bytes, bytes]

FIELD: Final = 32
"""What each field of a head counts beside its bytes."""
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"[^\0\r\n]*")
_TARGET: Final = re.compile(rb"[!-~\x80-\xff]+")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"}
)


class Malformed(Exception):
    """A head is none of a request."""


@frozen
class RequestHead:
    """What a request begins with.

    :param headers: names in lower case, and values.
    """

    method: bytes
    target: bytes
    headers: list[Field]


def size_of(fields: Sequence[Field]) -> int:
    """Tell how many bytes a head has, as HTTP/2 counts them."""
    return sum(map(len, chain.from_iterable(fields))) + FIELD * len(fields)


def read_head(fields: Sequence[Field], most: int) -> RequestHead:
    """Read the head of a request.

    :param fields: all of them, in their order.
    :param most: how many there may be.
    :raises Malformed: when it is none.
    """
    if len(fields) > most:
        raise Malformed
    pseudo: dict[bytes, bytes] = {}
    headers: list[Field] = []
    cookies: list[bytes] = []
    host: bytes | None = None
    for name, value in fields:
        if name[:1] == b":":
            if headers or cookies or name not in _PSEUDO or name in pseudo:
                raise Malformed
            pseudo[name] = value
            continue
        _check(name, value)
        if name == b"cookie":
            cookies.append(value)
            continue
        if name == b"host":
            host = value
        headers.append((name, value))
    if cookies:
        headers.append((b"cookie", b"; ".join(cookies)))
    authority = pseudo.get(b":authority")
    if authority is not None and host is None:
        headers.insert(0, (b"host", authority))
    return RequestHead(*_line(pseudo, authority), headers)


def _check(name: bytes, value: bytes) -> None:
    """Look at a field that every request may have."""
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or name in _OF_CONNECTIONS:
        raise Malformed
    if name == b"te" and value.lower() != b"trailers":
        raise Malformed


def _line(pseudo: dict[bytes, bytes], authority: bytes | None) -> tuple[bytes, bytes]:
    """Read what would be the request line: method and target."""
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path")
    if not _METHOD.fullmatch(method) or (authority is not None and not _VALUE.fullmatch(authority)):
        raise Malformed
    if method == b"CONNECT":
        if path is not None or b":scheme" in pseudo or not authority or not _TARGET.fullmatch(authority):
            raise Malformed
        return method, authority
    if path is None or b":scheme" not in pseudo or not _TARGET.fullmatch(path):
        raise Malformed
    return method, path
