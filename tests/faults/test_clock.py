"""The wall clock is set back and forth by hours while a daemon works: nothing moves but what tells the time of day."""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final
from unittest import skipUnless
from unittest.mock import patch

from tests.faults.case import FaultTestCase, figure
from tests.faults.clients import FULL, Client, request
from tests.folders import make_folder
from tests.integration.calling import ENGINE, Wire, prompt
from tests.integration.daemon import PATIENCE, Daemon, until
from vllmsim.api.frames import frame

_SHIM: Final = Path(__file__).with_name("clock.c")
_HOUR: Final = 3600
_GAP: Final = 0.01
_TOKENS: Final = 6000 if FULL else 300


@skipUnless(shutil.which("cc") and sys.platform == "linux", "needs Linux and a compiler")
class WallClockTests(FaultTestCase):
    """Daemons whose wall clock is the test's."""

    def setUp(self) -> None:
        """Make the clock."""
        self.folder = make_folder(self)
        library = self.folder / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, _SHIM], check=True, capture_output=True)
        self.shift = self.folder / "shift"
        self.set(0)
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(self.shift)}
        self.jumps = 0

    def set(self, seconds: int) -> None:
        """Set the clock, by so much from the real one."""
        with self.shift.open("r+b" if self.shift.exists() else "wb", 0) as file:
            file.write(struct.pack("q", seconds))

    def begin(self, *words: str) -> Daemon:
        """Start a daemon."""
        with patch.dict(os.environ, self.environment):
            daemon = self.start(*words)
        daemon.wait()
        return daemon

    def restless(self) -> None:
        """Have the clock jump all the time, until the test ends."""
        over = threading.Event()

        def jump() -> None:
            while not over.wait(0.03):
                self.jumps += 1
                self.set((-7, 5, 0, 26, -1)[self.jumps % 5] * _HOUR)

        thread = threading.Thread(target=jump)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(over.set)

    def client(self, daemon: Daemon) -> Client:
        """Connect to one."""
        client = Client(daemon.port)
        self.addCleanup(client.connection.close)
        return client

    def test_told(self) -> None:
        """Fields that tell the time of day follow the wall clock, also back."""
        daemon = self.begin()
        for hours in (0, 5, -7):
            self.set(hours * _HOUR)
            _, answer = self.ask(daemon)
            self.assertLess(abs(answer["created"] - time.time() - hours * _HOUR), PATIENCE)
        listed = json.loads(daemon.get("/admin/requests"))["requests"]
        self.assertEqual(3, len(listed))
        self.ended(daemon)

    def test_pace(self) -> None:
        """A stream keeps its pace, idle connections stay as long as they may, and the log tells of nothing."""
        daemon = self.begin(
            "--inter-token-latency", f"{_GAP * 1000:g}ms", "--timeout-keep-alive", "10s", "--max-model-len", "8k"
        )
        body = {"prompt": "a", "max_tokens": _TOKENS, "ignore_eos": True, "stream": True}
        idle = self.client(daemon).send(request("/ping"))
        idle.read_some()
        self.restless()
        stream = self.client(daemon).send(request("/v1/completions", body, close=True))
        begun, last, longest, pieces = time.monotonic(), None, 0.0, 0
        stream.connection.settimeout(PATIENCE)
        while stream.read_some():
            now = time.monotonic()
            longest, last, pieces = max(longest, now - (last or now)), now, pieces + 1
        took = time.monotonic() - begun
        self.assertIn(b"[DONE]", stream.received)
        # It cannot be too early at all, and a busy machine makes it somewhat late.
        self.assertGreater(took, _GAP * (_TOKENS - 1))
        self.assertLess(took, _GAP * _TOKENS + PATIENCE)
        self.assertLess(longest, PATIENCE / 4)
        if took < 8:
            self.assertIn(b"200 OK", idle.send(request("/ping")).read_some())
        output = self.ended(daemon)
        self.assertIsNone(re.search(r"#(warn|error|critical)\]", output), output)
        figure(
            f"clock: {self.jumps} jumps by hours: {_TOKENS} tokens due in {_GAP * _TOKENS:.1f} s took {took:.1f} s,"
            f" longest gap {longest * 1000:.0f} ms"
        )

    def test_limits(self) -> None:
        """Deadlines, rate limits, waits and watches neither come sooner nor later."""
        config = self.folder / "sim.yaml"
        config.write_text("time-to-first-token: 1ms\n")
        daemon = self.begin("--config", str(config), "--config-watch", "100ms")
        self.assertEqual(200, self.configure(daemon, {"rate-limit": {"requests-per-minute": 3}}))
        self.restless()
        self.assertEqual([200, 200, 200, 429, 429], [self.ask(daemon)[0] for _ in range(5)])
        self.assertEqual(200, self.configure(daemon, {"rate-limit": {}}))
        begun = time.monotonic()
        daemon.get("/admin/requests?wait_for=1000&timeout=1.5")
        self.assertTrue(1.5 <= time.monotonic() - begun < PATIENCE)
        config.write_text("time-to-first-token: 3s\n")
        until(lambda: b"3s" in daemon.get("/admin/config"))
        wire = Wire(socket.create_connection(("127.0.0.1", daemon.port), PATIENCE))
        self.addCleanup(wire.socket.close)
        begun = time.monotonic()
        call = wire.call(f"{ENGINE}Generate", self.generate(), grpc_timeout="1S")
        self.assertEqual((4, "Deadline Exceeded"), wire.status(call))
        self.assertTrue(1 <= time.monotonic() - begun < PATIENCE)
        self.assertGreater(self.jumps, 10)

    def generate(self) -> bytes:
        """Make the message of a call."""
        return frame(prompt([1, 2]).SerializeToString())

    def configure(self, daemon: Daemon, options: dict[str, Any]) -> int:
        """Change options."""
        return self.ask(daemon, "/admin/config", **options)[0]
