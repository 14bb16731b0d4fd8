# -*- test-case-name: tests.structured.test_schemas -*-
"""What objects and arrays need to draw what is in them."""

import random
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from vllmsim.structured.documents import SchemaDocument
from vllmsim.structured.values import Budget, JsonValue, Ranges, Schema

Parts: TypeAlias = Sequence[dict[str, JsonValue]]
"""Schemas that hold together for one place, each without its references and choices."""


class Draw(Protocol):
    """The draw of a whole value.

    :ivar varied: values should be more different from each other than they usually are.
    """

    document: SchemaDocument
    ranges: Ranges
    generator: random.Random
    budget: Budget
    varied: bool

    def draw_all(self, schemas: Sequence[Schema], depth: int) -> JsonValue:
        """Draw a value that satisfies several schemas.

        :param depth: how deep it is nested; 0 is the whole value.
        :raises vllmsim.structured.values.DeadEnd: when this draw leads nowhere.
        :raises vllmsim.structured.values.Refusal: when none will.
        """

    def flatten(self, schemas: Sequence[Schema], *, hurried: bool) -> list[dict[str, JsonValue]]:
        """Follow the references of schemas, and take a branch of each of their choices.

        :param hurried: prefer branches with flat values.
        """
