"""What the supervisor and its ranks say to each other."""

from typing import Any

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.processes.test_assignment import WORDS
from vllmsim.processes.wire import Wire, pack, unpack


class WireTests(SynchronousTestCase):
    """Messages."""

    def test_messages(self) -> None:
        """What one end sends the other gets, whatever pieces it comes in, and whatever JSON can say."""
        heard: list[Any] = []
        sender, receiver = Wire(heard.append), Wire(heard.append)
        receiver.makeConnection(StringTransport())
        transport = StringTransport()
        sender.makeConnection(transport)
        sent: list[dict[str, Any]] = [{"ask": 1, "arguments": {"a": [None, "\ud800\n", 10**30]}}, {}, {"has": 2}]
        for message in sent:
            sender.send(**message)
        for byte in transport.value():
            receiver.dataReceived(bytes([byte]))
        self.assertEqual(sent, heard)

    def test_nobody(self) -> None:
        """What is sent to nobody is lost."""
        Wire(print).send(has=1)

    def test_configuration(self) -> None:
        """A configuration is the same at the other end, to the last digit."""
        configuration = load_words(WORDS.split(), {}).configuration
        self.assertEqual(configuration, unpack(pack(configuration)))
