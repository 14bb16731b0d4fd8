# -*- test-case-name: tests.metrics.test_joined -*-
"""The metrics of several ranks on one page.

A family may be on a page once, so its samples of all ranks go below one head. Nearly all have a label for the rank, and
just follow each other. Those that have none are of the whole server: counts of the same labels are added up, of other
values the largest is told, such as the latest of some points in time.
"""

import re
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Final

from attrs import frozen
from prometheus_client.utils import floatToGoString

from vllmsim.metrics.exposition import Source

_BLOCK: Final = "\n# HELP "
_RANK: Final = re.compile(r'[{,]engine="\d+"')


@frozen(eq=False)
class JoinedSource:
    """Writes what several sources have as one.

    :param sources: one for each rank; there may be more later.
    """

    _sources: Sequence[Source]

    def write(self, names: Collection[str] = ()) -> str:
        """Write every sample, or those that have one of some names."""
        blocks: dict[str, list[str]] = {}
        for source in self._sources:
            for block in f"\n{source.write(names)}".split(_BLOCK)[1:]:
                text, kind, *samples = block.split("\n", 2)
                parts = blocks.setdefault(f"{_BLOCK[1:]}{text}\n{kind}\n", [])
                parts += [each.removesuffix("\n") for each in samples if each]
        return "".join(f"{head}{_join(head, parts)}\n" if parts else head for head, parts in blocks.items())


def _join(head: str, parts: list[str]) -> str:
    """Join the samples of a family."""
    if len(parts) == 1 or _RANK.search(parts[0]):
        return "\n".join(parts)
    gauge = head.endswith(" gauge\n")
    values: dict[str, str] = {}
    for line in chain.from_iterable(part.split("\n") for part in parts):
        name, _, text = line.rpartition(" ")
        if name not in values:
            values[name] = text
        elif gauge:
            values[name] = max(values[name], text, key=float)
        else:
            values[name] = floatToGoString(float(values[name]) + float(text))
    return "\n".join(f"{name} {text}" for name, text in values.items())
