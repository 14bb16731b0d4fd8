"""wrk: its program and its output."""

from twisted.trial.unittest import SynchronousTestCase

from bench import requests, wrk
from bench.load import LoadError

_OUTPUT = """Running 1s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  2945 requests in 1.01s, 2.65MB read
{}Requests/sec:   2915.84
"""


class WrkTests(SynchronousTestCase):
    """What goes in and what comes out."""

    def test_parse(self) -> None:
        """The number of requests and the time are read, in whatever unit."""
        self.assertEqual((2945, 1.01), wrk.parse(_OUTPUT.format("")))
        self.assertEqual((7, 0.5), wrk.parse("7 requests in 500.00ms, 1KB read"))

    def test_errors(self) -> None:
        """Errors and other answers than 2xx are no result."""
        for line in ("  Socket errors: connect 0, read 3, write 0, timeout 0\n", "  Non-2xx or 3xx responses: 7\n"):
            error = self.assertRaises(LoadError, wrk.parse, _OUTPUT.format(line))
            self.assertEqual(line.strip(), str(error))
        self.assertRaises(LoadError, wrk.parse, "unable to connect")

    def test_script(self) -> None:
        """The program sends the request's method, type and body; wrk makes the other headers itself."""
        text = wrk.script(requests.chat(stream=False, max_tokens=16))
        self.assertIn('wrk.method = "POST"', text)
        self.assertIn('wrk.headers["Content-Type"] = "application/json"', text)
        self.assertIn('wrk.body = [==[{"stream":false', text)
        self.assertNotIn("Host", text)
