"""What clients send on a connection, and what must come of it."""

from collections.abc import Sequence
from random import Random
from typing import Final, Literal

from attrs import frozen

from tests.fuzz.requests import HEADERS, JSON, LAST, POST, SMUGGLED, good, prompt, request, wrong

End = Literal["closed", "refused", "cut", "left", "foreign", "any"]


@frozen
class Exchange:
    """What a client sends, and what must come.

    :param answered: ids of requests that are answered first, in this order.
    :param at_once: whether all must be sent in one piece, as the server closes behind the first request.
    :param end: what is next. ``closed``: the server closes, and nothing more comes. ``refused``: that these bytes are
        no request, and then likewise. ``cut``: nothing, as something is missing, and the client ends. ``left``:
        anything, as the client leaves without reading it all. ``foreign``: nothing in HTTP/1.1. ``any``: anything that
        is no fault.
    """

    data: bytes
    answered: Sequence[str] = ()
    end: End = "closed"
    at_once: bool = False


def several(chance: Random, names: Sequence[str]) -> bytes:
    """Write several requests."""
    return b"".join(good(chance, name) for name in names)


def numbered(chance: Random, most: int) -> list[str]:
    """Name some requests."""
    return [f"r{number}" for number in range(chance.randrange(most))]


def pipelined(chance: Random, _: int) -> Exchange:
    """Make many requests that are all answered."""
    names = numbered(chance, 40)
    return Exchange(several(chance, names) + LAST, [*names, "last"])


def broken_off(chance: Random, _: int) -> Exchange:
    """Make requests, behind which comes what is none."""
    names = numbered(chance, 4)
    return Exchange(several(chance, names) + wrong(chance), names, "refused")


_WHOLE: Final = tuple(good(Random(number), "smuggled") for number in range(60))
_CUTS: Final = [(whole, cut) for whole in dict.fromkeys(_WHOLE) for cut in range(min(len(whole), 600))]


def truncated(chance: Random, serial: int) -> Exchange:
    """Cut a request off: each in turn behind each of its bytes."""
    whole, cut = _CUTS[serial * 7919 % len(_CUTS)]
    names = numbered(chance, 2)
    return Exchange(several(chance, names) + whole[:cut], names, "cut")


def mutated(chance: Random, _: int) -> Exchange:
    """Break some bytes of some requests."""
    data = bytearray(several(chance, ["a", "b", "c"][: chance.randrange(1, 4)]))
    for _ in range(chance.randrange(1, 6)):
        at, size = chance.randrange(len(data) + 1), chance.choice((0, 1, 1, 2, 9))
        piece = chance.choice(
            (b"", b"\r\n", b"\0", b":", b" ", b"\n", b"%", chance.randbytes(3), bytes(data[at : at + 50]))
        )
        data[at : at + size] = piece
    return Exchange(bytes(data), (), "any")


_CHARACTERS: Final = b"/%25~a.?#&;=+:@[]{}|\\^`'\"<>*!$(),-_0F\xc3\xa4"


def strange_target(chance: Random, _: int) -> Exchange:
    """Ask for what is no path, or one that is oddly written."""
    stem = chance.choice(
        (b"/", b"/health", b"/v1/responses/", b"/adapters/", b"/admin/requests?", b"//", b"http://", b"*", b"")
    )
    target = stem + bytes(chance.choice(_CHARACTERS) for _ in range(chance.choice((1, 5, 40, 2000))))
    method = chance.choice((b"GET", b"POST", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE", b"PROPFIND", b"M-SEARCH"))
    version = chance.choice((b"1.1", b"1.1", b"1.0"))
    return Exchange(request("a", b"%b %b HTTP/%b" % (method, target, version)) + LAST, (), "any")


def strange_headers(chance: Random, _: int) -> Exchange:
    """Send headers that mean something, with values that mean nothing, up to the limits."""
    names = (
        *(
            b"Accept",
            b"Authorization",
            b"Connection",
            b"Content-Encoding",
            b"Content-Type",
            b"Cookie",
            b"Expect",
            b"Host",
        ),
        *(b"If-Match", b"Origin", b"Range", b"TE", b"Trailer", b"Upgrade", b"X-Data-Parallel-Rank", b"X-Return-Error"),
        *(b"X-Vllm-Priority", b"X-Cache-Threshold-Finish-Reason", b"traceparent", b"tracestate", b"X-Send-Image"),
    )
    lines = []
    for _ in range(chance.choice((1, 3, HEADERS - 6))):
        size = chance.choice((0, 1, 9, 150))
        letters = bytes(chance.choice(b'0129-,;=/"abz \t\xc3\xa4\xff%') for _ in range(size))
        known = chance.choice(
            (letters, b"100-continue", b"close", b"Bearer x", b"9" * size, b"gzip", b"websocket", b"00-0-0-0")
        )
        lines.append(chance.choice(names) + b": " + known)
    return Exchange(request("a", POST, *lines, body=prompt()) + LAST, (), "any")


def left(chance: Random, _: int) -> Exchange:
    """Ask for long answers, and do not read them to their end."""
    stream = prompt(b'"stream": true, "ignore_eos": true, "n": 8').replace(b"3", b"%d" % chance.choice((5, 400)))
    return Exchange(request("a", POST, JSON, body=stream) * chance.randrange(1, 5), (), "left")


def foreign(chance: Random, _: int) -> Exchange:
    """Speak another protocol, or change to one."""
    key = (b"Connection: Upgrade", b"Sec-WebSocket-Key: dGhlIHNhbXBsZQ==", b"Sec-WebSocket-Version: 13")
    settings = (b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAAP__")
    noise = chance.randbytes(chance.choice((3, 50, 500)))
    tunnel = request("a", b"CONNECT x:80 HTTP/1.1", body=chance.choice((None, b"hello")))
    return chance.choice(
        (
            Exchange(
                request("a", b"GET /v1/realtime HTTP/1.1", b"Upgrade: websocket", *key) + b"\x81\x85", ["a"], "any"
            ),
            Exchange(request("a", b"GET /health HTTP/1.1", b"Upgrade: h2c", *settings) + LAST, ["a", "last"]),
            Exchange(tunnel + SMUGGLED, ["a"], at_once=True),
            Exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise, (), "foreign"),
            Exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[: chance.randrange(1, 24)], (), "any"),
            Exchange(b"\x16\x03\x01" + noise, (), "refused"),
            Exchange(noise, (), "any"),
        )
    )


KINDS: Final = (
    pipelined,
    broken_off,
    truncated,
    mutated,
    strange_target,
    strange_headers,
    foreign,
    truncated,
    broken_off,
    left,
)
