"""A render service that does not do as it should, in every way that there is."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.faults.case import FaultTestCase, figure
from tests.faults.neighbour import (
    Behaviour,
    Neighbour,
    answering,
    closing,
    dripping,
    endless,
    garbage,
    redirecting,
    refusing,
    silent,
    truncating,
)
from tests.integration.daemon import Daemon, until

TIMEOUT = 0.5
"""Seconds that the render service may take."""
SLACK = 10.0
"""Seconds more than that which an answer may take on a busy machine."""
MOST_ANSWER = 65 << 10
"""KiB that an answer may take before it is too long."""
HI = [{"role": "user", "content": "hi"}]
ASKED: Mapping[str, Any] = {
    "/v1/completions": {"prompt": "new"},
    "/v1/chat/completions": {"messages": HI},
    "/v1/messages": {"model": "m", "max_tokens": 5, "messages": HI},
    "/v1/responses": {"input": "new"},
    "/v1/embeddings": {"input": "new"},
    "/tokenize": {"prompt": "new"},
}
"""A request for each dialect."""


class RenderTests(FaultTestCase):
    """One daemon whose render service behaves in many ways, one after the other."""

    def behaviours(self, elsewhere: Neighbour) -> Mapping[str, Behaviour]:
        """List them."""
        there = f"http://127.0.0.1:{elsewhere.port}/v1/completions/render"
        return {
            "silent": silent, "closing": closing, "garbage": garbage, "500": refusing, "truncated": truncating,
            "no JSON": answering("200 OK", b"<p>hello"), "other JSON": answering("200 OK", b'[{"token_ids": "no"}]'),
            "odd JSON": answering("200 OK", b'[{"token_ids": [-1, 1e400, null, 99999999999999999999]}]'),
            "deep JSON": answering("200 OK", b"[" * 100_000), "slow": dripping, "endless": endless,
            "redirect": redirecting(there), "moved": redirecting("file:///etc/passwd", "301 Moved Permanently"),
            "429": answering("429 Too Many Requests", b"", "Retry-After: 100000"),
            "100 for ever": lambda connection: endless(connection, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
            "many headers": lambda connection: endless(connection, b"HTTP/1.1 200 OK\r\nX: "),
        }  # fmt: skip

    def check(self, name: str, path: str, status: int, answer: Any) -> None:
        """Hold that an answer is an error in the words of its endpoint."""
        self.assertIn(status, (500, 503), (name, path, answer))
        error = answer["error"]
        self.assertIn("render service", error["message"], (name, path))
        if path == "/v1/messages":
            self.assertEqual("error", answer["type"])
        else:
            self.assertEqual(status, error["code"])

    def test_behaviours(self) -> None:
        """Whatever it does, clients are told in their endpoint's words and in time, and nothing is left of that."""
        elsewhere = Neighbour(silent)
        self.addCleanup(elsewhere.close)
        neighbour = Neighbour(silent)
        self.addCleanup(neighbour.close)
        words = ("--tokenizer", "remote", "--render-url", f"http://127.0.0.1:{neighbour.port}")
        daemon = self.start("--model", "m", *words, "--render-timeout", f"{TIMEOUT}s")
        daemon.wait()
        before, slowest, asked = daemon.descriptors(), 0.0, 0
        resident = daemon.resident()
        behaviours = self.behaviours(elsewhere)
        with ThreadPoolExecutor(len(ASKED)) as threads:
            for name, behave in behaviours.items():
                neighbour.become(behave)
                begin = time.monotonic()
                answers = threads.map(lambda each: (each[0], *self.ask(daemon, each[0], **each[1])), ASKED.items())
                for path, status, answer in answers:
                    self.check(name, path, status, answer)
                    asked += 1
                slowest = max(slowest, time.monotonic() - begin)
                self.assertGreater(neighbour.met, 0)
        self.assertLess(slowest, TIMEOUT + SLACK)
        self.assertEqual(0, elsewhere.met)
        neighbour.close()
        status, answer = self.ask(daemon)
        self.assertEqual((503, "The render service cannot be reached."), (status, answer["error"]["message"]))
        self.rest(daemon)
        until(lambda: daemon.descriptors() <= before)
        growth = daemon.resident() - resident
        self.assertLess(growth, len(ASKED) * MOST_ANSWER)
        self.again(daemon, neighbour.port)
        output = self.ended(daemon)
        self.assertEqual(1, output.count("warn] The render service"), output)
        figure(
            f"render service with {len(behaviours)} faults: {asked} of {asked} requests told in their dialect,"
            f" the slowest {slowest:.1f} s after {TIMEOUT} s allowed, resident {growth:+} KiB, 1 line logged for all"
        )

    def again(self, daemon: Daemon, port: int) -> None:
        """Hold that the daemon serves when there is a service at the port."""
        service = self.start("--model", "m", "--tokenizer", "builtin", port=port)
        service.wait()
        self.served(daemon, 5)
        self.assertIn("The render service answers again.", daemon.output())
