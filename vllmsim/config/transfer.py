# -*- test-case-name: tests.config.test_transfer -*-
"""How servers give each other KV blocks, as vLLM's ``kv-transfer-config`` says it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

_ROLES: Final = ("kv_producer", "kv_consumer", "kv_both")
_FETCHING: Final = frozenset(_ROLES[1:])
_JOINT: Final = "MultiConnector"
_DIRECT: Final = frozenset({"MooncakeConnector", "NixlConnector", "MoRIIOConnector"})
_PASSED_OVER: Final = "MoRIIOConnector"
_STORES: Final = frozenset({"MooncakeStoreConnector", "SharedStorageConnector"})
_FAMILIES: Final = ("FlexKV", "HF3FS")
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


def mover_of(members: Mapping[str, Any]) -> tuple[str, str | None]:
    """Find what moves KV blocks between a prefill and a decode server, as gateways need to know it.

    Where several connectors work together that is the one which hands blocks from server to server; where there is
    none, the one through whose store they go. Two of a kind, or none, are told as what joins them. Gateways do not
    know how to work with MoRI-IO: a store that stands beside it is told.

    :param members: those that :func:`read_transfer` reads.
    :return: its name, empty for nothing; and the name that the server has among its peers, if it is given one.
    """
    name, own = members.get("kv_connector") or "", members.get("engine_id") or None
    extra = members.get("kv_connector_extra_config")
    inner = extra.get("connectors") if isinstance(extra, Mapping) else None
    if name != _JOINT or not isinstance(inner, list):
        return name, own
    named = [each for each in inner if isinstance(each, Mapping) and isinstance(each.get("kv_connector"), str)]
    if len(named) < len(inner):
        return name, own
    direct = [each for each in named if each["kv_connector"] in _DIRECT]
    stores = [each for each in named if each["kv_connector"] in _STORES or each["kv_connector"].startswith(_FAMILIES)]
    chosen = direct or stores
    if len(direct) == 1 and direct[0]["kv_connector"] == _PASSED_OVER and stores:
        chosen = stores
    if len(chosen) != 1:
        return name, own
    [mover] = chosen
    given = mover.get("engine_id", own)
    return (mover["kv_connector"], given) if given is None or (isinstance(given, str) and given) else (name, own)


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
