"""Bodies that nobody should send, to every route that takes one."""

import contextlib
import json
import os
import select
import socket
import time
from random import Random
from typing import Any
from unittest.mock import patch

from tests.fuzz.answers import Answer, read_answers
from tests.fuzz.bodies import RICH
from tests.fuzz.breaking import JSON, LARGEST, broken, enveloped, filled
from tests.fuzz.daemon import FuzzTestCase
from tests.fuzz.report import Figures, Refused
from tests.fuzz.structures import structured
from tests.integration.daemon import PATIENCE
from tests.integration.test_schemathesis import UNSUPPORTED
from tests.test_docs import EVERYTHING

_UNDONE_BY = {
    "/admin/config": ("POST", "/admin/config/undo"),
    "/fake_metrics": ("POST", "/admin/config/undo"),
    "/admin/scenario": ("DELETE", "/admin/scenario"),
}
"""What undoes what a route has done to the server."""
_WORDLESS = {"/inference/v1/abort_requests", "/start_profile"}
"""Routes that say nothing when all is well, as vLLM's do."""
_HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class BodyTests(FuzzTestCase):
    """Bodies, one after another."""

    surface = "JSON bodies"
    words = (
        *(*FuzzTestCase.words, "--max-model-len", "512", "--reasoning-parser", "qwen3", "--omni", *EVERYTHING),
        *(
            "--timeout-keep-alive",
            "1h",
            "--enable-sleep-mode",
            "--enable-responses-store",
            "--fake-metrics",
            "{}",
            "--enable-kvcache",
        ),
    )

    most_growth = 64 * 1024

    @classmethod
    def setUpClass(cls) -> None:
        """Start the daemon with threads that share what is free: otherwise each keeps what its largest body took."""
        with patch.dict(os.environ, MALLOC_ARENA_MAX="2"):
            super().setUpClass()

    def setUp(self) -> None:
        """Open a connection to ask on how the server is, and list what bodies it takes."""
        self.looking = self.raw(b"")
        document = json.loads(self.daemon.get("/openapi.json"))
        posts = {
            path: methods["post"].get("requestBody") for path, methods in document["paths"].items() if "post" in methods
        }
        bodies = {path: body["content"][JSON].get("example", {"a": 1}) for path, body in posts.items() if body}
        self.bodies = [*bodies.items(), *RICH, *RICH]
        self.assertEqual(set(), {path for path, _ in RICH} - bodies.keys())
        self.longest = 0.0

    def test_survives(self) -> None:
        """Whatever a body is, the answer says what is wrong with it, and the server answers others meanwhile."""
        self.fuzz(600, self.one)

    def warm_up(self) -> None:
        """Have the largest bodies read once: the threads that read such keep room for them."""
        for path, whole in (("/rerank", {"query": "a", "documents": "@"}), ("/tokenize", {"messages": "@"})):
            for item in ('{"a":1}', '{"role":"user","content":"x"}', "[1]", '"a"') * 3:
                items = "[" + ",".join([item] * (LARGEST // (len(item) + 1))) + "]"
                self.post_and_look(path, json.dumps(whole).replace('"@"', items).encode(), {"Content-Type": JSON})

    def survived(self, figures: Figures) -> None:
        """Tell too how long the server has not answered others."""
        figures.notes = f"/health answered within {self.longest * 1000:.0f} ms"
        super().survived(figures)

    def one(self, chance: Random, number: int) -> None:
        """Send one body."""
        path, whole = chance.choice(self.bodies)
        headers = {"Content-Type": JSON}
        kind = number % 40
        if kind == 0 and whole:
            body = filled(chance, whole)
        elif kind < 4:
            path, hard = structured(chance)
            body = json.dumps(hard).encode()
        elif kind < 8:
            body, more = enveloped(chance, whole)
            headers |= more
        else:
            body = broken(chance, whole)
        answer = self.post_and_look(path, body, headers)
        if not (answer.status == 501 and path in UNSUPPORTED) and not (answer.status == 200 and path in _WORDLESS):
            self.check(path, body, answer)
        if answer.status >= 400:
            raise Refused
        if path in _UNDONE_BY:
            self.ask(*_UNDONE_BY[path])

    def check(self, path: str, body: bytes, answer: Answer) -> None:
        """Hold that an answer is one, and say to what it was none."""
        try:
            answer.check()
        except Exception as error:
            raise AssertionError(f"{path} {body[:2000]!r}") from error

    def post_and_look(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Send a body, and see how long the server takes to answer others until it answers that."""
        head = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        with socket.create_connection(("127.0.0.1", self.daemon.port), PATIENCE) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + body)
            received, piece = b"", b"-"
            end = time.monotonic() + 3 * PATIENCE
            while piece:
                self.longest = max(self.longest, self.health())
                self.assertLess(self.longest, PATIENCE / 2, "others wait for too long")
                self.assertLess(time.monotonic(), end, "there is no answer")
                while piece and select.select([connection], [], [], 0.002)[0]:
                    piece = connection.recv(1 << 20)
                    received += piece
        answers, rest = read_answers(received)
        self.assertEqual((1, b""), (len(answers), rest), received[:300])
        return answers[0]

    def health(self) -> float:
        """Ask how the server is.

        :return: seconds that the answer took.
        """
        begin = time.monotonic()
        self.looking.sendall(_HEALTH)
        received = b""
        while not received.endswith(b"\r\n\r\n{}"):
            piece = self.looking.recv(1000)
            self.assertNotEqual(b"", piece)
            received += piece
        return time.monotonic() - begin

    def ask(self, method: str, path: str, value: Any = None) -> None:
        """Make an ordinary request, of which nobody minds what it is answered."""
        body = b"" if value is None else json.dumps(value).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        connection = self.raw(head.encode() + body)
        with contextlib.closing(connection):
            while connection.recv(1 << 16):
                pass
