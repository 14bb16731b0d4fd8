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
_HASTY_TRIES: Final = 2
_STRICT_TRIES: Final = 7
_WIDER: Final = 10_000
_LONGER: Final = 10
_STEPS: Final = 4_000


class SchemaSampler:
    """Draws values that satisfy one schema. Made once and used often: to make it costs more than to draw.

    :param schema: a boolean, or a mapping as JSON has it, of any draft from 4 on; it must not be changed afterwards.
    :param ranges: what values are like where the schema leaves it open.
    :raises vllmsim.errors.InvalidRequest: when it is not a schema, refers to what is not in it, or is too large.
    """

    def __init__(self, schema: object, ranges: Ranges) -> None:
        self._document = SchemaDocument(schema)
        self._ranges = ranges
        self._heights = Heights(self._document)

    def sample(self, generator: random.Random) -> JsonValue:
        """Draw a value.

        :param generator: equal states give equal values.
        :return: a value that validates, and may be changed.
        :raises vllmsim.errors.InvalidRequest: when none was found.
        """
        document, budget = self._document, Budget(_STEPS)
        failure: Exception | None = None
        try:
            for attempt in range(_TRIES):
                ranges = self._ranges if attempt < _STRICT_TRIES else _relaxed(self._ranges)
                drawing = Drawing(document, ranges, self._heights, generator, budget)
                drawing.careful = attempt >= _HASTY_TRIES
                try:
                    value = drawing.draw()
                except DeadEnd as error:
                    failure = error
                    continue
                finally:
                    failure = drawing.failure or failure
                if document.accepts(document.root, value, budget):
                    return value
        except Exhausted as error:
            # What was met last says more than that it was met too often.
            failure = failure or error
        except (Refusal, RecursionError, ValueError) as error:
            failure = error
        raise InvalidRequest(
            f"No value could be made for the JSON schema: {failure or 'what was drawn did not satisfy it'}"
        )


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
