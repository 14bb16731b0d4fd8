# -*- test-case-name: tests.config.test_keys -*-
"""API keys: which texts can be one, and files that have some. No message ever shows one."""

import os
from collections.abc import Iterable
from typing import ClassVar, Final

from attrs import field, frozen

from vllmsim.config.kinds import Kind, List
from vllmsim.config.regular import read_regular

MOST_KEYS: Final = 1024
"""A request's key is compared with all there are."""
LONGEST_KEY: Final = 1024
"""The most characters of a key."""
_MOST_BYTES: Final = 1 << 20
_LAST: Final = 0xFF
"""A header's bytes are read as these characters."""


def checked_key(value: object) -> str:
    """Take a text that may be a key.

    :raises ValueError: when it can be none; the message does not show it.
    """
    if not isinstance(value, str):
        raise ValueError("a key must be text: one of digits needs quotes")
    _check(value)
    if ord(max(value)) > _LAST:
        raise ValueError("a key has no characters beyond Latin-1: no header could carry these")
    return value


def _check(value: str) -> None:
    if not value or value.isspace():
        raise ValueError("a key must not be empty")
    if len(value) > LONGEST_KEY:
        raise ValueError(f"a key has at most {LONGEST_KEY} characters")
    if value != value.strip() or not value.isprintable():
        raise ValueError("a key has no blanks around it and no control characters: no header could carry these")


def checked_keys(values: Iterable[object]) -> tuple[str, ...]:
    """Take several; one that is there twice counts once.

    :raises ValueError: when one can be none, or they are too many.
    """
    keys = tuple(dict.fromkeys(map(checked_key, values)))
    if len(keys) > MOST_KEYS:
        raise ValueError(f"there are at most {MOST_KEYS} keys")
    return keys


@frozen
class Keys(List):
    """API keys: words of the command line, or a list. None of them is read as anything else, JSON neither."""

    placeholder: ClassVar[str] = "KEY ..."

    @property
    def allowed(self) -> str:
        """What may be given."""
        return "a list of keys, each of them text that is not empty"

    def from_text(self, text: str) -> tuple[str, ...]:
        """Read one key."""
        return (checked_key(text),)

    def from_value(self, value: object) -> tuple[str, ...]:
        """Read a list of keys, or one."""
        return checked_keys(value) if isinstance(value, list) else (checked_key(value),)


@frozen
class OwnKey(Kind):
    """A key of somebody's alone, which is sent as UTF-8; or none."""

    placeholder: ClassVar[str] = "KEY"

    @property
    def allowed(self) -> str:
        """What may be given."""
        return "a key as text, or nothing"

    def from_text(self, text: str) -> str:
        """Read one."""
        if text:
            _check(text)
        return text


@frozen
class KeyFile:
    """A file, and the keys that were in it when the configuration was read."""

    path: str
    keys: tuple[str, ...] = field(repr=False)


def read_key_file(path: str) -> KeyFile:
    """Read a file that has a key on each line. Empty lines, and those that begin with ``#``, are none.

    :raises ValueError: saying what is wrong with it, and nothing of what is in it.
    """
    try:
        content = read_regular(path, _MOST_BYTES + 1)
    except ValueError as error:
        raise ValueError(f"cannot read {path!r}: {error}") from None
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{path!r} has more than {_MOST_BYTES} bytes")
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path!r} is not UTF-8 text") from None
    keys = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            try:
                keys.append(checked_key(text))
            except ValueError as error:
                raise ValueError(f"line {number} of {path!r} is no key: {error}") from None
    if not keys:
        raise ValueError(f"{path!r} has no key in it")
    # It is read again when the program has left the folder that it was started in.
    return KeyFile(os.path.abspath(path), checked_keys(keys))  # noqa: PTH100 - links stay as they are


@frozen
class KeyPath(Kind):
    """The path of a file with keys, which is read at once."""

    placeholder: ClassVar[str] = "FILE"

    @property
    def allowed(self) -> str:
        """What may be given."""
        return "the path of a file with a key on each line, or nothing"

    def from_text(self, text: str) -> KeyFile | None:
        """Read the file."""
        return read_key_file(text) if text else None

    def to_value(self, value: KeyFile) -> str:
        """Write the path."""
        return value.path
