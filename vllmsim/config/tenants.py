# -*- test-case-name: tests.config.test_tenants -*-
"""Tenants, who share a server and have keys and limits of their own, and the limits of everybody else."""

from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.keys import MOST_KEYS, checked_keys, read_key_file
from vllmsim.config.members import Members, integer, seconds
from vllmsim.durations import format_duration

_MOST_TENANTS: Final = 256
_LONGEST_NAME: Final = 64
_MOST: Final = 1 << 40
_MINUTE: Final = 60.0


@frozen
class RateLimit:
    """How much may be asked for.

    :param requests: per minute; None for any number.
    :param tokens: per minute, of prompts and answers; None for any number.
    :param burst: how many seconds' worth of it may be had at once.
    """

    requests: int | None = None
    tokens: int | None = None
    burst: float = _MINUTE


@frozen
class Tenant:
    """Someone who shares a server with others.

    :param keys: all, those of the file too.
    :param key_file: the file that some of them come from; empty for none.
    :param limit: None for no limit at all.
    """

    name: str
    keys: tuple[str, ...] = field(repr=False)
    own_keys: tuple[str, ...] = field(default=(), repr=False)
    key_file: str = ""
    limit: RateLimit | None = None


def parse_rate_limit(value: object) -> RateLimit | None:
    """Read the option ``rate-limit``.

    :raises InvalidMembers: naming every member that is wrong.
    :raises ValueError: when it is no map.
    """
    if not isinstance(value, Mapping):
        raise ValueError("it is not a map")
    members = Members(value)
    limit = _limit(members)
    members.finish("is no member of a rate limit")
    if members.faults:
        raise InvalidMembers(members.faults)
    return limit


def _limit(members: Members) -> RateLimit | None:
    limit = RateLimit(
        members.take("requests-per-minute", _amount),
        members.take("tokens-per-minute", _amount),
        members.take("burst", _burst, _MINUTE),
    )
    if limit.requests is None and limit.tokens is None:
        if "burst" in members.given:
            members.fault("burst", "goes with requests-per-minute or tokens-per-minute")
        return None
    return limit


def _amount(value: object) -> int:
    return integer(value, 1, _MOST)


def _burst(value: object) -> float:
    burst = seconds(value)
    if not burst:
        raise ValueError("must be above 0")
    return burst


def write_rate_limit(limit: RateLimit) -> dict[str, Any]:
    """Write a limit as :func:`parse_rate_limit` reads it."""
    told: dict[str, Any] = {}
    if limit.requests is not None:
        told["requests-per-minute"] = limit.requests
    if limit.tokens is not None:
        told["tokens-per-minute"] = limit.tokens
    if limit.burst != _MINUTE:
        told["burst"] = format_duration(limit.burst)
    return told


def parse_tenants(value: object) -> tuple[Tenant, ...]:
    """Read the option ``tenants``: a list of maps with names, or a map of names to maps.

    :raises InvalidMembers: naming every member that is wrong. No message shows a key.
    :raises ValueError: when it is neither, or has too many.
    """
    named: list[tuple[str, Mapping[Any, object]]]
    if isinstance(value, Mapping):
        named = [(str(name), {"name": str(name), **_map(each)}) for name, each in value.items()]
    elif isinstance(value, list):
        named = [(str(number), _map(each)) for number, each in enumerate(value)]
    else:
        raise ValueError("it is neither a list nor a map")
    if len(named) > _MOST_TENANTS:
        raise ValueError(f"it has {len(named)} tenants, and at most {_MOST_TENANTS} are allowed")
    tenants: list[Tenant] = []
    faults: list[tuple[str, str]] = []
    for place, members in named:
        tenant, wrong = _read_tenant(members, tenants)
        tenants.append(tenant)
        faults += [(f"{place}.{member}", fault) for member, fault in wrong]
    if sum(len(tenant.keys) for tenant in tenants) > MOST_KEYS:
        raise ValueError(f"all tenants together have at most {MOST_KEYS} keys")
    if faults:
        raise InvalidMembers(faults)
    return tuple(tenants)


def _map(value: object) -> Mapping[Any, object]:
    return value if isinstance(value, Mapping) else {"not a map": value}


def _read_tenant(given: Mapping[Any, object], others: list[Tenant]) -> tuple[Tenant, list[tuple[str, str]]]:
    if "not a map" in given:
        return Tenant("", ()), [("name", "is missing: a tenant is a map")]
    members = Members(given)
    own = members.take("keys", _keys, ())
    file = members.take("key-file", _file)
    keys = dict.fromkeys((*own, *(file.keys if file is not None else ())))
    name = members.take("name", _name, "")
    tenant = Tenant(name, tuple(keys), own, "" if file is None else file.path, _limit(members))
    members.finish("is no member of a tenant")
    if "name" not in members.given:
        members.fault("name", "is missing")
    if not members.given & {"keys", "key-file"}:
        members.fault("keys", "is missing: a tenant has keys, or a key-file")
    for other in others:
        if name and other.name == name:
            members.fault("name", f"{name!r} is there twice")
        if not keys.keys().isdisjoint(other.keys):
            members.fault("keys", f"has a key that is {other.name}'s too")
    return tenant, members.faults


def _keys(value: object) -> tuple[str, ...]:
    keys = checked_keys(value if isinstance(value, list) else [value])
    if not keys:
        raise ValueError("must have at least one key")
    return keys


def _file(value: object) -> Any:
    if not isinstance(value, str) or not value:
        raise ValueError("must be the path of a file with a key on each line")
    return read_key_file(value)


def _name(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("must be text")
    name = str(value)
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise ValueError(f"must be a name of 1 to {_LONGEST_NAME} characters")
    return name


def write_tenants(tenants: tuple[Tenant, ...]) -> list[dict[str, Any]]:
    """Write the option as :func:`parse_tenants` reads it, keys and all."""
    return [
        {"name": tenant.name}
        | ({"keys": list(tenant.own_keys)} if tenant.own_keys else {})
        | ({"key-file": tenant.key_file} if tenant.key_file else {})
        | (write_rate_limit(tenant.limit) if tenant.limit is not None else {})
        for tenant in tenants
    ]
