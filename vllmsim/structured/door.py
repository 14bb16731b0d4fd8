# -*- test-case-name: tests.structured.test_door -*-
"""What others ask of this room. What does it is imported when the first asks, or when the server has time.

Importing it takes some 25 ms, a thirtieth of the start, and many servers never see a schema.
"""

import random
from importlib import import_module
from typing import TYPE_CHECKING

from vllmsim.structured.values import Ranges

if TYPE_CHECKING:
    from vllmsim.structured.schemas import SchemaSampler

_ROOMS = ("vllmsim.structured.schemas", "vllmsim.structured.patterns")


def prepare() -> None:
    """Import it now. It may be called in any thread; who asks meanwhile waits."""
    for room in _ROOMS:
        import_module(room)


def check_schema(schema: object) -> int:
    """Check a schema; see :func:`vllmsim.structured.documents.check_schema`."""
    from vllmsim.structured.documents import check_schema  # noqa: PLC0415

    return check_schema(schema)


def schema_sampler(schema: object, ranges: Ranges) -> "SchemaSampler":
    """Make what draws values of a schema; see :class:`vllmsim.structured.schemas.SchemaSampler`."""
    from vllmsim.structured.schemas import SchemaSampler  # noqa: PLC0415

    return SchemaSampler(schema, ranges)


def sample_pattern(pattern: str, generator: random.Random) -> str:
    """Draw a text that a pattern matches; see :func:`vllmsim.structured.patterns.sample_pattern`."""
    from vllmsim.structured.patterns import sample_pattern  # noqa: PLC0415

    return sample_pattern(pattern, generator)
