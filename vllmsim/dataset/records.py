# -*- test-case-name: tests.dataset.test_records -*-
"""What a row of a dataset is: an answer, found by a hash of its prompt.

A dataset is a table of an SQLite file, as the tools of llm-d-inference-sim make it::

    id            INTEGER PRIMARY KEY
    prompt_hash   BLOB      SHA-256 of the prompt's token ids, each as four bytes, the lowest first
    gen_tokens    JSON      {"Tokens": [13048, 0], "Strings": ["Hi", "!"]}
    n_gen_tokens  INTEGER   how many tokens these are

``Tokens`` are the ids and ``Strings`` their texts. The case of the keys does not matter, and ``numbers``, which
descriptions of the format say, is read as ``Tokens`` too. Older files have the texts alone, ``["Hi", "!"]``, and hash
the prompt's text: a completion's as it is, or as a conversation of one message, which is what another version looked
for; a conversation's as below. How prompts are hashed does not tell what answers look like, since versions in between
had each with the other::

    ### user:
    Who is it?
    ### assistant:
    Me.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
from attrs import frozen

from vllmsim.inference import Conversation, Prompt, TextPrompt, Tokens

TABLE: Final = "llmd"
"""The usual name of the table."""
COLUMNS: Final = {"id": "INTEGER", "prompt_hash": "BLOB", "gen_tokens": "JSON", "n_gen_tokens": "INTEGER"}
"""The columns that a table must have, with their types as they are declared."""
LARGEST_ID: Final = 2**32 - 1
LONGEST_ANSWER: Final = 1 << 23
"""Bytes of ``gen_tokens``, at most: other threads would wait too long while more is read."""

_CHUNK: Final = 4096
"""How many ids are hashed at a time: other threads may have a turn in between."""
_ROLES: Final = frozenset({"user", "assistant"})
_ID_KEYS: Final = frozenset({"tokens", "numbers"})
_TEXT_KEY: Final = "strings"


class BadRecordError(Exception):
    """What a row has is no answer; the message says why."""


def quoted(name: str) -> str:
    """Write the name of a table or an index as SQL."""
    return '"' + name.replace('"', '""') + '"'


def create_table(table: str) -> str:
    """Write the statement that makes an empty dataset.

    :param table: any name.
    """
    columns = "prompt_hash BLOB NOT NULL, gen_tokens JSON NOT NULL, n_gen_tokens INTEGER NOT NULL"
    return f"CREATE TABLE {quoted(table)} (id INTEGER PRIMARY KEY, {columns})"


def create_index(table: str) -> str:
    """Write the statement that makes a dataset quick to open: all that is looked for is in the index it makes."""
    return f"CREATE INDEX {quoted(f'{table}_by_prompt')} ON {quoted(table)} (prompt_hash, n_gen_tokens)"


def insert_row(table: str) -> str:
    """Write the statement that adds a row, with the places for a :class:`Row`."""
    return f"INSERT INTO {quoted(table)} (prompt_hash, gen_tokens, n_gen_tokens) VALUES (?, ?, ?)"  # noqa: S608 - quoted


def make_row(prompt: Iterable[int], answer: Tokens) -> tuple[bytes, str, int]:
    """Make what :func:`insert_row` has places for.

    :param prompt: the prompt's token ids.
    """
    return hash_ids(tuple(prompt)), encode_answer(answer), len(answer)


def hash_ids(ids: Sequence[int]) -> bytes:
    """Hash a prompt.

    :param ids: its token ids, from 0 to 2**32 - 1.
    :raises struct.error: when one is beyond that.
    """
    digest = hashlib.sha256()
    for start in range(0, len(ids), _CHUNK):
        some = ids[start : start + _CHUNK]
        digest.update(struct.pack(f"<{len(some)}I", *some))
    return digest.digest()


def hash_texts(prompt: Prompt) -> list[bytes]:
    """Hash a prompt as older files do.

    :return: every hash under which its answers may be; none for a prompt that has no text.
    """
    if isinstance(prompt, Conversation):
        texts = ["".join(_turn(message.role, message.text) for message in prompt.messages)]
    elif isinstance(prompt, TextPrompt):
        texts = [prompt.text, _turn("user", prompt.text)]
    else:
        texts = []
    return [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]


def _turn(role: str, text: str) -> str:
    return f"### {role if role in _ROLES else 'unknown'}:\n{text}\n"


def encode_answer(answer: Tokens) -> str:
    """Write an answer as ``gen_tokens``.

    :raises orjson.JSONEncodeError: when a text is none, having half a surrogate pair.
    """
    return orjson.dumps({"Tokens": list(answer.ids), "Strings": list(answer.texts)}).decode()


@frozen
class Saved:
    """What a row says. It has ids or texts, and at least one token.

    :param ids: the tokens' ids; None if the row has none.
    :param texts: their texts, one for each id if it has ids; None if the row has none, or not as many as ids.
    """

    ids: list[int] | None
    texts: list[str] | None

    def __len__(self) -> int:
        return len(self.texts or () if self.ids is None else self.ids)


def decode_answer(value: object) -> Saved:
    """Read ``gen_tokens``.

    :param value: what the column has.
    :raises BadRecordError: when that is no answer.
    """
    if not isinstance(value, str | bytes):
        raise BadRecordError(f"it is {'empty' if value is None else 'no text'}")
    try:
        content = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise BadRecordError(f"it is not JSON: {error}") from None
    ids: Any = None
    texts: Any = content
    if isinstance(content, dict):
        texts = None
        for key, member in content.items():
            name = key.lower()
            if name == _TEXT_KEY:
                texts = member
            elif name in _ID_KEYS and member is not None:
                ids = member
    saved = Saved(_checked_ids(ids), _checked_texts(texts))
    if saved.ids is not None and saved.texts is not None and len(saved.ids) != len(saved.texts):
        saved = Saved(saved.ids, None)
    if not len(saved):
        raise BadRecordError("it has no tokens")
    return saved


def _checked_ids(ids: object) -> list[int] | None:
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(type(token) is int and 0 <= token <= LARGEST_ID for token in ids):
        raise BadRecordError("its token ids are not all integers of 32 bits")
    return ids or None


def _checked_texts(texts: object) -> list[str] | None:
    if texts is None:
        return None
    if not isinstance(texts, list) or not all(type(text) is str for text in texts):
        raise BadRecordError("its tokens are not all texts")
    return texts
