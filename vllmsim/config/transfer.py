# -*- test-case-name: tests.config.test_transfer -*-
"""How servers give each other KV blocks, as vLLM's ``kv-transfer-config`` says it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

_ROLES: Final = ("kv_producer", "kv_consumer", "kv_both")
_FETCHING: Final = frozenset(_ROLES[1:])
_DEPTH: Final = 4
"""How deep connectors may be in others; vLLM has one that is made of several."""


@frozen
class KVTransfer:
    """How a server gives and takes KV blocks.

    :param connectors: what it would do so with; none where it does not.
    :param role: whether it gives blocks, takes them, or both; None where there are no connectors.
    :param engine_id: its name among its peers, if it is given one.
    """

    connectors: tuple[str, ...] = ()
    role: str | None = None
    engine_id: str | None = None

    @property
    def nixl(self) -> bool:
        """Whether it transfers blocks by NIXL."""
        return any("nixl" in name.lower() for name in self.connectors)

    @property
    def fetches(self) -> bool:
        """Whether it takes blocks from others."""
        return self.role in _FETCHING


def read_transfer(members: Mapping[str, Any] | None) -> KVTransfer:
    """Read the members that mean something here; vLLM has others, and older ones had more.

    :raises ValueError: naming the one that is wrong.
    """
    given = members or {}
    for name in ("kv_connector", "kv_role", "engine_id"):
        value = given.get(name)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"its {name} is not text")
    role = given.get("kv_role")
    if role is not None and role not in _ROLES:
        raise ValueError(f"its kv_role {role!r} is none of {', '.join(_ROLES)}")
    if given.get("kv_connector") and role is None:
        raise ValueError(f"with a kv_connector it needs a kv_role: one of {', '.join(_ROLES)}")
    connectors = tuple(_connectors(given))
    return KVTransfer(connectors, role if connectors else None, given.get("engine_id") or None)


def _connectors(members: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """Find the names of connectors, also of those that others are made of."""
    name, extra = members.get("kv_connector"), members.get("kv_connector_extra_config")
    if isinstance(name, str) and name:
        yield name
    inner = extra.get("connectors") if isinstance(extra, Mapping) else None
    if isinstance(inner, list) and depth < _DEPTH:
        for each in inner:
            if isinstance(each, Mapping):
                yield from _connectors(each, depth + 1)
