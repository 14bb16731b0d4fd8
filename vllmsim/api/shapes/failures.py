# -*- test-case-name: tests.api.test_shapes -*-
"""The shapes of what is told of failures on purpose."""

from typing_extensions import TypedDict


class Tally(TypedDict):
    """How many requests were meant, and how many of them failed."""

    name: str
    matched: int
    failed: int


class Failures(TypedDict):
    """What has failed by each rule, by chance, and because requests asked for it."""

    rules: list[Tally]
    chance: Tally
    header: Tally
