"""What a server sends, read without any leniency: what is no answer of HTTP/1.1 is a finding."""

import json
import re
from typing import Final

from attrs import frozen

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [\x20-\x7e]*\Z")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x20-\x7e\x80-\xff]*)\Z")
_SIZE: Final = re.compile(rb"([0-9a-fA-F]+)\r\n")
_NOT_HTTP: Final = b"Invalid HTTP request received."
_NOTHING: Final = frozenset({204, 304, 307})
"""Statuses of answers without a body."""


@frozen
class Answer:
    """One answer.

    :param headers: by their names in lower case.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def name(self) -> str:
        """The id of the request that it answers; empty for bytes that are none."""
        return self.headers.get("x-request-id", "")

    def check(self) -> None:
        """Hold that it is no fault of the server, and says what is wrong where something is."""
        told = f"{self.status} {self.body[:300]!r}"
        kind = self.headers.get("content-type", "")
        assert self.status < 500, told
        assert b"Traceback" not in self.body, told
        assert b"<html" not in self.body.lower(), told
        if kind == "application/json":
            value = json.loads(self.body)
            if self.status >= 400:
                assert _message(value), told
        elif self.status >= 400:
            assert self.body == _NOT_HTTP, told
        else:
            assert self.body or self.status in _NOTHING, told


def _message(value: object) -> object:
    """Find what the body of an error says; None for one that says nothing."""
    if isinstance(value, dict):
        error = value.get("error", value.get("detail"))
        return error.get("message") if isinstance(error, dict) else error
    return None


def read_answers(data: bytes) -> tuple[list[Answer], bytes]:
    """Read answers, one after another; those that only tell a client to go on are passed over.

    :return: those that are complete, and the bytes behind them.
    """
    answers = []
    while (found := _one(data)) is not None:
        answer, data = found
        if answer.status != 100:
            answers.append(answer)
    return answers, data


def _one(data: bytes) -> tuple[Answer, bytes] | None:
    """Read one.

    :return: it and what is behind it; None if it is not complete.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    if not end:
        assert data[:9] == b"HTTP/1.1 "[: len(data)], data[:100]
        return None
    status = _STATUS.match(first)
    assert status is not None, first[:100]
    headers: dict[str, str] = {}
    for line in lines:
        header = _HEADER.match(line)
        assert header is not None, line[:100]
        headers[header[1].decode().lower()] = header[2].decode("latin-1")
    assert not {"content-length", "transfer-encoding"} <= headers.keys(), headers
    if "transfer-encoding" in headers:
        body = _unchunked(rest)
        return None if body is None else (Answer(int(status[1]), headers, body[0]), body[1])
    size = int(headers.get("content-length", "0"))
    if "content-length" not in headers and int(status[1]) not in _NOTHING | {100}:
        # For clients of HTTP/1.0 the connection's end is the answer's, and nobody knows whether it is complete.
        assert headers.get("connection") == "close", headers
        return None
    return None if len(rest) < size else (Answer(int(status[1]), headers, rest[:size]), rest[size:])


def _unchunked(data: bytes) -> tuple[bytes, bytes] | None:
    """Join the chunks of a body.

    :return: it and what is behind it; None if it is not complete.
    """
    body = b""
    while (size := _SIZE.match(data)) is not None:
        length = int(size[1], 16)
        end = size.end() + length
        if len(data) < end + 2:
            return None
        assert data[end : end + 2] == b"\r\n", data[end : end + 20]
        body, data = body + data[size.end() : end], data[end + 2 :]
        if not length:
            return body, data
    assert len(data) < 20, data[:20]
    return None
