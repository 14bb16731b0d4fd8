"""The engine's trace of a server that is killed while it writes."""

import json
import signal
import threading
from pathlib import Path

from tests.faults.case import FaultTestCase, figure
from tests.folders import make_folder
from tests.integration.daemon import Daemon, until
from tests.traceevents import read

STEPS = ("--scheduling-model", "step", "--step-time-constant", "5ms")


class EngineTraceTests(FaultTestCase):
    """A trace in a folder."""

    def traced(self, path: Path) -> Daemon:
        """Start a daemon that writes one."""
        daemon = self.start("--engine-trace", str(path), *STEPS)
        daemon.wait()
        return daemon

    def test_killed(self) -> None:
        """What was written before is there and can be read; the next server sets it aside, and ends its own well."""
        path = make_folder(self) / "trace.json"
        daemon = self.traced(path)

        def ask() -> None:
            with self.assertRaises(OSError):
                self.ask(daemon, prompt="one two", max_tokens=1000, ignore_eos=True)

        client = threading.Thread(target=ask)
        client.start()
        self.addCleanup(client.join)
        until(lambda: path.exists() and "decode" in path.read_text("ascii"))
        daemon.stop(signal.SIGKILL)
        killed = read(path)
        [slices] = killed.sequences.values()
        self.assertEqual(["sequence", "queued", "prefill", "decode"], [each.name for each in slices])
        self.assertIsNone(slices[-1].end)
        steps = len(killed.steps[0])
        self.assertGreater(steps, 1)
        figure(f"engine trace of a server that was killed: {steps} steps can be read")
        daemon = self.traced(path)
        self.served(daemon)
        self.ended(daemon)
        self.assertEqual(steps, len(read(path.with_name("trace.json.1")).steps[0]))
        self.assertTrue(any(each["ph"] == "X" for each in json.loads(path.read_text("ascii"))))
        self.assertIsNotNone(next(iter(read(path).sequences.values()))[0].end)
