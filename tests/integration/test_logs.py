"""The log of a busy daemon, read by a program."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.integration.daemon import PATIENCE, ROOT, DaemonsTestCase, free_port

HOSTILE = b'{"prompt": "a\\n\x1b[31m\xff\x00", \n"max_tokens": "\xe2\x80\xa8"}'


class LogTests(DaemonsTestCase):
    """Lines, one after the other."""

    def exchange(self, port: int, request: bytes) -> bytes:
        """Ask a server until it has answered."""
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            connection.sendall(request)
            answer = b""
            while piece := connection.recv(1 << 16):
                answer += piece
        return answer

    def test_json(self) -> None:
        """Every line of a rank in a process is an object, whatever clients send, and nothing is missing."""
        port = free_port(2)
        words = ("-dpm", "--data-parallel-supervisor-port", str(port + 1), "--log-format", "json", "--log-http")
        daemon = self.start(*words, "--api-key", "a-secret-key", port=port)
        daemon.wait()
        head = (
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer a-secret-key\r\n"
        )
        bodies = [b'{"prompt": "hello", "max_tokens": 5, "stream": true}', b'{"prompt": "a"}', HOSTILE] * 20
        bodies.append(b'{"prompt": "' + b"\xc3\xa4" * 300_000 + b'", "max_tokens": 1}')
        for number, body in enumerate(bodies):
            lines = b"X-Number: %d\r\nX-Odd: \xe9\t<0>{}\r\nContent-Type: application/json\r\n" % number
            self.exchange(port, head + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.assertEqual(0, daemon.stop())
        output = daemon.output()
        self.assertNotIn("a-secret-key", output)
        self.assertTrue(output.isascii() and output.endswith("\n"))
        records: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
        for record in records:
            self.assertLessEqual({"time", "level", "namespace", "message"}, record.keys())
        asked = [
            each for each in records if each["message"].startswith("HTTP request") and "x-number" in each["headers"]
        ]
        self.assertEqual(list(range(len(bodies))), [int(each["headers"]["x-number"]) for each in asked])
        self.assertEqual({0}, {each["rank"] for each in asked})
        answers = {each["exchange"]: each for each in records if each["message"].startswith("HTTP response")}
        self.assertEqual([200, 200, 400] * 20 + [200], [answers[each["exchange"]]["status"] for each in asked])
        streamed = answers[asked[0]["exchange"]]
        self.assertEqual("<streamed response body not logged>", streamed["body"])
        self.assertIn(
            "Received SIGTERM: finishing what runs. A second signal ends at once.", [r["message"] for r in records]
        )

    def test_background(self) -> None:
        """A daemon in the background logs to its file from its first event on, in the format that is asked for."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        log, pid = Path(folder.name, "log"), Path(folder.name, "pid")
        twistd = [str(Path(sys.executable).with_name("twistd")), f"--pidfile={pid}", f"--logfile={log}", "vllmsim"]
        words = ["--host", "127.0.0.1", "--port", str(free_port()), "--log-format", "json", "--lora-dtype", "auto"]
        subprocess.run([*twistd, *words, "--log-level", "info,twisted=error,log_legacy=error"], cwd=ROOT, check=True)
        process = int(pid.read_text("ascii"))
        begin = time.monotonic()
        while pid.exists() and time.monotonic() - begin < PATIENCE:
            if "Application startup complete." in log.read_text("ascii"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)
            time.sleep(0.05)
        messages = [json.loads(line)["message"] for line in log.read_text("ascii").splitlines()]
        self.assertRegex(messages[0], "^The seed is ")
        expected = ["lora-dtype (--lora-dtype) is accepted and has no effect.", "Application startup complete."]
        self.assertEqual(expected, [messages[1], messages[3]])
        self.assertEqual(5, len(set(messages)), messages)

    def test_wrong(self) -> None:
        """A level or a format that is none is one line on standard error, and status 1."""
        for words, line in (
            (["--log-level", "loud"], "'loud' is no level"),
            (["--log-format", "xml"], "it must be one of auto, text, journal, json"),
        ):
            daemon = self.start(*words)
            self.assertEqual(1, daemon.process.wait(PATIENCE))
            first, second = daemon.output().splitlines()
            self.assertEqual("vllmsim: 1 problem in the configuration:", first)
            self.assertTrue(second.endswith(line), second)
