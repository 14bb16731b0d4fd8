# -*- test-case-name: tests.kvcache.events.test_decoding -*-
"""What subscribers are told of KV blocks, whichever way it reaches them."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from attrs import frozen

from vllmsim.inference import StoredBlocks

BlockEvent: TypeAlias = StoredBlocks | bytes | None
"""Blocks that were stored, the hash of one that was removed, or None when all were cleared."""


@frozen(eq=False)
class EventBatch:
    """What is told together.

    :param sequence: its number: batches of a rank are numbered from 0 and without gaps.
    :param time: when it was written, in seconds since the epoch.
    :param events: in the order in which things happened.
    """

    sequence: int
    time: float
    events: Sequence[BlockEvent]


@frozen(eq=False)
class BlockPicture:
    """The blocks that are there behind a batch.

    :param sequence: the number of that batch.
    :param blocks: how many there are; those that have the same hash are counted each.
    :param unknown: how many of the first batches nobody has looked at: what they stored, and nobody removed since, is
        missing here.
    :param stored: all of them, one by one, parents before children. It can be gone through once, at leisure.
    """

    sequence: int
    blocks: int
    unknown: int
    stored: Iterable[StoredBlocks]
