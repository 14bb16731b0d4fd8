"""The requests that are sent."""

import json

from twisted.trial.unittest import SynchronousTestCase

from bench import requests


class RequestTests(SynchronousTestCase):
    """Their bytes."""

    def test_chat(self) -> None:
        """A chat request says how long its body is, and asks for so many tokens exactly."""
        head, _, body = requests.chat(stream=True, max_tokens=7).partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d" % len(body), head)
        found = json.loads(body)
        self.assertEqual((True, 7, True), (found["stream"], found["max_tokens"], found["ignore_eos"]))

    def test_get(self) -> None:
        """Other requests have no body."""
        self.assertTrue(requests.get("/health").startswith(b"GET /health HTTP/1.1\r\n"))
        self.assertTrue(requests.get("/health").endswith(b"\r\n\r\n"))
