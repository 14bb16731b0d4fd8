# -*- test-case-name: tests.web.middleware.test_masking -*-
"""What is not to be in a log, and how what clients have sent is shown there.

A header, or an argument of a query, is masked if it is called like a secret, as in the journal. Values that the server
knows as secrets are masked wherever they are; and so are, in what administrators send and are shown, the values of
members that are called as secret options are.
"""

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from attrs import define, field

from vllmsim.secrecy import MASK, looks_secret, open_target

_SCHEME: Final = re.compile("(?:basic|bearer|digest|negotiate) ", re.IGNORECASE)
_LETTER: Final = r"[\w./+=~-]"
_WORD: Final = re.compile(f"{_LETTER}+")
_BETWEEN: Final = bytes(byte if not chr(byte).isascii() or _WORD.fullmatch(chr(byte)) else 32 for byte in range(256))
"""Makes blanks of what is between words."""
_SHORTEST: Final = 4
"""Shorter secrets are masked by their place alone: others would be found in every other word."""
_FEW: Final = 4
_DEEPEST: Final = 32


def on_one_line(text: str) -> str:
    """Write a text so that it is one line: as it is, or as JSON does where it has anything that is not printed."""
    return text if text.isprintable() else json.dumps(text)


def as_text(data: bytes, most: int) -> str:
    """Read bytes as text, and say how many there are if they are too many or no text.

    :param most: how many are shown.
    """
    shown = data[:most]
    try:
        # A character may be cut.
        text = getincrementaldecoder("utf-8")().decode(shown, final=len(data) <= most)
    except UnicodeDecodeError:
        return f"<{len(data)} bytes that are no text>"
    return text if len(data) <= most else f"{text} ... [truncated, total {len(data)} bytes]"


def _sorted(values: Iterable[str]) -> list[str]:
    """Sort secrets: those first that are no words, and the longest of each, as one may be in another."""
    long_enough = {value for value in values if len(value) >= _SHORTEST}
    return sorted(long_enough, key=lambda value: (_WORD.fullmatch(value) is not None, -len(value), value))


@define(eq=False, repr=False)
class Masking:
    """Masks what is secret here.

    :param values: the secrets.
    :param names: options that are secrets.
    """

    _values: list[str] = field(converter=_sorted)
    _names: Collection[str]
    _few: list[str] = field(init=False)
    _many: frozenset[bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Few are looked for one by one; of many, the words of a text are looked up.
        odd = sum(_WORD.fullmatch(value) is None for value in self._values)
        count = max(odd, _FEW)
        self._few, self._many = self._values[:count], frozenset(each.encode() for each in self._values[count:])

    def text(self, text: str) -> str:
        """Mask the secrets that a text has."""
        for secret in self._few:
            if secret in text:
                text = text.replace(secret, MASK)
        if self._many:
            words = text.encode("utf-8", "replace").translate(_BETWEEN).split()
            for found in self._many.intersection(words):
                secret = found.decode()
                text = re.sub(rf"(?<!{_LETTER}){re.escape(secret)}(?!{_LETTER})", MASK, text)
        return text

    def header(self, name: str, value: str) -> str:
        """Mask a header's value, but for the scheme of an authorization."""
        if not looks_secret(name):
            return self.text(value)
        scheme = _SCHEME.match(value)
        return f"{scheme[0] if scheme else ''}{MASK}"

    def target(self, target: str) -> str:
        """Mask the arguments of a request's target."""
        return self.text(open_target(target))

    def options(self, text: str) -> str:
        """Mask what administrators have sent, or are shown: JSON, or something else that may name options."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            named = any(name in text.lower().replace("_", "-") for name in self._names)
            return "<not shown: it names options that are secrets>" if named else self.text(text)
        return self.text(json.dumps(self._masked(value), ensure_ascii=False))

    def _masked(self, value: Any, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            return MASK
        if isinstance(value, Mapping):
            return {
                name: MASK if self._is_option(name) else self._masked(each, depth + 1) for name, each in value.items()
            }
        if isinstance(value, list):
            return [self._masked(each, depth + 1) for each in value]
        return value

    def _is_option(self, name: str) -> bool:
        return name.lower().replace("_", "-") in self._names


def headers_shown(
    headers: Iterable[tuple[bytes, bytes]], masking: Masking, most: int, longest: int
) -> list[tuple[str, str]]:
    """Read headers, mask them and cut those that are long.

    :param most: how many are shown.
    :param longest: how many bytes of each.
    """
    shown: list[tuple[str, str]] = []
    for raw_name, raw in headers:
        if len(shown) == most:
            shown.append(("...", "and more"))
            break
        name = raw_name.decode("latin-1").lower()
        value = masking.header(name, raw[:longest].decode("latin-1"))
        shown.append((name, value if len(raw) <= longest else f"{value} ... [truncated, total {len(raw)} bytes]"))
    return shown
