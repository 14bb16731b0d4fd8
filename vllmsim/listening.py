# -*- test-case-name: tests.test_listening -*-
"""Listening as a service that says in one line why it cannot."""

import os
from typing import Any

from twisted.application import strports
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory


class StartError(SystemExit):
    """Something cannot listen: ends the program with status 1 and one line that says why."""

    def __init__(self, endpoint: str, reason: object) -> None:
        super().__init__(f"vllmsim: cannot listen on {endpoint!r}: {reason}")


class Listener(Service):
    """Listens while it runs.

    :param endpoint: where, in Twisted's endpoint syntax.
    :param factory: makes the connections.
    :raises StartError: when the endpoint is none.
    """

    def __init__(self, endpoint: str, factory: IProtocolFactory, reactor: Any) -> None:
        self._endpoint = endpoint
        try:
            self._port: IService = _service(endpoint, factory, reactor)
        except Exception as error:
            raise StartError(endpoint, error) from error

    def privilegedStartService(self) -> None:
        """Listen.

        :raises StartError: when that is not possible.
        """
        super().privilegedStartService()
        try:
            self._port.privilegedStartService()
        except (CannotListenError, OSError) as error:
            cause = getattr(error, "socketError", error)
            raise StartError(self._endpoint, getattr(cause, "strerror", None) or cause) from error

    def startService(self) -> None:
        """Go on listening."""
        super().startService()
        self._port.startService()

    def stopService(self) -> Deferred[None]:
        """Take no more connections.

        :return: fires when the port is closed.
        """
        super().stopService()
        return maybeDeferred(self._port.stopService)


def _service(endpoint: str, factory: IProtocolFactory, reactor: Any) -> IService:
    if not endpoint.startswith("systemd:"):
        return strports.service(endpoint, factory, reactor)
    from vllmsim.systemd.sockets import inherited  # noqa: PLC0415 - few servers are passed a socket

    service = StreamServerEndpointService(inherited(endpoint, reactor, os.environ), factory)
    # As strports has it.
    service._raiseSynchronously = True  # noqa: SLF001
    return service
