# -*- test-case-name: tests.plugins.guards.test_tokens -*-
"""Looks at tokens that a plugin gives, of which nothing is certain."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import orjson

from vllmsim.inference import Tokens
from vllmsim.plugins.guards.blame import Nonsense


def checked(said: object, vocabulary: int, most: int) -> Tokens:
    """Check tokens, and cut off those that are too many.

    :param vocabulary: every id is below it.
    :param most: how many are looked at.
    :raises Nonsense: when they are no tokens.
    """
    if not isinstance(said, Tokens):
        raise Nonsense(f"it gives no Tokens, but {_kind(said)}")
    ids, texts = checked_ids(said.ids, vocabulary, most), checked_texts(said.texts, most)
    if len(ids) != len(texts):
        raise Nonsense(f"it gives {len(ids)} ids and {len(texts)} texts")
    return Tokens(ids, texts)


def checked_ids(ids: Iterable[Any], vocabulary: int, most: int) -> tuple[int, ...]:
    """Check ids, and cut off those that are too many.

    :raises Nonsense: when one is not in the vocabulary.
    """
    taken = tuple(islice(ids, most))
    for each in taken:
        if not isinstance(each, int) or not 0 <= each < vocabulary:
            raise Nonsense(f"it gives the token {each!r:.60}, which is not in the vocabulary")
    return taken


def checked_texts(texts: Iterable[Any], most: int) -> tuple[str, ...]:
    """Check the texts of tokens, and cut off those that are too many.

    :raises Nonsense: when they are none, or no client could be sent them.
    """
    if isinstance(texts, str):
        raise Nonsense("it gives one text, and not one for each token")
    taken = tuple(islice(texts, most))
    for each in taken:
        if not isinstance(each, str):
            raise Nonsense(f"it gives {_kind(each)} for a text")
    checked_text("".join(taken))
    return taken


def checked_text(text: object) -> str:
    """Check a text.

    :raises Nonsense: when it is none, or no client could be sent it.
    """
    if not isinstance(text, str):
        raise Nonsense(f"it gives {_kind(text)} for a text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Nonsense("it gives a text with half of a character") from None
    return text


def checked_description(told: object) -> dict[str, object]:
    """Check what is told of something, and make of it what JSON says.

    :raises Nonsense: when that is nothing.
    """
    if not isinstance(told, Mapping):
        raise Nonsense(f"it tells of itself by {_kind(told)}")
    described: dict[str, object] = orjson.loads(orjson.dumps(dict(told)))
    return described


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
