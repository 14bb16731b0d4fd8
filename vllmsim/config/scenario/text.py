# -*- test-case-name: tests.config.scenario.test_text -*-
"""Reads the text of a scenario: YAML or JSON, as plain values."""

import json as json_module
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

MOST_BYTES: Final = 1 << 17
"""The longest text."""
MOST_VALUES: Final = 20_000
"""The most values that are in it."""
_LONGEST_SHOWN: Final = 64


def read_text(text: bytes, *, json: bool) -> Any:
    """Read a text.

    Reading a long one takes some hundred milliseconds, for which the reactor should not wait.

    :param json: whether it is JSON, or else YAML.
    :return: what JSON can say.
    :raises ValueError: when it is neither, or too much; the message says what is wrong.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has {len(text)} bytes, and at most {MOST_BYTES} are allowed")
    try:
        value = _read_json(text) if json else _read_yaml(text)
        return _Plain().copy(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _read_json(text: bytes) -> Any:
    try:
        return json_module.loads(text, object_pairs_hook=_unique)
    except json_module.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"{name!r} is there twice")
        members[name] = value
    return members


def _read_yaml(text: bytes) -> Any:
    import yaml  # noqa: PLC0415 - 20 ms that a start without a file can do without

    from vllmsim.config.scenario.loader import PlainLoader  # noqa: PLC0415 - needs YAML

    try:
        return PlainLoader(text.decode(), MOST_VALUES).get_single_data()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise ValueError(f"it is not YAML: {getattr(error, 'problem', None) or error}{where}") from None
    except (LookupError, TypeError, AttributeError):
        # What makes a value of a tag expects that it has one.
        raise ValueError("it is not YAML: a value is not what its tag says") from None


class _Plain:
    """Copies what YAML made, of which some may be there many times over though the text is short."""

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def copy(self, value: Any) -> Any:
        """Copy a value.

        :raises ValueError: when there is too much, or something that JSON cannot say.
        """
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it has more than {MOST_VALUES} values")
        if isinstance(value, Mapping):
            return {self.copy(str(name)): self.copy(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self.copy(each) for each in value]
        if isinstance(value, str):
            # Halves of surrogate pairs can be written down in escapes, and nowhere else.
            return value.encode("utf-8", "replace").decode()
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
            return value
        kind = type(value).__name__
        if isinstance(value, tuple | set):
            raise ValueError(f"it has a {kind}, which JSON has not")
        raise ValueError(f"{str(value)[:_LONGEST_SHOWN]} is a {kind}, which JSON has not; put it in quotes")
