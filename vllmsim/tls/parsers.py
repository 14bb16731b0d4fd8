# -*- test-case-name: tests.tls.test_parsers -*-
"""What makes Twisted understand our endpoint strings, wherever it reads one. Importing this costs nothing."""

from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamServerEndpointStringParser)
@frozen
class TlsParser:
    """Reads endpoint strings with one prefix.

    :param prefix: one of :data:`vllmsim.tls.settings.PREFIXES`.
    """

    prefix: str

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamServerEndpoint:
        """Make the endpoint.

        :raises vllmsim.tls.errors.TlsError: when it cannot be, or its certificate cannot be used.
        """
        from vllmsim.tls.keyring import Keyring  # noqa: PLC0415 - the list of plugins is read for other ones too

        return Keyring(reactor).endpoint(self.prefix, args, kwargs)
