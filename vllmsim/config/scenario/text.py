# -*- test-case-name: tests.config.scenario.test_text -*-
"""Reads the text of a scenario: YAML or JSON, as plain values."""

import json as json_module
from typing import Any, Final

from vllmsim.config.plain import DEEP, PlainValues

MOST_BYTES: Final = 1 << 17
"""The longest text."""
MOST_VALUES: Final = 20_000
"""The most values that are in it."""


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
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    return PlainValues(MOST_VALUES, MOST_BYTES).copy(value)


def _read_json(text: bytes) -> Any:
    try:
        return json_module.loads(text, object_pairs_hook=_unique)
    except json_module.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(DEEP) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"{name!r} is there twice")
        members[name] = value
    return members


def _read_yaml(text: bytes) -> Any:
    from vllmsim.config.plainyaml import NotYamlError, PlainLoader, explained  # noqa: PLC0415 - see there

    content = text.decode()
    try:
        loader = PlainLoader(content, MOST_VALUES)
        with explained():
            return loader.get_single_data()
    except NotYamlError as error:
        where = f" (line {error.line})" if error.line else ""
        raise ValueError(f"{error}{where}") from None
