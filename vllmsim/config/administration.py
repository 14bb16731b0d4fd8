# -*- test-case-name: tests.config.test_administration -*-
"""Where the routes for administrators may be: ``admin-endpoint``.

A port, or a Twisted endpoint. Each further rank of a server has the next port, or its number for ``{rank}``.
"""

import re
from typing import Final

from vllmsim.config.endpoints import TLS_KINDS, endpoint_fault
from vllmsim.config.schema import Configuration

_KINDS: Final = "|".join(("tcp6?", "ssl", *TLS_KINDS))
_PORT: Final = re.compile(rf"((?:(?:{_KINDS}):(?:port=)?)?)(0*[1-9][0-9]*)(?![^:])")
"""A port alone, or an endpoint that begins with one; not with 0, for which the system finds a port."""
_FOUND: Final = re.compile(rf"(?:{_KINDS}):(?:port=)?0+(?![^:])")
_MOST_PORTS: Final = 65535


def endpoint_counted(endpoint: str, number: int, further: int) -> str:
    """Find a rank's own endpoint.

    :param endpoint: that of the first rank, which has ``{rank}`` in it if it does not begin with a port.
    :param number: the rank's number.
    :param further: how many ranks of this server are before it.
    """
    if "{rank}" in endpoint:
        return endpoint.replace("{rank}", str(number))
    return _PORT.sub(lambda match: f"{match[1]}{int(match[2]) + further}", endpoint, count=1)


def admin_ports(configuration: Configuration) -> range:
    """Find the ports that the routes for administrators take, one for each rank; none if their endpoints have none."""
    endpoint = configuration.admin_endpoint
    match = None if "{rank}" in endpoint else _PORT.match(endpoint)
    return range(0) if match is None else range(int(match[2]), int(match[2]) + len(configuration.ports))


def admin_fault(configuration: Configuration) -> str | None:
    """Say what is wrong with ``admin-endpoint``; None if nothing is."""
    c = configuration
    if not c.admin_endpoint:
        return None
    ports = admin_ports(c)
    if not (ports or ":" in c.admin_endpoint):
        return f"{c.admin_endpoint!r} is neither a port nor a Twisted endpoint such as unix:/run/vllmsim.sock"
    if len(c.ports) > 1 and not ports and "{rank}" not in c.admin_endpoint and not _FOUND.match(c.admin_endpoint):
        return f"{len(c.ranks)} ranks cannot share {c.admin_endpoint!r}; put {{rank}} in it"
    if ports.stop > _MOST_PORTS + 1:
        return f"{c.admin_endpoint!r} leaves no port for rank {c.ranks[-1]}"
    if not c.admin_endpoint.isdecimal():
        every = (endpoint_counted(c.admin_endpoint, rank, further) for further, rank in enumerate(c.ranks))
        if fault := next(filter(None, map(endpoint_fault, every)), None):
            return fault
    taken = set() if c.uds or c.listen else set(c.ports)
    if c.data_parallel_processes:
        taken.add(c.data_parallel_supervisor_port)
    shared = sorted(taken.intersection(ports))
    return f"port {shared[0]} is taken already: it is this server's own" if shared else None
