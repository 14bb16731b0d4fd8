"""What Twisted finds."""

import subprocess
import sys

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import IPlugin, getPlugins
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.tls.errors import TlsError
from vllmsim.tls.parsers import TlsParser
from vllmsim.tls.settings import PREFIXES


class ParserTests(SynchronousTestCase):
    """Endpoint strings of ours, in any program that runs on Twisted."""

    def test_found(self) -> None:
        """Both prefixes are among those that Twisted knows."""
        found = {each.prefix: each for each in getPlugins(IStreamServerEndpointStringParser)}
        for prefix in PREFIXES:
            verifyObject(IStreamServerEndpointStringParser, found[prefix])
            verifyObject(IPlugin, found[prefix])
            self.assertIsInstance(found[prefix], TlsParser)

    def test_listens(self) -> None:
        """An endpoint string makes an endpoint that listens."""
        reactor = MemoryReactorClock()
        port = self.successResultOf(serverFromString(reactor, "selfsignedtls:8443").listen(Factory()))
        self.assertEqual(8443, reactor.tcpServers[0][0])
        port.stopListening()

    def test_wrong(self) -> None:
        """One that asks for what cannot be is refused in a line."""
        error = self.assertRaises(TlsError, serverFromString, MemoryReactorClock(), "reloadingtls:1:certKey=/no/c")
        self.assertEqual("cannot read the certificate '/no/c': No such file or directory", str(error))

    def test_light(self) -> None:
        """Reading the list of plugins imports nothing of ours but their names; nor does a server without TLS."""
        code = (
            "import sys, vllmsim.tls.parsers, vllmsim.listening; print([n for n in sys.modules if 'vllmsim.tls' in n])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual("['vllmsim.tls', 'vllmsim.tls.parsers']", done.stdout.strip())
