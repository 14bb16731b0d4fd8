# -*- test-case-name: tests.test_media -*-
"""Images, sounds and films in prompts, by hash and place: what a multimodal processor would find.

Nothing is fetched or decoded. As in llm-d-inference-sim the items share the prompt evenly: of n items in T tokens,
item i has the tokens from i (T div n) on, at least one.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from vllmsim.hashing import fnv1a_32
from vllmsim.inference import Media, MediaKind, Span

_SHORT: Final[Mapping[MediaKind, str]] = {"image": "img", "audio": "audio", "video": "video"}
_LONG: Final = 4096
_NUMBERED: Final = re.compile(r"(sim_[a-z]+)_\d+_([0-9a-f]+)")


def media_hashes(media: Iterable[Media]) -> Iterator[str]:
    """Name items by their hashes: ``sim_<kind>_<number among its kind>_<hash of its source>``.

    One takes up to a third of a millisecond, and some milliseconds if it has megabytes of data.
    """
    counts: dict[str, int] = {}
    for item in media:
        number = counts.get(item.kind, 0)
        counts[item.kind] = number + 1
        yield f"sim_{_SHORT[item.kind]}_{number}_{fnv1a_32(_brief(item.source)):x}"


def source_of(identifier: str) -> str:
    """Name the source of an item, which is the same wherever the item is in a prompt.

    :param identifier: its hash; one that a client has made says nothing of places.
    """
    match = _NUMBERED.fullmatch(identifier)
    return identifier if match is None else f"{match[1]}_{match[2]}"


def _brief(source: str) -> str:
    """Shorten data of megabytes, which the hash would take a second to read."""
    return source if len(source) <= _LONG else hashlib.blake2b(source.encode("utf-8", "surrogatepass")).hexdigest()


def place_media(media: Sequence[Media], hashes: Sequence[str], tokens: int) -> tuple[Span, ...]:
    """Find the tokens that stand for each item.

    :param hashes: one for each item.
    :param tokens: the prompt's length; where there is no token there is no place.
    """
    if not tokens or not media:
        return ()
    share = max(tokens // len(media), 1)
    places = []
    for number, (item, identifier) in enumerate(zip(media, hashes, strict=True)):
        offset = min(number * share, tokens - 1)
        places.append(Span(identifier, offset, min(share, tokens - offset), item.kind))
    return tuple(places)
