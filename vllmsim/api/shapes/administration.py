# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of what operators are told of the configuration."""

from typing import Any, Literal

from typing_extensions import TypedDict


class OptionChange(TypedDict):
    """One option that changed: its values before and after, and the ranks where it was so."""

    option: str
    old: Any
    new: Any
    ranks: list[int]


class ConfigurationChange(TypedDict):
    """Who did what to the configuration, and when in seconds since the epoch."""

    when: float
    who: str
    what: Literal["change", "undo", "reload"]
    changes: list[OptionChange]


class ConfigurationHistory(TypedDict):
    """What happened to the configuration, the latest first."""

    changes: list[ConfigurationChange]
