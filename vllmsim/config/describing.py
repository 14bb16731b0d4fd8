# -*- test-case-name: tests.config.test_describing -*-
"""Shows a configuration to who may not see secrets."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from vllmsim.config.kinds import Kind
from vllmsim.config.names import find
from vllmsim.config.option import Option
from vllmsim.config.schema import Configuration, own_options
from vllmsim.secrecy import MASK, open_value


def describe_configuration(configuration: Configuration) -> dict[str, Any]:
    """Show the effective value of every option that is no secret, in the form in which a file would have it."""
    return {
        option.name: written(option.kind, getattr(configuration, attribute)) for option, attribute in open_options()
    }


def written(kind: Kind, value: Any) -> Any:
    """Write a value as a file would have it, but for what in it is secret, such as a password in an address."""
    return None if value is None else open_value(kind.to_value(value))


def masked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Show options as somebody has written them, by whatever names, but for the values of those that are secrets."""
    return {name: MASK if _is_secret(str(name)) else value for name, value in options.items()}


def _is_secret(name: str) -> bool:
    meaning = find(name)
    return meaning is not None and meaning.option.secret


@cache
def open_options() -> tuple[tuple[Option, str], ...]:
    """List the options of :class:`Configuration` that are no secrets, with the fields that have them."""
    return tuple((option, option.attribute) for option in own_options() if not option.secret)
