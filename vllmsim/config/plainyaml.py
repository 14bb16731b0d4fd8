# -*- test-case-name: tests.config.test_plain -*-
"""Makes plain values of YAML, and not more of them than there should be. Imported late: PyYAML takes 20 ms."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from yaml.reader import ReaderError

from vllmsim.config.plain import DEEP

_MERGE = "tag:yaml.org,2002:merge"
_MOST_SHOWN = 200


class NotYamlError(ValueError):
    """A text is no YAML.

    :param line: where, if that is known.
    """

    def __init__(self, reason: str, line: int | None) -> None:
        super().__init__(f"it is not YAML: {reason}")
        self.line = line


class PlainLoader(yaml.SafeLoader):
    """Takes no name twice, and no more nodes, or members that merge keys bring in, than a bound.

    :param most: how many of each there may be, all together: each merge key may double what is there.
    """

    def __init__(self, text: str, most: int) -> None:
        with explained():
            super().__init__(text)
        self._most = self._left = self._nodes = most

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Read a node: a scalar takes some hundred times the memory of its text."""
        self._nodes -= 1
        if self._nodes < 0:
            raise ValueError(f"it has more than {self._most} values")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT002 - as PyYAML has it
        """Make a map."""
        known: set[str] = set()
        for name, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(name, yaml.ScalarNode):
                if name.value in known:
                    raise ValueError(f"{_short(name.value)!r} is there twice, again in line {name.start_mark.line + 1}")
                known.add(name.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: Any) -> None:
        """Put members of other maps into a map, as its merge keys want it."""
        for name, value in node.value:
            if name.tag == _MERGE:
                for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(each, yaml.MappingNode):
                        self.flatten_mapping(each)
                        self._spend(len(each.value))
        super().flatten_mapping(node)

    def _spend(self, members: int) -> None:
        self._left -= members
        if self._left < 0:
            raise ValueError(f"its merge keys bring in more than {self._most} members")


@contextmanager
def explained() -> Iterator[None]:
    """Say in one line why a text is none.

    :raises ValueError: for whatever PyYAML raises.
    """
    try:
        yield
    except ReaderError as error:
        raise NotYamlError(f"the character #x{int(error.character):04x} is not allowed", None) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = _short(" ".join(str(getattr(error, "problem", None) or error).split()))
        raise NotYamlError(reason, mark.line + 1 if mark else None) from None
    except (LookupError, TypeError, AttributeError):
        # What makes a value of a tag expects that it has one.
        raise NotYamlError("a value is not what its tag says", None) from None
    except RecursionError:
        raise ValueError(DEEP) from None


def _short(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."
