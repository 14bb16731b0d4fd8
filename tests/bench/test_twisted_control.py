"""The bare Protocol that vllmsim is compared with."""

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from bench import requests
from bench.recording import Recording
from bench.twisted_control import ControlFactory, Wheel

_RECORDING = Recording([b"head", b"a", b"b", b"c-end"])


class _Transport(StringTransport):
    """A connection that can be told not to wait."""

    prompt = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Learn whether small pieces go at once."""
        self.prompt = enabled


class ControlTests(SynchronousTestCase):
    """What it answers, and when."""

    def connect(self, gap: float) -> _Transport:
        """Connect to it.

        :param gap: seconds between two tokens.
        """
        self.clock = Clock()
        self.protocol = ControlFactory(self.clock, _RECORDING, b"whole", Wheel(self.clock, gap)).buildProtocol(None)
        transport = _Transport()
        self.protocol.makeConnection(transport)
        return transport

    def test_paced(self) -> None:
        """A stream has the tokens that were asked for, each at its own deadline, made of those recorded."""
        transport = self.connect(0.02)
        self.protocol.dataReceived(requests.chat(stream=True, max_tokens=6))
        written = []
        for _ in range(6):
            written.append(transport.value())
            transport.clear()
            self.clock.advance(0.02)
        self.assertEqual([b"heada", b"b", b"a", b"b", b"a", b"c-end"], written)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_at_once(self) -> None:
        """Without a gap a stream is the recording."""
        transport = self.connect(0)
        self.protocol.dataReceived(requests.chat(stream=True, max_tokens=3))
        self.assertEqual((b"headabc-end", True), (transport.value(), transport.prompt))

    def test_two_requests(self) -> None:
        """A request may come in pieces, and be followed by another one."""
        transport = self.connect(0)
        for _ in range(2):
            request = requests.chat(stream=False, max_tokens=16)
            for piece in (request[:30], request[30:-5], request[-5:]):
                self.assertNotIn(b"wholewhole", transport.value())
                self.protocol.dataReceived(piece)
        self.assertEqual(b"wholewhole", transport.value())

    def test_gone(self) -> None:
        """A client that has gone is sent nothing more."""
        transport = self.connect(0.02)
        self.protocol.dataReceived(requests.chat(stream=True, max_tokens=6))
        transport.clear()
        self.protocol.connectionLost()
        self.clock.advance(0.1)
        self.assertEqual((b"", []), (transport.value(), self.clock.getDelayedCalls()))
