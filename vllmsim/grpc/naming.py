# -*- test-case-name: tests.grpc.test_naming -*-
"""The ids that a message names: in one of legal size there may be hundreds of thousands."""

from collections.abc import Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime

from vllmsim.turns import Turn

_SLICE: Final = 1024


async def read_ids(given: Sequence[str], clock: IReactorTime) -> frozenset[str]:
    """Read ids, letting other events in between.

    :param given: as a message has them; to read one takes almost a microsecond.
    """
    turn, ids = Turn(clock), set[str]()
    for start in range(0, len(given), _SLICE):
        ids.update(given[start : start + _SLICE])
        await turn.step()
    return frozenset(ids)
