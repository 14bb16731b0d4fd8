"""Events on their way from a rank's process to the log."""

import io
import json

from twisted.logger import ILogObserver, Logger, LogLevel, eventAsText
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.logs.formats import json_format, record_of
from vllmsim.logs.relay import SEPARATOR, Relay, read_event


class RelayTests(SynchronousTestCase):
    """There and back."""

    def setUp(self) -> None:
        """Have a rank's logger."""
        self.output = io.StringIO()
        relay = Relay(self.output, 5)
        self.assertTrue(verifyObject(ILogObserver, relay))
        self.logger = Logger("vllmsim.x", observer=relay)

    def told(self) -> bytes:
        """Take the line that was written."""
        line = self.output.getvalue().encode()
        self.assertTrue(line.startswith(SEPARATOR) and line.endswith(b"\n") and line.count(b"\n") == 1, line)
        return line.removeprefix(SEPARATOR)

    def test_event(self) -> None:
        """An event comes out as it went in, and says whose it is."""
        self.logger.emit(LogLevel.warn, "said {word}", word="a\n{b}")
        event = read_event(self.told(), 5) or {}
        self.assertEqual("[vllmsim.x#warn] [rank 5] said a\n{b}", eventAsText(event, includeTimestamp=False))
        self.assertIs(LogLevel.warn, event["log_level"])
        record = json.loads(json_format(event) or "")
        self.assertEqual(("said a\n{b}", "a\n{b}", 5), (record["message"], record["word"], record["rank"]))
        self.assertEqual(record, record_of(event, 5) and event["relayed"])

    def test_failure(self) -> None:
        """A traceback comes along, in text and in JSON."""
        self.logger.failure("went wrong", Failure(RuntimeError("why")))
        event = read_event(self.told(), 5) or {}
        self.assertIn("[rank 5] went wrong\nTraceback (most recent call last):", eventAsText(event))
        self.assertIn("RuntimeError: why", json.loads(json_format(event) or "")["failure"])

    def test_nothing(self) -> None:
        """An event that says nothing is not passed on."""
        self.logger.info("")
        self.assertEqual("", self.output.getvalue())

    def test_nonsense(self) -> None:
        """What looks like an event and is none is none."""
        for line in (b"", b"{", b"[]", b"null", b"{}", b'{"record": 1}', b'{"record": {"level": "loud"}, "time": 1}'):
            self.assertIs(None, read_event(line, 5), line)
