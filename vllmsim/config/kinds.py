# -*- test-case-name: tests.config.test_kinds -*-
"""The kinds of option values: how each is written on a command line and in YAML, and what it allows.

A kind turns text (:meth:`Kind.from_text`) or a YAML or JSON value (:meth:`Kind.from_value`) into the value the
program uses. Both raise :class:`ValueError`; the message is a detail such as ``names no file``, or empty where
:attr:`Kind.allowed` says everything.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal

from attrs import frozen

from vllmsim import durations

TRUE: Final = frozenset({"true", "t", "yes", "y", "on", "1"})
FALSE: Final = frozenset({"false", "f", "no", "n", "off", "0"})
UNREADABLE: Final = (ValueError, OverflowError, RecursionError)
"""What reading a value may raise; numbers of hundreds of digits and JSON of thousands of levels raise the last two."""
_SCALES: Final = {
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
}  # fmt: skip


class Kind:
    """One kind of value. Subclasses say what they allow."""

    placeholder: ClassVar[str] = "TEXT"
    """What ``--help`` shows for the value."""

    @property
    def allowed(self) -> str:
        """What may be given, to follow "must be"."""
        raise NotImplementedError

    def from_text(self, text: str) -> Any:
        """Read a command-line or environment value."""
        raise NotImplementedError

    def from_value(self, value: object) -> Any:
        """Read a YAML or JSON value; text is read as on the command line."""
        if isinstance(value, str):
            return self.from_text(value)
        raise ValueError

    def to_value(self, value: Any) -> Any:
        """Write a value the way :meth:`from_value` reads it."""
        return value


def _between(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f" of at least {least}"
    return "" if most is None else f" of at most {most}"


@frozen
class Flag(Kind):
    """Yes or no."""

    placeholder: ClassVar[str] = "BOOLEAN"

    @property
    def allowed(self) -> str:
        return "true or false"

    def from_text(self, text: str) -> bool:
        word = text.strip().lower()
        if word not in TRUE | FALSE:
            raise ValueError
        return word in TRUE

    def from_value(self, value: object) -> bool:
        return value if isinstance(value, bool) else super().from_value(value)


@frozen
class Integer(Kind):
    """A whole number.

    :param human: also accept ``4k`` (thousands), ``4K`` (1024s) and so on, as vLLM's length flags do.
    :param automatic: further words that mean "leave it to the program", read as None.
    """

    placeholder: ClassVar[str] = "INTEGER"
    least: int | None = None
    most: int | None = None
    choices: tuple[int, ...] = ()
    human: bool = False
    automatic: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        text = "an integer" + _between(self.least, self.most)
        if self.human:
            text += " (4k is 4000, 4K is 4096)"
        return text + "".join(f", or {word}" for word in self.automatic)

    def from_text(self, text: str) -> int | None:
        text = text.strip()
        if text in self.automatic:
            return None
        if self.human and (match := re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtKMGT])", text)):
            number = float(match[1]) * _SCALES[match[2]]
            if not number.is_integer():
                raise ValueError
            return self._check(int(number))
        return self._check(int(text, 0) if re.match(r"[+-]?0[xob]", text, re.IGNORECASE) else int(text))

    def from_value(self, value: object) -> int | None:
        if isinstance(value, bool):
            raise ValueError
        if isinstance(value, int):
            return None if str(value) in self.automatic else self._check(value)
        read: int | None = super().from_value(value)
        return read

    def _check(self, value: int) -> int:
        if (self.least is not None and value < self.least) or (self.most is not None and value > self.most):
            raise ValueError
        if self.choices and value not in self.choices:
            raise ValueError
        return value


@frozen
class Number(Kind):
    """A number."""

    placeholder: ClassVar[str] = "NUMBER"
    least: float | None = None
    most: float | None = None

    @property
    def allowed(self) -> str:
        return "a number" + _between(self.least, self.most)

    def from_text(self, text: str) -> float:
        return self._check(float(text))

    def from_value(self, value: object) -> float:
        if isinstance(value, bool):
            raise ValueError
        return self._check(float(value)) if isinstance(value, int | float) else super().from_value(value)

    def _check(self, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError
        if (self.least is not None and value < self.least) or (self.most is not None and value > self.most):
            raise ValueError
        return value


@frozen
class Duration(Kind):
    """A length of time; seconds inside.

    :param positive: whether zero is excluded.
    :param unit: what a bare number counts: ``ms``, or ``s`` where vLLM's flag counts seconds.
    """

    placeholder: ClassVar[str] = "DURATION"
    positive: bool = False
    unit: Literal["ms", "s"] = "ms"

    @property
    def allowed(self) -> str:
        sign = "above 0" if self.positive else "not negative"
        return f"{durations.ALLOWED} of {'milliseconds' if self.unit == 'ms' else 'seconds'}, {sign}"

    def from_text(self, text: str) -> float:
        return self.from_value(text)

    def from_value(self, value: object) -> float:
        seconds = durations.parse_duration(value, 1.0 if self.unit == "s" else 1e-3)
        if seconds < 0 or (self.positive and not seconds):
            raise ValueError
        return seconds

    def to_value(self, value: float) -> str:
        return durations.format_duration(value)


@frozen
class Text(Kind):
    """Any text, or one of a few words."""

    placeholder: ClassVar[str] = "TEXT"
    choices: tuple[str, ...] = ()
    required: bool = False

    @property
    def allowed(self) -> str:
        if self.choices:
            return "one of " + ", ".join(word or '""' for word in self.choices)
        return "text that is not empty" if self.required else "text"

    def from_text(self, text: str) -> str:
        if (self.choices and text not in self.choices) or (self.required and not text.strip()):
            raise ValueError
        return text

    def from_value(self, value: object) -> str:
        # YAML reads an unquoted model name such as 7 or 1.5 as a number.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return self.from_text(str(value)) if number else super().from_value(value)


@frozen
class List(Kind):
    """Several values: words on the command line, a YAML list, or one JSON list."""

    item: Kind = Text()

    @property
    def placeholder(self) -> str:  # type: ignore[override]
        """The item's, repeated."""
        return f"{self.item.placeholder} ..."

    @property
    def allowed(self) -> str:
        return f"a list, each {self.item.allowed}"

    def from_text(self, text: str) -> tuple[Any, ...]:
        if text.lstrip().startswith("["):
            try:
                values = json.loads(text)
            except ValueError:
                pass
            else:
                return self.from_value(values)
        return (self.item.from_text(text),) if text else ()

    def from_value(self, value: object) -> tuple[Any, ...]:
        if isinstance(value, list):
            return tuple(self.item.from_value(each) for each in value if each != "")
        if isinstance(value, str) and value.lstrip().startswith("["):
            return self.from_text(value)
        return () if value == "" else (self.item.from_value(value),)

    def to_value(self, value: tuple[Any, ...]) -> list[Any]:
        return [self.item.to_value(each) for each in value]


@frozen
class Json(Kind):
    """A JSON value: an object unless `anything` goes. Its members can be given one by one, as ``--x.member value``."""

    placeholder: ClassVar[str] = "JSON"
    anything: bool = False

    @property
    def allowed(self) -> str:
        return "JSON" if self.anything else "a JSON object"

    def from_text(self, text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError as error:
            if self.anything:
                return text
            raise ValueError(f"it is not JSON: {error}") from None
        return self._check(value)

    def from_value(self, value: object) -> Any:
        return self.from_text(value) if isinstance(value, str) else self._check(value)

    def _check(self, value: object) -> Any:
        if not self.anything and not isinstance(value, Mapping):
            raise ValueError
        return value


@frozen
class Parsed(Kind):
    """A structured value with a parser of its own.

    :param parse: takes a YAML or JSON value; its :class:`ValueError` names what is wrong.
    :param write: the inverse.
    :param what: what is allowed.
    :param plain: words of the command line go to `parse` as they are, not only as JSON.
    :param merge: takes a value and a JSON value that changes a part of it, where it can be changed so while the program
        runs; its :class:`ValueError` names what is wrong.
    """

    placeholder: ClassVar[str] = "JSON"
    parse: Callable[[object], Any]
    write: Callable[[Any], object]
    what: str
    plain: bool = False
    merge: Callable[[Any, object], Any] | None = None

    @property
    def allowed(self) -> str:
        return self.what

    def from_text(self, text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError as error:
            if self.plain:
                return self.parse(text)
            raise ValueError(f"it is not JSON: {error}") from None
        return self.parse(value)

    def from_value(self, value: object) -> Any:
        return self.from_text(value) if isinstance(value, str) else self.parse(value)

    def to_value(self, value: Any) -> object:
        return self.write(value)


PERCENT: Final = Integer(least=0, most=100)
"""A share of a hundred."""
