# -*- test-case-name: tests.config.test_loglevels -*-
"""From which level on events are logged: all, and those of single namespaces.

A namespace is the dotted name of a module or class, and stands for all below it. As text it is written
``info,vllmsim.web=debug``; as a map, ``{default: info, vllmsim.web: debug}``.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

LEVELS: Final = ("debug", "info", "warn", "error", "critical")
"""Their names, from what tells most to what tells least."""
_OTHER_NAMES: Final = {"warning": "warn", "fatal": "critical", "trace": "debug", "notset": "debug"}
"""Those of Python's, and of uvicorn's."""
_DEFAULT: Final = "default"


@frozen
class LogLevels:
    """The levels.

    :param default: one of :data:`LEVELS`, for whatever has none of its own.
    :param namespaces: namespaces and their levels, no namespace twice.
    """

    default: str = "info"
    namespaces: tuple[tuple[str, str], ...] = ()

    def of(self, namespace: str) -> str:
        """Find the level of a namespace: its own, or that of the nearest one above it."""
        levels = dict(self.namespaces)
        while namespace:
            if namespace in levels:
                return levels[namespace]
            namespace = namespace.rpartition(".")[0]
        return self.default


def parse_levels(value: object) -> LogLevels:
    """Read levels.

    :raises ValueError: says what is wrong with them.
    """
    if isinstance(value, str):
        return _of_pairs(_split(part) for part in value.split(","))
    if isinstance(value, Mapping):
        return _of_pairs(value.items())
    raise ValueError


def _split(part: str) -> tuple[str, str]:
    namespace, equals, level = part.partition("=")
    return (namespace.strip(), level) if equals else (_DEFAULT, part)


def _of_pairs(pairs: Iterable[tuple[object, object]]) -> LogLevels:
    levels: dict[str, str] = {}
    for namespace, level in pairs:
        if not isinstance(namespace, str) or not namespace.strip():
            raise ValueError(f"{namespace!r} is no namespace")
        if namespace in levels:
            raise ValueError(f"{namespace} has two levels" if namespace != _DEFAULT else "there are two levels for all")
        levels[namespace] = _level(level)
    default = levels.pop(_DEFAULT, "info")
    return LogLevels(default, tuple(levels.items()))


def _level(value: object) -> str:
    name = value.strip().lower() if isinstance(value, str) else ""
    name = _OTHER_NAMES.get(name, name)
    if name not in LEVELS:
        raise ValueError(f"{value!r} is no level")
    return name


def write_levels(levels: LogLevels) -> object:
    """Write levels as :func:`parse_levels` reads them: one word where there is one level."""
    return {_DEFAULT: levels.default, **dict(levels.namespaces)} if levels.namespaces else levels.default
