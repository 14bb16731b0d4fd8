# -*- test-case-name: tests.config.test_edits -*-
"""Reads what an operator wants to have changed while the server runs: values by option name, as JSON has them."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from attrs import define, evolve, field

from vllmsim.config.blocks import settle
from vllmsim.config.kinds import UNREADABLE, Duration, List, Parsed
from vllmsim.config.names import MOST_NAMED, Meaning, find, suggest
from vllmsim.config.option import Option
from vllmsim.config.problems import problems_of
from vllmsim.config.rules import broken
from vllmsim.config.schema import Configuration
from vllmsim.config.wording import NOT_LIVE, REAL_METRICS, RULES, VALUES
from vllmsim.durations import parse_duration
from vllmsim.errors import InvalidRequest

_MOST_SHOWN: Final = 200
_MOST_GUESSES: Final = 3
"""Each takes some milliseconds."""

Fault = tuple[str, str]
"""A key as it was given, and what is wrong with it as a sentence without its end."""


@define(eq=False)
class Edit:
    """A change that is asked for.

    :param values: by field of the configuration, what it is to be.
    :param whole: whether values that could change in part change as a whole, and None is a value.
    """

    values: dict[str, Any] = field(factory=dict)
    _whole: bool = False
    faults: list[Fault] = field(init=False, factory=list)
    """What is wrong with it, whichever configuration it is for."""
    _updates: dict[str, tuple[Option, object]] = field(init=False, factory=dict)
    _doubtful: set[str | None] = field(init=False, factory=set)
    _guesses: int = field(init=False, default=0)

    def applied(self, configuration: Configuration, given: Collection[str]) -> tuple[Configuration, list[Fault]]:
        """Make the configuration that a rank would have.

        :param configuration: what it has.
        :param given: the names of options that some source gives.
        :return: the new one, and everything that is wrong with it. It is to be used only where nothing is.
        """
        values, faults, doubtful = dict(self.values), list(self.faults), set(self._doubtful)
        for key, (option, update) in self._updates.items():
            try:
                values[option.attribute] = _merged(option, getattr(configuration, option.attribute), update)
            except UNREADABLE as error:
                faults += _faults(option, key, update, error)
                doubtful.add(option.name)
        changed = settle(evolve(configuration, **values), {*given, *(name.replace("_", "-") for name in values)})
        for name, fault in broken(changed, doubtful):
            words = f" ({RULES[name]})" if name in RULES else ""
            faults.append((name, f"{name}: {fault}{words}"))
        return changed, faults

    def read(self, key: str, value: object) -> None:
        """Take one member of what was sent."""
        meaning = find(key)
        if meaning is None:
            guess = self._guess(key)
            self._blame(None, key, NOT_LIVE.format(_short(key)) + (f"; did you mean {guess}?" if guess else ""))
            return
        option = meaning.option
        if isinstance(option.kind, Duration) and (fault := _duration_fault(option, key, value)):
            self._blame(option, key, fault)
        elif not option.live:
            self._blame(option, key, NOT_LIVE.format(key))
        elif option.inline and isinstance(value, str) and value:
            self._blame(option, key, f"{key}: a file can be named where the server is started alone")
        elif value is not None or self._whole:
            self._take(meaning, key, value)

    def _guess(self, key: str) -> str | None:
        self._guesses += 1
        return suggest(key) if self._guesses <= _MOST_GUESSES else None

    def _take(self, meaning: Meaning, key: str, value: object) -> None:
        option = meaning.option
        if option.attribute in self.values or any(each is option for each, _ in self._updates.values()):
            self._blame(option, key, f"{key}: is there twice")
            return
        if value is None:
            self.values[option.attribute] = None
            return
        if isinstance(option.kind, Parsed) and option.kind.merge is not None and not self._whole:
            self._updates[key] = option, value
            return
        try:
            read = option.kind.from_value(value)
        except UNREADABLE as error:
            self.faults += _faults(option, key, value, error)
            self._doubtful.add(option.name)
        else:
            self.values[option.attribute] = option.default if read is None else not read if meaning.negated else read

    def _blame(self, option: Option | None, key: str, fault: str) -> None:
        self.faults.append((key, fault))
        if option is not None:
            self._doubtful.add(option.name)


def read_edit(values: Mapping[str, object], *, whole: bool = False) -> Edit:
    """Read what is to change.

    :param values: by option name, in any of its spellings, values as a file has them. Null leaves an option as it is.
    :param whole: have null take the value away, and values that could change in part change as a whole.
    :raises InvalidRequest: when they are more than there are options; all else that is wrong is in what is returned.
    """
    if len(values) > MOST_NAMED:
        raise InvalidRequest(f"{len(values)} fields are more than there are options.")
    edit = Edit(whole=whole)
    for key, value in values.items():
        edit.read(key, value)
    return edit


def _merged(option: Option, current: object, update: object) -> object:
    """Change a part of a value.

    :raises ValueError: when that cannot be.
    """
    kind = option.kind
    assert isinstance(kind, Parsed)
    assert kind.merge is not None
    if current is None:
        raise _Refusal(REAL_METRICS)
    return kind.merge(current, update)


class _Refusal(ValueError):
    """An option cannot change at all."""


def _duration_fault(option: Option, key: str, value: object) -> str | None:
    if value is None:
        return None
    try:
        option.kind.from_value(value)
    except UNREADABLE as error:
        [problem] = problems_of(option, key, value, error, "")
    else:
        return None
    words = f" ({VALUES[option.name]})" if option.name in VALUES and _is_negative(value) else ""
    return f'field "{key}": {problem.fault}{words}'


def _is_negative(value: object) -> bool:
    try:
        return parse_duration(value) <= 0
    except UNREADABLE:
        return False


def _faults(option: Option, key: str, value: object, error: Exception) -> list[Fault]:
    if isinstance(error, _Refusal):
        return [(key, str(error))]
    words = VALUES.get(option.name, "")
    if words:
        words = f" ({words.format(value=_short(_wrong(option, value)))})"
    return [(key, f"{each.key}: {each.fault}{words}") for each in problems_of(option, key, value, error, "")]


def _wrong(option: Option, value: object) -> object:
    """Find what is wrong with a value: the first item of a list that is, or the whole."""
    if isinstance(option.kind, List) and isinstance(value, list):
        for each in value:
            try:
                option.kind.item.from_value(each)
            except UNREADABLE:
                return each
    return value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."
