# -*- test-case-name: tests.structured.test_patterns -*-
r"""Regular expressions as clients write them, in the words of Python's parser.

JSON Schema's dialect is that of ECMA-262: ``\u{1F600}``, ``\cA``, ``(?<year>\d+)`` and ``\p{L}`` are unknown
to Python. What Python has no word for at all, the properties of Unicode, is written as a
character from a private plane, which stands for the property in the parsed expression.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from attrs import define, field

from vllmsim.structured.values import Refusal

Property = Callable[[str], bool]
"""Tells whether a character has a property."""

PLACE: Final = 0x10F000
"""The first of the characters that stand for properties."""
MOST_CHARACTERS: Final = 8192
"""How long a pattern may be."""
_FIRST_PLACE: Final = chr(PLACE)
_MOST_PROPERTIES: Final = 0x800
_DEEPEST: Final = 40
"""How deep groups may be nested: Python's parser calls itself for each."""

_TOKEN: Final = re.compile(
    r"""
    \\p\{(?P<has>[^{}]*)\} | \\P\{(?P<lacks>[^{}]*)\} | \\p(?P<short>[A-Z]) | \\P(?P<short_lacks>[A-Z])
    | \\u\{(?P<point>[0-9A-Fa-f]{1,6})\}
    | \\u(?P<high>[dD][89abAB][0-9A-Fa-f]{2})\\u(?P<low>[dD][c-fC-F][0-9A-Fa-f]{2})
    | \\c(?P<control>[A-Za-z]) | \\k<(?P<again>\w+)> | \(\?<(?P<name>[^\W\d]\w*)> | \\(?P<end>z)
    | (?P<escape>\\.) | (?P<open>\[\^?\]?) | (?P<close>\]) | (?P<twice>&&|--|~~|\|\|)
    | (?P<plain>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_CATEGORIES: Final = {
    "Letter": "L",
    "Alphabetic": "L",
    "Alpha": "L",
    "Uppercase_Letter": "Lu",
    "Uppercase": "Lu",
    "Lowercase_Letter": "Ll",
    "Lowercase": "Ll",
    "Titlecase_Letter": "Lt",
    "Modifier_Letter": "Lm",
    "Other_Letter": "Lo",
    "Mark": "M",
    "Nonspacing_Mark": "Mn",
    "Number": "N",
    "Decimal_Number": "Nd",
    "Letter_Number": "Nl",
    "Other_Number": "No",
    "Punctuation": "P",
    "Connector_Punctuation": "Pc",
    "Dash_Punctuation": "Pd",
    "Open_Punctuation": "Ps",
    "Close_Punctuation": "Pe",
    "Other_Punctuation": "Po",
    "Symbol": "S",
    "Currency_Symbol": "Sc",
    "Math_Symbol": "Sm",
    "Modifier_Symbol": "Sk",
    "Other_Symbol": "So",
    "Separator": "Z",
    "Space_Separator": "Zs",
    "White_Space": "Zs",
    "Other": "C",
    "Control": "Cc",
}
_KNOWN: Final = frozenset(_CATEGORIES.values()) | frozenset(["Mc", "Me", "Pi", "Pf", "Zl", "Zp", "Cf", "Co"])
_LETTERS: Final = frozenset({"Lu", "Ll", "Lo"})
"""What is named after its script; signs and marks of that name may belong to all scripts."""
_SCRIPT: Final = re.compile(r"(?:Script|sc|Script_Extensions|scx)=(\w+)\Z")
_CATEGORY: Final = re.compile(r"(?:(?:General_Category|gc)=)?(\w+)\Z")


@define
class Translation:
    """A pattern in Python's dialect.

    :param text: the pattern.
    :param properties: what the characters from :data:`PLACE` on stand for.
    """

    text: str = ""
    properties: list[Property] = field(factory=list)

    def stand_in(self, wanted: Property) -> str:
        """Find the character that stands for a property."""
        if len(self.properties) >= _MOST_PROPERTIES:
            raise Refusal("the pattern has too many properties")
        self.properties.append(wanted)
        return chr(PLACE + len(self.properties) - 1)


def translate(pattern: str) -> Translation:
    """Write a client's pattern in Python's dialect.

    :raises Refusal: when it is too long or too deep, or names a property that we do not know.
    """
    if len(pattern) > MOST_CHARACTERS:
        raise Refusal(f"the pattern has more than {MOST_CHARACTERS} characters")
    if any(character >= _FIRST_PLACE for character in pattern):
        raise Refusal("the pattern has characters of the last private plane")
    translation = Translation()
    out: list[str] = []
    inside, depth = False, 0
    for token in _TOKEN.finditer(pattern):
        kind = str(token.lastgroup)
        said = token[kind]
        if kind in _PROPERTIES:
            place = translation.stand_in(_property(said, has=_PROPERTIES[kind]))
            out.append(place if inside else f"[{place}]")
        elif inside:
            inside = kind != "close" and not (kind == "open" and said.endswith("]"))
            out.append(_within_class(kind, token))
        else:
            inside = kind == "open"
            depth += (said == "(" or kind == "name") - (said == ")")
            if depth > _DEEPEST:
                raise Refusal(f"the pattern has groups more than {_DEEPEST} deep")
            out.append(_rewritten(kind, token))
    translation.text = "".join(out)
    return translation


def _within_class(kind: str, token: re.Match[str]) -> str:
    """Write what stands in a class, where brackets that open and doubled signs are themselves."""
    match kind:
        case "open":
            return "\\" + token[0]
        case "twice":
            return "".join(f"\\{character}" for character in token[0])
        case "name" | "close":
            return token[0]
    return _rewritten(kind, token)


def _rewritten(kind: str, token: re.Match[str]) -> str:
    write = _REWRITTEN.get(kind)
    return _FIXED.get(kind, token[0]) if write is None else write(token)


def _joined(token: re.Match[str]) -> str:
    """Write the two halves of a surrogate pair as one character."""
    high, low = int(token["high"], 16) - 0xD800, int(token["low"], 16) - 0xDC00
    return f"\\U{0x10000 + (high << 10) + low:08x}"


def _property(name: str, *, has: bool) -> Property:
    if script := _SCRIPT.match(name):
        prefix = script[1].upper().replace("_", " ") + " "
        if prefix == "HAN ":
            prefix = "CJK UNIFIED "
        return lambda character: (
            (unicodedata.category(character) in _LETTERS and unicodedata.name(character, "").startswith(prefix)) is has
        )
    if name in {"Any", "ASCII"}:
        most = chr(0x7F if name == "ASCII" else 0x10FFFF)
        return lambda character: (character <= most) is has
    known = _CATEGORY.match(name)
    category = _CATEGORIES.get(known[1], known[1]) if known else ""
    if category not in _KNOWN:
        raise Refusal(f"the pattern names a property that is not known: {name[:40]}")
    return lambda character: unicodedata.category(character).startswith(category) is has


_PROPERTIES: Final = {"has": True, "short": True, "lacks": False, "short_lacks": False}
_FIXED: Final = {"end": r"\Z", "close": r"\]"}
_REWRITTEN: Final[dict[str, Callable[[re.Match[str]], str]]] = {
    "point": lambda token: f"\\U{token['point']:0>8}",
    "low": _joined,
    "control": lambda token: f"\\x{ord(token['control']) % 32:02x}",
    "again": lambda token: f"(?P={token['again']})",
    "name": lambda token: f"(?P<{token['name']}>",
}
