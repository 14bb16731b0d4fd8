"""A daemon to which is done what broke the original."""

import http.client
import json
from typing import Any

from tests.fuzz.daemon import FAULTS, FuzzTestCase
from tests.integration.daemon import PATIENCE, Daemon

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"


class BrokenTestCase(FuzzTestCase):
    """Tests after which the daemon is as well as it was."""

    @classmethod
    def setUpClass(cls) -> None:
        """Start it; it waits for what a slow machine sends."""
        cls.words = (*cls.words, "--timeout-keep-alive", "600")
        super().setUpClass()

    def setUp(self) -> None:
        """Connect."""
        self.connection = self.connect(self.daemon)

    def connect(self, daemon: Daemon) -> http.client.HTTPConnection:
        """Open a connection that is kept for many requests."""
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE)
        self.addCleanup(connection.close)
        return connection

    def ask(self, path: str, body: Any, method: str = "POST") -> tuple[int, bytes]:
        """Send JSON.

        :return: the status and the body of the answer.
        """
        self.connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        return response.status, response.read()

    def say(self, prompt: Any, **fields: Any) -> str:
        """Ask for a completion, which must be there."""
        status, body = self.ask(COMPLETIONS, {"prompt": prompt, **fields})
        self.assertEqual(200, status, body)
        return str(json.loads(body)["choices"][0]["text"])

    def well(self) -> None:
        """Hold that an ordinary request is served, and that the log tells of no fault."""
        self.complete()
        output = self.daemon.output()
        self.assertIsNone(FAULTS.search(output), output[-4000:])
