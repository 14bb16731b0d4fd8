# -*- test-case-name: tests.config.test_describing -*-
"""Shows a configuration to who may not see secrets."""

import re
from typing import Any, Final

from vllmsim.config.kinds import Kind
from vllmsim.config.option import Option
from vllmsim.config.schema import Configuration, own_options

_MASK: Final = "***"


def describe_configuration(configuration: Configuration) -> dict[str, Any]:
    """Show the effective value of every option that is no secret, in the form in which a file would have it."""
    return {option.name: written(option.kind, getattr(configuration, option.attribute)) for option in open_options()}


def written(kind: Kind, value: Any) -> Any:
    """Write a value as a file would have it, but for what an address has before its host."""
    shown = None if value is None else kind.to_value(value)
    return re.sub(r"(?<=://)[^/@]*@", f"{_MASK}@", shown) if isinstance(shown, str) else shown


def open_options() -> list[Option]:
    """List the options of :class:`Configuration` that are no secrets."""
    return [option for option in own_options() if not option.secret]
