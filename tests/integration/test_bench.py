"""The benchmark's own programs: the client tells whole streams from others, and every measurement runs."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar
from unittest import skipUnless

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from bench import (
    closed,
    dataset,
    grpc,
    kvevents,
    memory,
    paced,
    prefix,
    ranks,
    request_cost,
    requests,
    soak,
    stalled,
    stalls,
    startup,
)
from bench.load import LoadError, Method, run_closed, run_paced, run_pings
from bench.machine import Cores
from bench.plan import Plan
from bench.recording import Recording
from bench.servers import Script, bare_twisted, floor, vllmsim

_NOWHERE = Cores(None, None, None)
_EVENT = b'data: {"a":"b"}\n\n'
_CHUNK = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


def assert_punctual(case: SynchronousTestCase, stamps: Sequence[int]) -> None:
    """Find 20 tokens of each of some streams that start 1 ms apart, in order and no earlier than each 5 ms."""
    for stream, first in enumerate(range(0, len(stamps), 20)):
        arrivals = list(stamps[first : first + 20])
        case.assertEqual(sorted(arrivals), arrivals)
        early = [token for token, at in enumerate(arrivals) if at < (stream + 5 * token) * 1e6]
        case.assertEqual([], early)


@skipUnless(shutil.which("cc") and sys.platform == "linux", "the benchmark needs Linux and a compiler")
class ClientTests(SynchronousTestCase):
    """The client in C, against the controls."""

    def script(self, itl_ms: float, end: bytes = _END, tokens: int = 5) -> Script:
        """Write what the controls say."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        stream, whole = Path(folder.name, "stream"), Path(folder.name, "whole")
        Recording([_HEAD + _CHUNK, *[_CHUNK] * (tokens - 1), _CHUNK + end]).write(stream)
        whole.write_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        return Script(stream, whole, itl_ms)

    def test_paced(self) -> None:
        """Every token of every stream is stamped, in order and no earlier than it is due."""
        request = requests.chat(stream=True, max_tokens=20)
        for start in (floor, bare_twisted):
            with start(None, self.script(5)) as server:
                window, stamps = run_paced(
                    server.ports, server.pid, request, streams=7, tokens=20, spacing=0.001, window=(0.01, 0.09)
                )
            self.assertEqual(7 * 20, len(stamps))
            self.assertTrue(window.tokens > 0)
            self.assertTrue(window.server_nanoseconds > 0)
            assert_punctual(self, stamps)

    def test_closed(self) -> None:
        """Streams and whole answers are counted; a ping is timed."""
        with floor(None, self.script(0)) as server:
            stream = requests.chat(stream=True, max_tokens=5)
            window = run_closed(server.ports, server.pid, stream, connections=3, seconds=0.1, tokens=5)
            self.assertTrue(window.tokens >= 5)
            whole = requests.chat(stream=False, max_tokens=5)
            self.assertTrue(run_closed(server.ports, server.pid, whole, connections=3, seconds=0.1).answers > 0)
            when, took = run_pings(server.port, requests.get("/health"), seconds=0.05, spacing=0.01)
            self.assertTrue(0 < len(when) <= 6)
            self.assertTrue(all(duration > 0 for duration in took))

    def test_short_stream(self) -> None:
        """A stream that has too few tokens, or too many, is an error."""
        with floor(None, self.script(0)) as server:
            for tokens, sentence in ((6, "a stream had 5 of 6 tokens"), (4, "a stream had 5 of 4 tokens")):
                error = self.assertRaises(LoadError, self.ask, server.ports, server.pid, tokens)
                self.assertEqual(sentence, str(error))

    def test_no_end(self) -> None:
        """A stream that ends without [DONE] is an error."""
        other = b"e\r\ndata: [SOON]\n\n\r\n0\r\n\r\n"
        with floor(None, self.script(0, other)) as server:
            error = self.assertRaises(LoadError, self.ask, server.ports, server.pid, 5)
        self.assertEqual("a stream ended without [DONE]", str(error))

    def ask(self, ports: Sequence[int], pid: int, tokens: int) -> None:
        """Ask for streams."""
        request = requests.chat(stream=True, max_tokens=5)
        run_closed(ports, pid, request, connections=1, seconds=0.1, tokens=tokens)


@skipUnless(shutil.which("cc") and sys.platform == "linux", "the benchmark needs Linux and a compiler")
class CallsTests(SynchronousTestCase):
    """The client that makes calls of gRPC, against vllmsim."""

    def test_calls(self) -> None:
        """Every token is stamped, and whole answers are counted; what is not as it was to be is an error."""
        stream = requests.generate(stream=True, max_tokens=20)
        with vllmsim(None, 5) as server:

            def ask(tokens: int, request: bytes, path: str) -> int:
                window = run_closed(
                    *(server.ports, server.pid, request),
                    connections=2,
                    seconds=0.3,
                    tokens=tokens,
                    method=Method(path),
                )
                return window.answers

            # The first connection waits until the server has learned to speak so.
            ask(0, requests.NOTHING, grpc.HEALTH)
            self.assertTrue(ask(0, requests.NOTHING, grpc.HEALTH) > 0)
            self.assertTrue(ask(0, requests.generate(stream=False, max_tokens=1), grpc.GENERATE) > 0)
            for connections in (1, 3):
                window, stamps = run_paced(
                    *(server.ports, server.pid, stream),
                    streams=7,
                    tokens=20,
                    spacing=0.001,
                    window=(0.01, 0.09),
                    method=Method(grpc.GENERATE, connections),
                )
                self.assertTrue(window.tokens > 0)
                assert_punctual(self, stamps)
            for tokens, request, path, sentence in (
                (21, stream, grpc.GENERATE, "a stream had 20 of 21 tokens"),
                (19, stream, grpc.GENERATE, "a stream had 20 of 19 tokens"),
                (0, stream, "/vllm.grpc.engine.VllmEngine/Degenerate", "a call was refused"),
            ):
                self.assertEqual(sentence, str(self.assertRaises(LoadError, ask, tokens, request, path)))


@skipUnless(shutil.which("cc") and sys.platform == "linux", "the benchmark needs Linux and a compiler")
class MeasurementTests(SynchronousTestCase):
    """Every measurement, in its smallest form."""

    plan: ClassVar[Plan] = Plan(_NOWHERE, lambda _: None, streams=[8], tokens=40, rounds=1, seconds=0.1)

    def test_run(self) -> None:
        """Each runs to its end and has a row for vllmsim; nothing is said about how fast anything is."""
        alone = evolve(self.plan, controls=False)
        for measure, plan in (
            (paced.measure, self.plan),
            (closed.measure_bursts, self.plan),
            (closed.measure_whole, alone),
            (memory.measure, alone),
            (startup.measure, alone),
        ):
            result = measure(plan)
            self.assertTrue(any("vllmsim" in row for row in result.rows), result.title)

    def test_figures(self) -> None:
        """So do those that compare vllmsim with itself, or with nothing."""
        self.assertEqual(3, len(request_cost.measure_all(self.plan).rows))
        self.assertIn("metrics", stalls.measure_metrics(self.plan).figures)
        self.assertIn("ranks", ranks.measure(self.plan).figures)
        self.assertIn("prompt", stalls.measure_prompt(self.plan).figures)
        self.assertEqual({"events-rate", "events-lateness"}, set(kvevents.measure(self.plan).figures))
        self.assertEqual(2, len(prefix.measure(self.plan).rows))
        self.assertEqual(3, len(grpc.measure_paced(evolve(self.plan, tokens=26)).rows))
        self.assertEqual(2, len(grpc.measure_bursts(self.plan).rows))
        self.assertEqual(4, len(grpc.measure_calls(self.plan).rows))

    def test_long(self) -> None:
        """So do those that take long unless they are told otherwise."""
        self.assertEqual(3, len(soak.measure(self.plan).rows))
        self.assertEqual(3, len(stalled.measure(self.plan).rows))
        few = evolve(self.plan, tokens=100, streams=(4,))
        self.assertEqual({"dataset-build", "dataset-start", "dataset-rate", "dataset-p99", "dataset-stall"},
                         set(dataset.measure(few).figures))  # fmt: skip
