# -*- test-case-name: tests.config.test_endpoints -*-
"""The words of an endpoint string in Twisted's syntax: ``kind:positional:name=value``, a backslash before colons."""

from typing import Final

from attrs import frozen

TLS_KINDS: Final = ("selfsignedtls", "reloadingtls")
"""The endpoints of ours that speak TLS."""


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
