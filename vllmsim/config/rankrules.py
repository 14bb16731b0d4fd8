# -*- test-case-name: tests.config.test_rules -*-
"""What the options of data-parallel ranks must satisfy together, and those of their addresses."""

from collections.abc import Callable
from typing import Final, TypeAlias

from vllmsim.config.administration import admin_ports
from vllmsim.config.endpoints import TLS_KINDS
from vllmsim.config.schema import Configuration

_MAX_RANKS: Final = 8
_MAX_PORT: Final = 65535
_PROBED: Final = ("tcp", "tcp6", "ssl", *TLS_KINDS, "unix", "systemd")
"""Endpoints of which a supervisor finds the other end."""
RANKS: Final = ("data-parallel-size", "data-parallel-rank", "data-parallel-size-local", "data-parallel-start-rank")
"""Options that say which ranks a server has."""
BALANCING: Final = ("data-parallel-internal-lb", "data-parallel-hybrid-lb")
"""Options that have a server balance among its ranks."""

Rule: TypeAlias = tuple[tuple[str, ...], Callable[[Configuration], str | None]]
"""The options that a rule looks at, the first of which is to blame, and what says in a sentence that it is broken."""


def _ranks(c: Configuration) -> str | None:
    if c.data_parallel_rank >= 0 or len(c.ranks) <= _MAX_RANKS:
        return None
    return f"{len(c.ranks)} is more than the {_MAX_RANKS} ranks that one server can have"


def _rank(c: Configuration) -> str | None:
    if c.data_parallel_rank < max(c.data_parallel_size, _MAX_RANKS):
        return None
    return f"{c.data_parallel_rank} is none of {max(c.data_parallel_size, _MAX_RANKS)} ranks"


def _first_rank(c: Configuration) -> str | None:
    first, size, own = c.data_parallel_start_rank, c.data_parallel_size, c.data_parallel_rank
    if own >= 0:
        return f"{first} is not data-parallel-rank, which is {own}" if first not in {0, own} else None
    return None if first < size else f"{first} is none of {size} ranks"


def _local_ranks(c: Configuration) -> str | None:
    first, count, size = c.data_parallel_start_rank, c.data_parallel_size_local or 0, c.data_parallel_size
    if c.data_parallel_rank >= 0:
        return f"{count} ranks cannot be one, which data-parallel-rank asks for" if count > 1 else None
    if first >= size or first + count <= size:
        return None
    return f"{count} ranks from {first} on are more than data-parallel-size, which is {size}"


def _last_port(c: Configuration) -> str | None:
    return None if c.ports[-1] <= _MAX_PORT else f"{c.port} leaves no port for rank {c.ranks[-1]}"


def _own_address(c: Configuration) -> str | None:
    if len(c.ports) == 1 or not (c.listen or c.uds):
        return None
    name, template = ("listen", c.listen) if c.listen else ("uds", c.uds)
    ready = "{rank}" in template or "{port}" in template
    return None if ready else f"{len(c.ranks)} ranks cannot share {name} {template!r}; put {{rank}} or {{port}} in it"


def _own_trace(c: Configuration) -> str | None:
    if len(c.ranks) == 1 or not c.engine_trace or "{rank}" in c.engine_trace:
        return None
    return f"{len(c.ranks)} ranks cannot share {c.engine_trace!r}; put {{rank}} in it"


def _one_port(name: str) -> Rule:
    def check(c: Configuration) -> str | None:
        wrong = getattr(c, name.replace("-", "_")) and c.data_parallel_processes
        return "has all ranks in one process, and does not go with data-parallel-processes" if wrong else None

    return (name, "data-parallel-processes"), check


def _one_rank(c: Configuration) -> str | None:
    wrong = c.data_parallel_external_lb and not c.data_parallel_processes and len(c.ranks) > 1
    return f"needs data-parallel-rank: which of the {len(c.ranks)} ranks this server is" if wrong else None


def _supervisor_port(c: Configuration) -> str | None:
    port, counted = c.data_parallel_supervisor_port, "{port}" in c.listen if c.listen else not c.uds
    if not (c.data_parallel_processes and counted and port - c.port in range(len(c.ranks))):
        return None
    return f"{port} is the port of rank {c.ranks[port - c.port]}"


def _grpc_port(c: Configuration) -> str | None:
    if c.grpc_port is None:
        return None
    if c.grpc is False:
        return "needs grpc"
    ports = range(c.grpc_port, c.grpc_port + len(c.ports))
    if ports[-1] > _MAX_PORT:
        return f"{c.grpc_port} leaves no port for rank {c.ranks[-1]}"
    taken = {*admin_ports(c), *(() if c.uds or c.listen else c.ports)}
    if c.data_parallel_processes:
        taken.add(c.data_parallel_supervisor_port)
    shared = sorted(taken.intersection(ports))
    return f"port {shared[0]} is taken already: it is this server's own" if shared else None


def _probed(c: Configuration) -> str | None:
    if not c.data_parallel_processes or not c.listen or c.listen.partition(":")[0] in _PROBED:
        return None
    return f"needs ranks that it can ask how they are: listen {c.listen!r} must begin with {', '.join(_PROBED)}"


def _nixl_port(c: Configuration) -> str | None:
    last = c.nixl_side_channel_port + c.ranks[-1]
    return None if last <= _MAX_PORT else f"{c.nixl_side_channel_port} leaves no port for rank {c.ranks[-1]}"


RANK_RULES: Final[tuple[Rule, ...]] = (
    (RANKS, _ranks),
    (("data-parallel-rank", "data-parallel-size"), _rank),
    (("data-parallel-start-rank", "data-parallel-size", "data-parallel-rank"), _first_rank),
    (("data-parallel-size-local", *RANKS), _local_ranks),
    *map(_one_port, BALANCING),
    (("data-parallel-external-lb", "data-parallel-processes", *RANKS), _one_rank),
    (("port", *RANKS, *BALANCING), _last_port),
    ((*RANKS, "listen", "uds", *BALANCING), _own_address),
    (("engine-trace", *RANKS), _own_trace),
    (("data-parallel-supervisor-port", "data-parallel-processes", "port", "listen", "uds", *RANKS), _supervisor_port),
    (("grpc-port", "grpc", "port", "admin-endpoint", "data-parallel-supervisor-port", *RANKS, *BALANCING), _grpc_port),
    (("data-parallel-processes", "listen"), _probed),
    (("nixl-side-channel-port", *RANKS), _nixl_port),
)
