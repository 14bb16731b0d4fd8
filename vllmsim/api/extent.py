# -*- test-case-name: tests.api.test_extent -*-
"""How deep a body may be nested, and how much a list in it may hold.

What reads a body goes through it level by level and item by item, some of it more than once, and a few megabytes have
room for a million of each. vLLM has no such limits: here they are far beyond what a client means.
"""

from collections.abc import Iterable
from typing import Any, Final

from attrs import frozen

from vllmsim.errors import MalformedRequest

_NESTED: Final = frozenset({dict, list})
_NUMBERS: Final = frozenset({int, float, bool, type(None)})


@frozen
class Extent:
    """The limits.

    :param depth: the most levels; a body of an object alone has one.
    :param items: the most items of a list, or members of an object. Lists of numbers, such as tokens, may be as long as
        they like: the length of a prompt bounds them.
    """

    depth: int = 128
    items: int = 16_384

    def check(self, value: Any, body: bytes) -> None:
        """Check a value.

        :param body: what it was read from; most say by their brackets and commas that they keep to the limits.
        :raises MalformedRequest: when it does not.
        """
        if body.count(b"[") + body.count(b"{") <= self.depth and body.count(b",") < self.items:
            return
        depth, level = 0, _nested((value,))
        while level:
            depth += 1
            if depth > self.depth:
                raise MalformedRequest(
                    f"The request body is more than the {self.depth} levels deep that max-json-depth allows."
                )
            below: list[Any] = []
            for each in level:
                members = each.values() if isinstance(each, dict) else each
                if len(each) > self.items and (members is not each or not _NUMBERS.issuperset(map(type, each))):
                    raise self._too_many(value, each)
                below += _nested(members)
            level = below

    def _too_many(self, whole: Any, found: Any) -> MalformedRequest:
        name = next((name for name, each in whole.items() if each is found), None) if isinstance(whole, dict) else None
        what = "A part of the request body" if name is None else f"'{name}'"
        said = f"{what} has {len(found)} items, but max-json-items allows {self.items}."
        return MalformedRequest(said, name)


USUAL: Final = Extent()


def _nested(values: Iterable[Any]) -> list[Any]:
    """List the lists and objects among values."""
    if _NESTED.isdisjoint(map(type, values)):
        return []
    return [each for each in values if type(each) in _NESTED]
