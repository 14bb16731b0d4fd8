"""Traces at a real collector."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest import skipUnless
from unittest.mock import patch

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.integration.collector import Collector, GrpcCollector, HangingCollector, await_
from tests.integration.daemon import ROOT, Daemon, DaemonTestCase, free_port

SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
TRACED = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
QUICK = 10.0
"""Seconds in which a daemon stops whose collector does not answer, on a busy machine. It waits for two."""


def complete(port: int, headers: Mapping[str, str] | None = None) -> Any:
    """Make a completion."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions",
        json.dumps({"prompt": "a b", "max_tokens": 3, "ignore_eos": True}).encode(),
        {"Content-Type": "application/json", **(headers or {})},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


class TracingTests(DaemonTestCase):
    """Daemons of their own."""

    @classmethod
    def setUpClass(cls) -> None:
        """Start nothing."""

    def setUp(self) -> None:
        """Have spans sent soon, and not as the environment of who runs this has it."""
        others = {name: "" for name in os.environ if name.startswith("OTEL_")}
        self.enterContext(patch.dict(os.environ, {**others, **SOON}))

    def collect(self, **more: Any) -> Collector:
        """Start a collector."""
        collector = Collector(**more)
        self.addCleanup(collector.close)
        return collector

    def trace(self, endpoint: str, *words: str, **more: Any) -> Daemon:
        """Start a daemon that sends its spans somewhere."""
        daemon = self.start("--otlp-traces-endpoint", endpoint, *words, **more)
        daemon.wait()
        return daemon

    def test_joined(self) -> None:
        """A client's span and the one that it caused here are at the collector, one below the other."""
        collector = self.collect()
        url = f"http://127.0.0.1:{collector.port}/v1/traces"
        self.enterContext(patch.dict(os.environ, {"OTEL_SERVICE_NAME": "vllm", "POD_NAME": "pod-0"}))
        daemon = self.trace(url)
        provider = TracerProvider(resource=Resource.create({"service.name": "client"}), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(url)))
        self.addCleanup(provider.shutdown)
        with provider.get_tracer("tests").start_as_current_span("question"):
            headers: dict[str, str] = {}
            inject(headers)
            answer = complete(daemon.port, headers)
        await_(lambda: len(collector.spans) > 1)
        spans = {span.resource["service.name"]: span for span in collector.spans}
        client, server = spans["client"], spans["vllm"]
        self.assertEqual(("question", "llm_request"), (client.name, server.name))
        self.assertEqual((client.trace_id, client.span_id, ""), (server.trace_id, server.parent_id, client.parent_id))
        self.assertEqual(f"{answer['id']}-0", server.attributes["gen_ai.request.id"])
        self.assertEqual((2, 3), tuple(server.attributes[f"gen_ai.usage.{n}_tokens"] for n in ("prompt", "completion")))
        self.assertEqual(["queued", "prefill", "first_token", "finished"], server.events)
        self.assertEqual("0", server.resource["vllmsim.rank"])
        self.assertEqual(0, daemon.stop())

    def test_example(self) -> None:
        """The example of a client shows the trace that its span and the server's are in."""
        collector = self.collect()
        url = f"http://127.0.0.1:{collector.port}/v1/traces"
        daemon = self.trace(url)
        command = [sys.executable, str(ROOT / "examples" / "traced_client.py"), daemon.url(), url]
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
        await_(lambda: len(collector.spans) > 1)
        self.assertEqual([f"trace {span.trace_id}" for span in collector.spans], [said[0]] * 2)
        self.assertEqual({"question", "llm_request"}, {span.name for span in collector.spans})

    def test_grpc(self) -> None:
        """A command line of vLLM's, with a collector that speaks gRPC, works as it is."""
        collector = GrpcCollector()
        self.addCleanup(collector.close)
        daemon = self.trace(f"grpc://127.0.0.1:{collector.port}", "--collect-detailed-traces", "all")
        complete(daemon.port, TRACED)
        await_(lambda: collector.spans)
        self.assertEqual("00f067aa0ba902b7", collector.spans[0].parent_id)
        self.assertIn(
            "collect-detailed-traces (--collect-detailed-traces) is accepted and has no effect", daemon.output()
        )
        self.assertEqual(0, daemon.stop())

    @skipUnless(find_spec("rotel"), "needs the package rotel, an agent in Rust")
    def test_agent(self) -> None:
        """An agent that is not ours understands what is sent."""
        port, grpc_port = free_port(), free_port()
        folder = Path(mkdtemp())
        agent = Path(str(find_spec("rotel").origin)).with_name("rotel-agent")  # type: ignore[union-attr]
        ports = ["--otlp-http-endpoint", f"127.0.0.1:{port}", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}"]
        shown = ["--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"]
        with (folder / "out").open("wb") as out:
            running = subprocess.Popen(
                [agent, "start", *ports, *shown, "--pid-file", folder / "pid"], stdout=out, stderr=subprocess.STDOUT
            )
        self.addCleanup(running.wait)
        self.addCleanup(running.terminate)
        for endpoint in (f"http://127.0.0.1:{port}/v1/traces", f"grpc://127.0.0.1:{grpc_port}"):
            daemon = self.trace(endpoint)
            complete(daemon.port, TRACED)
            self.assertEqual(0, daemon.stop())
        await_(lambda: (folder / "out").read_text().count("llm_request") > 1)
        self.assertIn("4bf92f3577b34da6a3ce929d0e0e4736", (folder / "out").read_text())

    def test_no_collector(self) -> None:
        """Where the collector is gone, hangs or fails, requests are answered, the log says it, and the end is quick."""
        hanging, failing = HangingCollector(), self.collect(status=500)
        self.addCleanup(hanging.close)
        ports = (free_port(), hanging.port, failing.port)
        daemons = [self.start("--otlp-traces-endpoint", f"http://127.0.0.1:{port}/v1/traces") for port in ports]
        for daemon in daemons:
            daemon.wait()
            for _ in range(5):
                complete(daemon.port)
        gone, hung, failed = daemons
        for daemon, reason in ((gone, "refused"), (failed, "500|Internal Server Error")):
            await_(lambda daemon=daemon: ".Trouble#warn]" in daemon.output())  # type: ignore[misc]
            self.assertRegex(daemon.output(), reason)
        for daemon in daemons:
            complete(daemon.port)
        begin = time.monotonic()
        for daemon in daemons:
            daemon.process.terminate()
        for daemon in daemons:
            self.assertEqual(0, daemon.process.wait(20))
            self.assertLess(time.monotonic() - begin, QUICK)
            self.assertNotIn("Traceback", daemon.output())
            self.assertLess(daemon.output().count(".Trouble#warn]"), 3)
        self.assertRegex(hung.output(), "and 6 spans are lost so far")
        self.assertRegex(gone.output(), "and [1-6] spans are lost so far: .*refused")

    def test_daemonized(self) -> None:
        """A daemon that has left its terminal sends its spans, the last of them when it stops."""
        collector, port, folder = self.collect(), free_port(), Path(mkdtemp())
        twistd = [str(Path(sys.executable).with_name("twistd")), "--pidfile", str(folder / "pid")]
        url = f"http://127.0.0.1:{collector.port}/v1/traces"
        words = ["--host", "127.0.0.1", "--port", str(port), "--otlp-traces-endpoint", url]
        environ = {**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        subprocess.run(
            [*twistd, "--logfile", str(folder / "log"), "vllmsim", *words],
            cwd=ROOT,
            env=environ,
            check=True,
            timeout=20,
        )
        await_(lambda: answers(port))
        complete(port, TRACED)
        self.assertEqual([], collector.spans)
        os.kill(int((folder / "pid").read_text()), 15)
        await_(lambda: collector.spans)
        self.assertEqual(["00f067aa0ba902b7"], [span.parent_id for span in collector.spans])
        await_(lambda: "Server Shut Down" in (folder / "log").read_text())
        self.assertNotIn("Traceback", (folder / "log").read_text())

    def test_processes(self) -> None:
        """Ranks with processes of their own say who they are, each for itself."""
        collector, port = self.collect(), free_port(2)
        words = ("--data-parallel-size", "2", "--data-parallel-processes", "--data-parallel-supervisor-port")
        daemon = self.trace(f"http://127.0.0.1:{collector.port}/v1/traces", *words, str(free_port()), port=port)
        await_(lambda: answers(port + 1))
        for rank in range(2):
            complete(port + rank)
        await_(lambda: len(collector.spans) > 1)
        whose = {span.resource["service.instance.id"]: span.resource["vllmsim.rank"] for span in collector.spans}
        self.assertEqual(["0", "1"], sorted(whose.values()))
        self.assertEqual(["0", "1"], sorted(str(span.attributes["vllmsim.rank"]) for span in collector.spans))
        self.assertEqual(0, daemon.stop())

    def test_off(self) -> None:
        """A daemon that is not asked to trace imports nothing for it, and says once that it does not."""
        daemon = self.start(program=[sys.executable, "-X", "importtime", "-m", "vllmsim"])
        daemon.wait()
        complete(daemon.port, TRACED)
        complete(daemon.port, TRACED)
        self.assertEqual(0, daemon.stop())
        output = daemon.output()
        self.assertIn("| vllmsim.rank", re.sub(r"\| +", "| ", output))
        self.assertNotIn("opentelemetry", output)
        self.assertNotIn("vllmsim.tracing", output)
        self.assertEqual(1, output.count("Received a request with trace context but tracing is disabled"))

    def test_not_installed(self) -> None:
        """Without the packages there is one line that says how to install them, and nothing is started."""
        program = "import sys; sys.modules['opentelemetry'] = None; from vllmsim.scripts.vllmsim import main; main()"
        for endpoint, extra in (("http://c:4318", "vllmsim[otel]"), ("http://c:4317", "vllmsim[otel-grpc]")):
            words = ["--port", str(free_port()), "--otlp-traces-endpoint", endpoint]
            ran = subprocess.run(
                [sys.executable, "-c", program, *words],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
            line = ran.stderr.splitlines()[-1]
            self.assertEqual(1, ran.returncode)
            self.assertTrue(line.startswith("vllmsim: cannot send traces: "), ran.stderr)
            self.assertIn(extra, line)
            self.assertNotIn("Traceback", ran.stderr + ran.stdout)

    def test_wrong_environment(self) -> None:
        """What the environment says wrong ends the start with one line."""
        for name, value, text in (
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "is 'http/json'"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "is 'many'"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "x", "must be a non-negative integer"),
        ):
            with patch.dict(os.environ, {name: value}):
                daemon = self.start("--otlp-traces-endpoint", "http://127.0.0.1:4318/v1/traces")
                self.assertEqual(1, daemon.process.wait(20))
            self.assertRegex(daemon.output(), f"vllmsim: cannot send traces: {name} {text}")
            self.assertNotIn("Traceback", daemon.output())


def answers(port: int) -> bool:
    """Tell whether a server is healthy."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return bool(response.status)
    except OSError:
        return False
