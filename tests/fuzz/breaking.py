"""Ways to break a JSON body: in some places, in its form, and by sheer size."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

JSON: Final = "application/json"
LARGEST: Final = 4_000_000
"""Bytes of the largest bodies, a little below the limit."""


def nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    """Write lists or objects, one in another."""
    return opening * levels + (closing if opening == "[" else "1" + closing) + closing * (levels - 1)


_ODD: Final = (
    *("1e15", "1000000000000000", "-1", "0", "1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 5000, "1e999", "-1e999"),
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "1e-400",
        "-0.0",
        "0.1",
        "9223372036854775808",
        "18446744073709551616",
        "true",
        "null",
    ),
    *(
        '""',
        '"\\u0000"',
        '"\\ud800"',
        '"\\udfff\\ud800"',
        '"1"',
        '"\\u202e\\ufeff\\uffff"',
        '"%s{}\\\\"',
        "[]",
        "{}",
        "[[]]",
    ),
    *(
        "[null]",
        '{"":""}',
        '{"a":1,"a":2}',
        '{"\\ud800":1}',
        '{"type":"text"}',
        '{"$ref":"#"}',
        '[{"role":"user"}]',
        '"auto"',
    ),
    *(nested(100), nested(129), nested(400), nested(1000), nested(400, '{"a":', "}"), nested(1000, '{"a":', "}")),
    *('"' + "a" * 20_000 + '"', '"' + "a " * 9000 + '"', "[" + "1," * 20_000 + "1]", "[" + '"a",' * 20_000 + '"a"]'),
    *(
        "[" + "{}," * 17_000 + "{}]",
        "{" + ",".join(f'"{number}":1' for number in range(17_000)) + "}",
        '"file:///etc/passwd"',
    ),
    *(
        '"(a+)+$"',
        '"data:image/png;base64,AAAA"',
        '"http://127.0.0.1:1/"',
        '"' + "(" * 3000 + '"',
        '"1s"',
        '"-5ms"',
        '"' + "9" * 5000 + 's"',
    ),
)
"""Values that are seldom meant, as JSON or what some take for it."""
_MARK: Final = "\x01@%d@"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """List where in a body something is: containers and keys."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in list(pairs):
        yield value, key
        yield from _places(each)


def broken(chance: Random, whole: Any) -> bytes:
    """Break one to three places of a body."""
    body = json.loads(json.dumps(whole))
    raw: list[str] = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = list(_places(body))
        if not places:
            break
        container, key = chance.choice(places)
        what = chance.randrange(10)
        if what < 6:
            container[key] = _MARK % len(raw)
            raw.append(chance.choice(_ODD))
        elif what == 6:
            del container[key]
        elif what == 7 and isinstance(container, dict):
            container[chance.choice((str(key).upper(), f"{key}s", "", "\ufeff", "__proto__"))] = container.pop(key)
        elif what == 8:
            container[key] = chance.choice(
                ([container[key]], {"a": container[key]}, [container[key]] * 50, str(container[key]))
            )
        else:
            container[key] = json.loads(json.dumps(chance.choice([each[name] for each, name in places])))
    text = json.dumps(body)
    for number, each in enumerate(raw):
        text = text.replace(json.dumps(_MARK % number), each)
    return text.encode("utf-8", "surrogatepass")


def enveloped(chance: Random, whole: Any) -> tuple[bytes, dict[str, str]]:
    """Write a body in another encoding, form or kind than it should have.

    :return: it, and headers.
    """
    text = json.dumps(whole, ensure_ascii=False).replace("a", "\u00e4")
    plain = text.encode()
    at = chance.randrange(len(plain))
    ways: list[Callable[[], tuple[bytes, dict[str, str]]]] = [
        *[lambda: (text.encode(chance.choice(("utf-16", "utf-32", "utf-16-be", "utf-8-sig", "latin-1", "utf-7"))), {})]
        * 3,
        lambda: (plain[:at], {}),
        lambda: (
            plain[:at]
            + chance.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\0", b"\x1b", b"//", b"'"))
            + plain[at:],
            {},
        ),
        lambda: (plain[:at] + chance.randbytes(3) + plain[at + 3 :], {}),
        lambda: (gzip.compress(plain), {"Content-Encoding": "gzip"}),
        lambda: (zlib.compress(plain), {"Content-Encoding": "deflate"}),
        lambda: (gzip.compress(b" " * 9_000_000), {"Content-Encoding": "gzip"}),
        lambda: (plain, {"Content-Encoding": chance.choice(("br", "identity", "gzip", "gzip, gzip", "\xff"))}),
        lambda: (
            plain,
            {
                "Content-Type": chance.choice(
                    ("text/plain", "", "application/json;charset=utf-16", "x", "/", "a/b+json")
                )
            },
        ),
        lambda: (
            plain,
            {"Content-Type": chance.choice(("multipart/form-data; boundary=x", "application/x-www-form-urlencoded"))},
        ),
        lambda: (plain + chance.choice((b",", b"{}", b"\0", plain)), {}),
        lambda: (chance.choice((b"", b" ", b"null", b"1", b'"a"', b"[]", b"{}", b"\xef\xbb\xbf{}", b"NaN", b"{]")), {}),
    ]
    return chance.choice(ways)()


_FILLINGS: Final = (
    *("{}", "1", '"a"', "[1]", "[]", '{"role":"user","content":"x"}', '[{"role":"user","content":"x"}]', "null", "1e9"),
    *('{"type":"text","text":"x"}', '{"type":"image_url","image_url":{"url":"data:,x"}}', '{"text":"x"}', "9" * 25),
    *('{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}', '{"index":0,"token_ids":[1]}'),
    *('{"name":"f","input_schema":{"type":"object"}}', '{"type":"function","name":"f","parameters":{"type":"object"}}'),
)


def filled(chance: Random, whole: Any) -> bytes:
    """Put a great many items, a great depth, or a great text in one place of a body."""
    body = json.loads(json.dumps(whole))
    container, key = chance.choice(list(_places(body)))
    container[key] = _MARK % 0
    size = chance.choice((100_000, 100_000, 1_000_000, LARGEST))
    item, piece = (
        chance.choice(_FILLINGS),
        chance.choice(("a", "a ", "\\n", "\\ud83d\\ude00", "\\ud800", "(", "%", "A=")),
    )
    levels = chance.choice((10_000, 100_000, 400_000))
    ways: list[Callable[[], str]] = [
        *[lambda: "[" + ",".join([item] * (size // (len(item) + 1))) + "]"] * 3,
        lambda: "{" + ",".join(f'"{number}":1' for number in range(size // 11)) + "}",
        lambda: "{" + ",".join(['"a":{}'] * (size // 7)) + "}",
        lambda: '"' + piece * (size // len(piece)) + '"',
        lambda: nested(levels, *chance.choice((("[", "]"), ('{"a":', "}")))),
        lambda: "9" * size,
    ]
    return json.dumps(body).replace(json.dumps(_MARK % 0), chance.choice(ways)()).encode()
