# -*- test-case-name: tests.config.scenario.test_text -*-
"""Makes plain values of YAML, and not more of them than there should be."""

from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


class PlainLoader(yaml.SafeLoader):
    """Takes no name twice, and no more from merge keys than a bound: each may double what is there.

    :param most: how many members merge keys may bring in, all together.
    """

    def __init__(self, text: str, most: int) -> None:
        super().__init__(text)
        self._most = self._left = most

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT002 - as PyYAML has it
        """Make a map."""
        known: set[str] = set()
        for name, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(name, yaml.ScalarNode):
                if name.value in known:
                    raise ValueError(f"{name.value!r} is there twice, again in line {name.start_mark.line + 1}")
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
