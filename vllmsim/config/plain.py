# -*- test-case-name: tests.config.test_plain -*-
"""Values as JSON has them, made of what YAML or JSON says: how many, how deep and how long they may be."""

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from attrs import define

DEEP: Final = "it is nested too deeply"
_MOST_LEVELS: Final = 200
_MOST_BITS: Final = 4096
"""Of an integer. Python writes down none of more than 4300 digits."""
_LONGEST_SHOWN: Final = 64


@define
class PlainValues:
    """Copies what YAML made, of which some may be there many times over though the text is short.

    :param values: how many there may be in all.
    :param characters: how many their texts may have together.
    """

    values: int
    characters: int
    _taken: int = 0
    _written: int = 0

    def copy(self, value: Any, level: int = 0) -> Any:
        """Copy a value.

        :param level: how deep it stands.
        :raises ValueError: when there is too much, or something that JSON cannot say.
        """
        self._taken += 1
        if self._taken > self.values:
            raise ValueError(f"it has more than {self.values} values")
        if level > _MOST_LEVELS:
            raise ValueError(DEEP)
        if isinstance(value, Mapping):
            return {self._text(str(name)): self.copy(member, level + 1) for name, member in value.items()}
        if isinstance(value, list):
            return [self.copy(each, level + 1) for each in value]
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise ValueError(f"it has an integer of {value.bit_length()} bits, and at most {_MOST_BITS} are allowed")
        if value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
            return value
        kind = type(value).__name__
        if isinstance(value, tuple | set):
            raise ValueError(f"it has a {kind}, which JSON has not")
        raise ValueError(f"{str(value)[:_LONGEST_SHOWN]} is a {kind}, which JSON has not; put it in quotes")

    def _text(self, text: str) -> str:
        self._written += len(text)
        if self._written > self.characters:
            raise ValueError(f"its texts have more than {self.characters} characters together")
        # Halves of surrogate pairs can be written down in escapes, and nowhere else.
        return text.encode("utf-8", "replace").decode()
