# -*- test-case-name: tests.structured.test_formats -*-
"""Texts in the formats that JSON Schema has names for."""

import base64
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from uuid import UUID

WORDS: Final = (
    "harbour",
    "lantern",
    "marble",
    "orchard",
    "pepper",
    "quiet",
    "river",
    "saffron",
    "timber",
    "violet",
    "walnut",
    "zephyr",
)
"""What texts are made of where nothing is said of them."""

_TOP_LEVEL: Final = ("com", "net", "org")
_FIRST_DAY: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SECONDS: Final = 30 * 365 * 24 * 3600
_LONGEST_NAME: Final = 250
_LONGEST_LABEL: Final = 60
"""Letters in one part of a name; 63 are allowed."""


def _instant(generator: random.Random) -> datetime:
    return _FIRST_DAY + timedelta(seconds=generator.randrange(_SECONDS))


def _date_time(generator: random.Random, least: int) -> str:
    text = _instant(generator).strftime("%Y-%m-%dT%H:%M:%SZ")
    return text if len(text) >= least else text[:-1] + ".000000"[: max(2, least - len(text))] + "Z"


def _date(generator: random.Random) -> str:
    return _instant(generator).strftime("%Y-%m-%d")


def _time(generator: random.Random, least: int) -> str:
    return _date_time(generator, least + 11)[11:]


def _duration(generator: random.Random) -> str:
    return f"P{generator.randint(0, 30)}DT{generator.randint(1, 23)}H{generator.randint(0, 59)}M"


def _letters(generator: random.Random, least: int) -> str:
    text = generator.choice(WORDS)
    while len(text) < least:
        text += generator.choice(WORDS)
    return text


def _hostname(generator: random.Random, least: int) -> str:
    top = generator.choice(_TOP_LEVEL)
    text = f"{generator.choice(WORDS)}.{top}"
    least = min(least, _LONGEST_NAME)
    while len(text) < least:
        label = min(max(1, least - len(text) - 1), _LONGEST_LABEL)
        text = f"{_letters(generator, label)[:label]}.{text}"
    return text


def _email(generator: random.Random, least: int) -> str:
    host = _hostname(generator, least - _LONGEST_LABEL - 1)
    missing = least - len(host) - 1
    return f"{_letters(generator, missing)[: max(missing, _LONGEST_LABEL)]}@{host}"


def _uri(generator: random.Random, least: int) -> str:
    text = f"https://{_hostname(generator, 0)}/"
    return text + _letters(generator, least - len(text))


def _path(generator: random.Random, least: int) -> str:
    return f"/{_letters(generator, least - 1)}"


def _uuid(generator: random.Random) -> str:
    return str(UUID(int=generator.getrandbits(128), version=4))


_FIXED: Final[Mapping[str, Callable[[random.Random], str]]] = {
    "date": _date,
    "duration": _duration,
    "ipv4": lambda generator: str(IPv4Address(generator.getrandbits(32))),
    "ipv6": lambda generator: str(IPv6Address(generator.getrandbits(128))),
    "uuid": _uuid,
}
"""Formats whose texts are as long as they are."""

_OPEN: Final[Mapping[str, Callable[[random.Random, int], str]]] = {
    "date-time": _date_time,
    "time": _time,
    "email": _email,
    "idn-email": _email,
    "hostname": _hostname,
    "idn-hostname": _hostname,
    "uri": _uri,
    "iri": _uri,
    "uri-reference": _path,
    "iri-reference": _path,
    "uri-template": _path,
    "regex": _letters,
    "json-pointer": _path,
    "relative-json-pointer": lambda generator, least: f"0{_path(generator, least - 1)}",
    # OpenAPI's name of base64.
    "byte": lambda generator, least: base64.b64encode(generator.randbytes(max(6, -(-least // 4) * 3))).decode(),
}
"""Formats whose texts can be longer when they must be."""


def draw_format(name: str, generator: random.Random, least: int) -> str | None:
    """Draw a text in a format.

    :param least: how many characters it should have at least; it has fewer where the format allows no more.
    :return: None when the format says nothing to us.
    """
    if name in _FIXED:
        return _FIXED[name](generator)
    return _OPEN[name](generator, least) if name in _OPEN else None
