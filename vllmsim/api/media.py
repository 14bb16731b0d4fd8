# -*- test-case-name: tests.api.test_media -*-
"""Images, sounds and films in prompts, by hash and place: what a multimodal processor would find.

Nothing is fetched or decoded. As in llm-d-inference-sim the items share the prompt evenly: of n items in T tokens,
item i has the tokens from i (T div n) on, at least one.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from vllmsim.hashing import fnv1a_32
from vllmsim.inference import Media, MediaKind

_SHORT: Final[Mapping[MediaKind, str]] = {"image": "img", "audio": "audio", "video": "video"}
_LONG: Final = 4096


@frozen
class HashedMedia:
    """An item.

    :param hash: ``sim_<kind>_<number among its kind>_<hash of its source>``.
    """

    kind: MediaKind
    hash: str


def hash_media(media: Sequence[Media]) -> list[HashedMedia]:
    """Name each item by its hash."""
    counts: dict[str, int] = {}
    hashed = []
    for item in media:
        number = counts.get(item.kind, 0)
        counts[item.kind] = number + 1
        hashed.append(HashedMedia(item.kind, f"sim_{_SHORT[item.kind]}_{number}_{fnv1a_32(_brief(item.source)):x}"))
    return hashed


def _brief(source: str) -> str:
    """Shorten data of megabytes, which the hash would take a second to read."""
    return source if len(source) <= _LONG else hashlib.blake2b(source.encode("utf-8", "surrogatepass")).hexdigest()


def media_features(media: Sequence[Media], tokens: int) -> dict[str, Any] | None:
    """Describe a prompt's media as the token routes do.

    :param tokens: the prompt's length.
    :return: hashes, places and processed data by kind; None where there are no media.
    """
    if not media:
        return None
    span = max(tokens // len(media), 1)
    hashes: dict[str, list[str]] = {}
    places: dict[str, list[dict[str, int]]] = {}
    data: dict[str, list[str]] = {}
    for number, item in enumerate(hash_media(media)):
        offset = max(0, min(number * span, tokens - 1))
        hashes.setdefault(item.kind, []).append(item.hash)
        places.setdefault(item.kind, []).append({"offset": offset, "length": max(1, min(span, tokens - offset))})
        data.setdefault(item.kind, []).append(base64.b64encode(item.hash.encode()).decode())
    return {"mm_hashes": hashes, "mm_placeholders": places, "kwargs_data": data}
