# -*- test-case-name: tests.processes.test_handing -*-
"""Sockets that systemd has opened, on their way to the processes of ranks. The supervisor keeps them open."""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field

from vllmsim.config.schema import Configuration
from vllmsim.identity import admin_endpoint_of, endpoint_of
from vllmsim.listening import StartError

if TYPE_CHECKING:
    from vllmsim.systemd.sockets import InheritedEndpoint


@define(eq=False)
class InheritedSockets:
    """Those of all ranks.

    :param configuration: says where ranks listen.
    :raises vllmsim.listening.StartError: when there is none where one should be.
    """

    _configuration: Configuration
    _reactor: Any
    _adopted: "dict[str, InheritedEndpoint]" = field(init=False, factory=dict)
    descriptors: Mapping[int, Mapping[str, int]] = field(init=False)
    """By rank, the descriptors of its sockets, by their names."""

    @descriptors.default
    def _find_all(self) -> dict[int, dict[str, int]]:
        return {rank: dict(self._find(rank)) for rank in self._configuration.ranks}

    def _find(self, rank: int) -> Iterator[tuple[str, int]]:
        for endpoint in (endpoint_of(self._configuration, rank), admin_endpoint_of(self._configuration, rank)):
            if endpoint is not None and endpoint.startswith("systemd:"):
                yield self._adopt(endpoint)

    def _adopt(self, endpoint: str) -> tuple[str, int]:
        from vllmsim.systemd.sockets import inherited, name_of  # noqa: PLC0415 - few servers are passed a socket

        try:
            adopted = self._adopted[endpoint] = inherited(endpoint, self._reactor, os.environ)
            name = name_of(endpoint)
            if name is None:
                raise ValueError("ranks in processes are passed sockets by name; say name=")  # noqa: TRY301
        except ValueError as error:
            raise StartError(endpoint, error) from error
        return name, adopted.fileno

    def endpoint(self, rank: int) -> str:
        """Describe where a rank listens, in Twisted's endpoint syntax: as if it had opened its socket itself."""
        endpoint = endpoint_of(self._configuration, rank)
        if endpoint not in self._adopted:
            return endpoint
        from vllmsim.systemd.sockets import as_endpoint  # noqa: PLC0415 - see above

        return as_endpoint(self._adopted[endpoint])
