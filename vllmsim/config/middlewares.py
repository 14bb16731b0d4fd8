# -*- test-case-name: tests.config.test_middlewares -*-
"""The ``middleware`` option: what stands between clients and routes, in which order."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from attrs import field, frozen

from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.kinds import List

OURS: Final = ("access-log", "log-http", "request-id", "api-key", "cors", "rate-limit")
"""Those of our own in their usual order, the outermost first."""
_MOST: Final = 64
_LONGEST_NAME: Final = 64


@frozen
class MiddlewareEntry:
    """One of them.

    :param enabled: whether it is there at all.
    :param options: its own, for one that is a plugin's.
    """

    name: str
    enabled: bool = True
    options: Mapping[str, Any] = field(factory=dict)


def _entry(value: object) -> MiddlewareEntry:
    members = dict(value) if isinstance(value, Mapping) else {"name": value}
    name, enabled = members.pop("name", None), members.pop("enabled", True)
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise InvalidMembers([("name", "must be the name of a middleware")])
    if not isinstance(enabled, bool):
        raise InvalidMembers([("enabled", "must be true or false")])
    if not all(isinstance(each, str) for each in members):
        raise InvalidMembers([("options", "must have names that are text")])
    if name in OURS and members:
        raise InvalidMembers([(next(iter(members)), f"is no option of {name}, whose options stand for themselves")])
    return MiddlewareEntry(name, enabled, members)


@frozen
class Middlewares(List):
    """Names of middlewares, or maps with their names and options; the outermost first."""

    placeholder: ClassVar[str] = "NAME ..."

    @property
    def allowed(self) -> str:
        """What may be given."""
        return "a list of names of middlewares, or of maps with name, enabled and options of their own"

    def from_text(self, text: str) -> tuple[MiddlewareEntry, ...]:
        """Read a name, or JSON."""
        if text.lstrip()[:1] in {"[", "{"}:
            try:
                value = json.loads(text)
            except ValueError as error:
                raise ValueError(f"it is not JSON: {error}") from None
            return self.from_value(value if isinstance(value, list) else [value])
        return (_entry(text),)

    def from_value(self, value: object) -> tuple[MiddlewareEntry, ...]:
        """Read a list."""
        if isinstance(value, str):
            return self.from_text(value)
        if not isinstance(value, list):
            raise ValueError("it is not a list")
        if len(value) > _MOST:
            raise ValueError(f"it has {len(value)} members, and at most {_MOST} are allowed")
        entries: list[MiddlewareEntry] = []
        faults: list[tuple[str, str]] = []
        for number, each in enumerate(value):
            try:
                entries.append(_entry(each))
            except InvalidMembers as error:
                faults += [(f"{number}.{member}", fault) for member, fault in error.faults]
        if faults:
            raise InvalidMembers(faults)
        return tuple(entries)

    def to_value(self, value: Iterable[MiddlewareEntry]) -> list[Any]:
        """Write a list as it is read."""
        return [
            {"name": each.name, **({} if each.enabled else {"enabled": False}), **each.options}
            if each.options or not each.enabled
            else each.name
            for each in value
        ]


def middleware_fault(entries: Iterable[MiddlewareEntry]) -> str | None:
    """Say what is wrong with a list of middlewares as a whole: nobody can be at two places."""
    names = set[str]()
    for each in entries:
        if each.name in names:
            return f"{each.name} is there twice"
        names.add(each.name)
    return None
