"""How a clock is moved, read from bodies."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.body import Head
from vllmsim.api.clock import read_advance, read_run_until_idle
from vllmsim.errors import MalformedRequest


class ReadingTests(SynchronousTestCase):
    """Bodies."""

    def test_advance(self) -> None:
        """Seconds must be said; how many requests must have come and how long it may take may be."""
        asked = read_advance(b'{"seconds": 1.5, "requests": 3, "timeout": 2}', Head())
        self.assertEqual((1.5, 3, 2.0), (asked.seconds, asked.requests, asked.timeout))
        asked = read_advance(b'{"seconds": 0}', Head("text/plain"))
        self.assertEqual((0.0, 0, 60.0), (asked.seconds, asked.requests, asked.timeout))

    def test_run_until_idle(self) -> None:
        """Nothing need be said, and then an hour is the limit."""
        self.assertEqual((3600.0, 0, 60.0), tuple(vars(read_run_until_idle(b"", Head()))[name] for name in NAMES))
        self.assertEqual(5.0, read_run_until_idle(b'{"limit": 5}', Head()).limit)

    def test_wrong(self) -> None:
        """Time goes forward, by no end and not for ever, and a member that there is not is a mistake."""
        for body in (
            b"",
            b"{}",
            b"[]",
            b'{"seconds": -1}',
            b'{"seconds": 1e8}',
            b'{"seconds": NaN}',
            b'{"seconds": Infinity}',
            b'{"seconds": 1, "requests": -1}',
            b'{"seconds": 1, "timeout": 0}',
            b'{"seconds": 1, "timeout": NaN}',
            b'{"seconds": 1, "timeout": 4000}',
            b'{"seconds": 1, "second": 1}',
        ):
            self.assertRaises(MalformedRequest, read_advance, body, Head())
        self.assertRaises(MalformedRequest, read_run_until_idle, b'{"seconds": 1}', Head())


NAMES = ("limit", "requests", "timeout")
