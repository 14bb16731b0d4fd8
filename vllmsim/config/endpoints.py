# -*- test-case-name: tests.config.test_endpoints -*-
"""The words of an endpoint string in Twisted's syntax: ``kind:positional:name=value``, a backslash before colons."""

from collections.abc import Mapping
from typing import Final

from attrs import frozen

TLS_KINDS: Final = ("selfsignedtls", "reloadingtls")
"""The endpoints of ours that speak TLS."""
_MOST_PORTS: Final = 65535
_LONGEST: Final = 9
_OCTAL: Final = frozenset("01234567")
_DECIMAL: Final = _OCTAL | {"8", "9"}
_ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": (
        "port", "privateKey", "certKey", "sslmethod", "interface", "backlog", "extraCertChain", "dhParameters",
    ),
    "unix": ("address", "mode", "backlog", "lockfile"),
}  # fmt: skip
"""The arguments of the endpoints whose own words about mistakes are Python's, in their order."""


@frozen
class EndpointWords:
    """An endpoint string, taken apart.

    :param kind: its prefix.
    :param positional: the words without a name, behind it.
    :param named: those with one.
    """

    kind: str
    positional: tuple[str, ...]
    named: dict[str, str]


def endpoint_words(endpoint: str) -> EndpointWords:
    """Take an endpoint string apart, as Twisted does.

    :raises ValueError: when it ends within a word.
    """
    words: list[list[str]] = [[""]]
    characters = iter(endpoint)
    for character in characters:
        word = words[-1]
        if character == "\\":
            following = next(characters, None)
            if following is None:
                raise ValueError("a backslash must have a character behind it")
            word[-1] += following
        elif character == ":":
            words.append([""])
        elif character == "=" and len(word) == 1:
            word.append("")
        else:
            word[-1] += character
    kind, *others = words
    positional = tuple(word[0] for word in others if len(word) == 1)
    return EndpointWords(kind[0], positional, {word[0]: word[1] for word in others if len(word) > 1})


def endpoint_arguments(words: EndpointWords) -> dict[str, str]:
    """Name the arguments of an endpoint, as far as their order is known."""
    return dict(zip(_ARGUMENTS.get(words.kind, ()), words.positional, strict=False)) | words.named


def endpoint_fault(endpoint: str) -> str | None:
    """Say what is wrong with an endpoint string, as far as it tells; None of kinds that say it well themselves."""
    try:
        words = endpoint_words(endpoint)
    except ValueError as error:
        return str(error)
    known = _ARGUMENTS.get(words.kind)
    return None if known is None else _argument_fault(words, known)


def _argument_fault(words: EndpointWords, known: tuple[str, ...]) -> str | None:
    given = endpoint_arguments(words)
    unknown = [*words.positional[len(known) :], *(name for name in words.named if name not in known)]
    if unknown:
        return f"{words.kind} has no argument {unknown[0]!r}; it has {', '.join(known)}"
    if not given.get(known[0]):
        return f"it names no {known[0]}"
    for name, digits, most in (("port", _DECIMAL, _MOST_PORTS), ("backlog", _DECIMAL, None), ("mode", _OCTAL, None)):
        text = given.get(name, "0")
        if not set(text) <= digits or not 0 < len(text) <= _LONGEST or (most and int(text) > most):
            limit = f" of at most {most}" if most else " of octal digits" if digits is _OCTAL else ""
            return f"{name} must be a number{limit}, not {text!r}"
    return None
