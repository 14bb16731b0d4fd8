"""Requests as bytes, right and wrong.

A request has an id of its own, which its answer carries. One whose id begins with ``smuggled`` is no request: its bytes
are in the body of another, or behind one that must end the connection, and nobody may answer it.
"""

from collections.abc import Callable
from random import Random
from typing import Final

HEAD_BYTES: Final = 16_384
HEADERS: Final = 64
"""The limits of the server's heads."""


def request(name: str, line: bytes = b"GET /health HTTP/1.1", *lines: bytes, body: bytes | None = None) -> bytes:
    """Write a request.

    :param lines: more headers.
    :param body: with its length told.
    """
    length = [] if body is None else [b"Content-Length: %d" % len(body)]
    return b"\r\n".join([line, b"Host: x", b"X-Request-Id: " + name.encode(), *lines, *length, b"", body or b""])


SMUGGLED: Final = request("smuggled")
JSON: Final = b"Content-Type: application/json"
CHUNKED: Final = b"Transfer-Encoding: chunked"
POST: Final = b"POST /v1/completions HTTP/1.1"
LAST: Final = request("last", b"GET /version HTTP/1.1", b"Connection: close")


def prompt(*more: bytes) -> bytes:
    """Write the body of a completion request, with more members."""
    return b"{" + b", ".join([b'"prompt": "a"', b'"max_tokens": 3', *more]) + b"}"


def chunked(chance: Random, body: bytes, *, extensions: bool = True) -> bytes:
    """Cut a body into chunks."""
    out = b""
    while body:
        size = min(len(body), chance.choice((1, 2, 7, 40, 1000)))
        extension = chance.choice((b"", b"", b";a", b";a=b", b';a="GET /health HTTP/1.1"')) if extensions else b""
        out += chance.choice((b"%x", b"%X", b"0%x", b"00000%x")) % size + extension + b"\r\n" + body[:size] + b"\r\n"
        body = body[size:]
    trailers = chance.choice((b"", b"", b"X: y\r\n", b"GET: /health\r\nHost: x\r\nX-Request-Id: smuggled\r\n"))
    return out + b"0\r\n" + trailers + b"\r\n"


def good(chance: Random, name: str) -> bytes:
    """Write a request that has an answer, if only that there is no such thing."""
    stream = prompt(b'"stream": true')
    body = chance.choice((prompt(), stream, SMUGGLED, b"", b"[" * 300, b"\xff\xfe{}", b"{" + b" " * 3000))
    makers: list[Callable[[], bytes]] = [
        lambda: request(name),
        lambda: request(name, b"GET /version HTTP/1.1", b"X: " + b"y" * chance.randrange(3000)),
        lambda: request(name, b"GET /nowhere/%d HTTP/1.1" % chance.randrange(9)),
        lambda: request(name, b"GET http://x/health?a=b HTTP/1.1"),
        lambda: request(name, b"GET /he%61lth HTTP/1.1", body=SMUGGLED),
        lambda: request(name, b"GET /v1/models/ HTTP/1.1"),
        lambda: request(name, b"OPTIONS * HTTP/1.1"),
        lambda: request(name, b"DELETE /v1/completions HTTP/1.1", body=SMUGGLED),
        lambda: request(name, b"GET /health HTTP/1.1", b"Upgrade: h2c", b"Connection: Upgrade", body=SMUGGLED),
        lambda: request(name, POST, JSON, b"Expect: 100-continue", body=body),
        lambda: request(name, POST, JSON, body=body),
        lambda: request(name, POST, JSON, body=prompt()),
        lambda: request(name, POST, JSON, body=stream),
        lambda: request(name, b"POST /tokenize HTTP/1.1", body=SMUGGLED),
        lambda: (
            request(name, POST, JSON, chance.choice((CHUNKED, b"transfer-encoding:\tCHUNKED "))) + chunked(chance, body)
        ),
        lambda: request(name, POST, JSON, b"Upgrade: x", b"Connection: upgrade", CHUNKED) + chunked(chance, SMUGGLED),
        lambda: b"\r\n" * chance.randrange(3) + request(name),
        lambda: (
            request(name, POST, JSON, b"Content-Length: " + b"0" * chance.choice((1, 5000)) + b"%d" % len(body)) + body
        ),
    ]
    return chance.choice(makers)()


_LENGTHS: Final = (
    *(b"+%d", b"-%d", b"%d,%d", b"%d, %d", b"0x%x", b"%d %d", b"%d;", b"%d.0", b"%de0", b"\x0b%d", b"%d\xb2", b"%d_0"),
    *(b"", b"9" * 30, b"18446744073709551616", b"%d\r\nContent-Length: %d", b"%d\r\nContent-Length: 0", b"\r\n %d"),
    *(b"%d\r\nTransfer-Encoding: chunked", b"0\r\nTransfer-Encoding: chunked", b"%d\r\nTransfer-Encoding: identity"),
)
_CODINGS: Final = (
    *(b"identity", b"chunked, identity", b"xchunked", b"chunkedx", b"chunked;q=1", b"\x0bchunked", b"chunked, chunked"),
    *(b"", b'"chunked"', b"chun\r\n ked", b"chunked\r\nTransfer-Encoding: identity", b"chunked,", b"chunked\x00"),
    *(b"chunked\r\nContent-Length: 0", b"chunked\r\nContent-Length: 5", b"chunked\r\nContent-Length: 1000"),
)
_SIZES: Final = (
    *(
        b"+%x",
        b"-%x",
        b"0x%x",
        b" %x",
        b"%x ",
        b"%x\t",
        b"%xg",
        b"",
        b"g",
        b"%x\x00",
        b"\xb2",
        b"1" + b"0" * 16,
        b"%x\n",
    ),
    *(b"%x\r\r\n", b"%x;\x00", b"%x;a\n", b"%x;a\rb", b"_%x"),
)
_HEADS: Final = (
    *(
        b"GET",
        b"GET /health",
        b"GET  /health HTTP/1.1",
        b"GET /health HTTP/1.1 ",
        b"GET /health HTTP/1.2",
        b"get / HTTP/1.1",
    ),
    *(
        b"GET /health HTTP/11",
        b"GET /health HTTP/1.",
        b"GET /health http/1.1",
        b"G\xc9T / HTTP/1.1",
        b"GET /\xff HTTP/1.1",
    ),
    *(
        b"GET /a\0b HTTP/1.1",
        b"GET /a\tb HTTP/1.1",
        b"GET health HTTP/1.1",
        b"GET ? HTTP/1.1",
        b"QUIT / HTTP/1.1",
        b"\0",
    ),
    *(b"PRI * HTTP/2.0", b"SSH-2.0-OpenSSH_9.2", b"GET /health HTTP/1.1\rX: y", b"<html>", b"{}", b"HTTP/1.1 200 OK"),
    *(
        b"GET /health HTTP/1.1\r\n X: y",
        b"GET /health HTTP/1.1\r\n: y",
        b"GET /health HTTP/1.1\r\nX y",
        b"\x80\x2e\x01\x00\x02",
    ),
    *(
        b"GET /health HTTP/1.1\r\nX : y",
        b"GET /health HTTP/1.1\r\nX\0: y",
        b"GET /health HTTP/1.1\r\nX: \0",
        b"\xef\xbb\xbfGET",
    ),
    *(b"GET /health HTTP/1.1\r\nX: y\r\n z", b"GET /health HTTP/1.1\r\nX: \x01", b"GET /health HTTP/1.1\r\n\xff: y"),
    *(
        b"GET /health HTTP/1.1\nHost: x",
        b"GET /health HTTP/1.1\r\nX: y\n\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ),
)


def wrong(chance: Random) -> bytes:
    """Write what is no request, with one behind it that nobody may answer."""
    body = chance.choice((SMUGGLED, b"0\r\n\r\n" + SMUGGLED, b"5\r\nhello\r\n0\r\n\r\n" + SMUGGLED))
    size = len(body)

    def filled(template: bytes) -> bytes:
        return template.replace(b"%d", b"%d" % size).replace(b"%x", b"%x" % size)

    def cased(line: bytes) -> bytes:
        return chance.choice((line, line.lower(), line.upper(), line.swapcase()))

    length = cased(b"Content-Length") + b":" + chance.choice((b" ", b"", b"\t")) + filled(chance.choice(_LENGTHS))
    coding = cased(b"Transfer-Encoding") + b": " + chance.choice(_CODINGS)
    spaced = chance.choice(
        (b"Content-Length : %d" % size, b"Transfer-Encoding : chunked", b"Content-Length\t: %d" % size)
    )
    chunk = filled(chance.choice(_SIZES)) + b"\r\n" + body + b"\r\n0\r\n\r\n"
    many = [b"X: y"] * chance.randrange(HEADERS, HEADERS + 9)
    huge = HEAD_BYTES + chance.randrange(1000)
    makers: list[Callable[[], bytes]] = [
        *[lambda: request("smuggled-l", POST, JSON, length) + body] * 3,
        *[lambda: request("smuggled-c", POST, JSON, coding) + body] * 3,
        lambda: request("smuggled-s", POST, JSON, spaced) + body,
        *[lambda: request("smuggled-k", POST, JSON, CHUNKED) + chunk] * 3,
        *[lambda: chance.choice(_HEADS) + b"\r\n" + request("smuggled-h")] * 4,
        lambda: request("smuggled-m", b"GET /health HTTP/1.1", *many) + SMUGGLED,
        lambda: b"GET /" + b"y" * huge + b" HTTP/1.1\r\n\r\n" + SMUGGLED,
        lambda: request("smuggled-v", b"GET /health HTTP/1.1", b"X: " + b"y" * huge) + SMUGGLED,
        lambda: request("smuggled-n", b"GET /health HTTP/1.1", b"y" * huge + b": x") + SMUGGLED,
    ]
    return chance.choice(makers)()
