# -*- test-case-name: tests.structured.test_schemas -*-
"""Values that satisfy a JSON Schema, drawn at random.

A value is built to satisfy the schema and then validated. What building cannot foresee (``not``, ``oneOf`` whose
branches overlap, ``if``, several patterns at once) is left to chance: a draw that fails is repeated, at first as a
whole, then with each such part validated on its own.
"""

import random
from typing import Final

from attrs import evolve

from vllmsim.errors import InvalidRequest
from vllmsim.structured.documents import SchemaDocument
from vllmsim.structured.drawing import Drawing
from vllmsim.structured.heights import Heights
from vllmsim.structured.values import Budget, DeadEnd, Exhausted, JsonValue, Ranges, Refusal

_TRIES: Final = 16
_HASTY_TRIES: Final = 1
_STRICT_TRIES: Final = 7
_WIDER: Final = 10_000
_LONGER: Final = 10
_STEPS: Final = 7_000
"""How much work all attempts together may be."""
_MORE_STEPS: Final = 3_000
"""How much more it may be after a first attempt that had no end."""


class SchemaSampler:
    """Draws values that satisfy one schema. Made once and used often: to make it costs more than to draw.

    :param schema: a boolean, or a mapping as JSON has it, of any draft from 4 on; it must not be changed afterwards.
    :param ranges: what values are like where the schema leaves it open.
    :raises vllmsim.errors.InvalidRequest: when it is not a schema, refers to what is not in it, or is too large.
    """

    def __init__(self, schema: object, ranges: Ranges) -> None:
        self._document = SchemaDocument(schema)
        self._ranges = ranges

    def sample(self, generator: random.Random) -> JsonValue:
        """Draw a value.

        :param generator: equal states give equal values.
        :return: a value that validates, and may be changed.
        :raises vllmsim.errors.InvalidRequest: when none was found.
        """
        heights, budget = Heights(self._document), Budget(_STEPS)
        for attempt in range(_TRIES):
            if attempt == _HASTY_TRIES and budget.steps < 0:
                budget = Budget(_MORE_STEPS)
            try:
                return self._attempt(generator, heights, budget, attempt)
            except (DeadEnd, Exhausted) as error:
                reason = str(error)
                if budget.steps < 0 and attempt >= _HASTY_TRIES:
                    break
            except (Refusal, RecursionError, ValueError) as error:
                reason = str(error)
                break
        raise InvalidRequest(f"No value could be made for the JSON schema: {reason}")

    def _attempt(self, generator: random.Random, heights: Heights, budget: Budget, attempt: int) -> JsonValue:
        ranges = self._ranges if attempt < _STRICT_TRIES else _relaxed(self._ranges)
        drawing = Drawing(self._document, ranges, heights, generator, budget)
        drawing.careful = attempt >= _HASTY_TRIES
        try:
            value = drawing.draw()
            if self._document.accepts(self._document.root, value, budget):
                return value
        except Exhausted as error:
            # What was met last says more than that it was met too often.
            raise Exhausted(str(drawing.failure or error)) from error
        raise drawing.failure or DeadEnd("what was drawn did not satisfy it")


def _relaxed(ranges: Ranges) -> Ranges:
    """Widen ranges, for schemas that leave a value open and then demand something of it all the same."""
    return evolve(
        ranges,
        integer_least=ranges.integer_least - _WIDER,
        integer_most=ranges.integer_most + _WIDER,
        number_least=ranges.number_least - _WIDER,
        number_most=ranges.number_most + _WIDER,
        array_least=0,
        array_most=ranges.array_most + _LONGER,
        optional_probability=0.5,
        optional_field_probability=0.5,
    )
