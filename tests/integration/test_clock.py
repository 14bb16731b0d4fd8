"""``vllmsim bench clock`` with a real daemon."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import ROOT
from vllmsim.scripts.clock import client
from vllmsim.scripts.clock.client import Client, Stream
from vllmsim.scripts.clock.command import run
from vllmsim.scripts.clock.daemon import Daemon, NotStarted, free_port

SMALL = ("--streams", "5", "--tokens", "10", "--time-to-first-token", "50ms", "--inter-token-latency", "5ms")
PROGRAM = [sys.executable, "-m", "vllmsim", "bench", "clock"]


def children(pid: int) -> list[int]:
    """List a process's children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def alive(pid: int) -> bool:
    """Tell whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Terminal(io.StringIO):
    """A file that somebody watches."""

    def isatty(self) -> bool:
        """Somebody does."""
        return True


class ClockTests(SynchronousTestCase):
    """The command from its words to its end."""

    def run_clock(self, *words: str) -> tuple[int, str, str]:
        """Run it here.

        :return: its status, and what it has written and complained.
        """
        written, complained = io.StringIO(), Terminal()
        self.patch(sys, "stdout", written)
        self.patch(sys, "stderr", complained)
        return run(words), written.getvalue(), complained.getvalue()

    def test_json(self) -> None:
        """Every token comes, none before its time, and the numbers fit together."""
        before = signal.getsignal(signal.SIGTERM)
        status, written, _ = self.run_clock(*SMALL, "--json")
        value: Any = json.loads(written)
        delivered = value["delivered"]
        self.assertEqual((0, 50, 0), (status, delivered["tokens"], delivered["tokens_lost"]))
        self.assertEqual([], value["faults"])
        self.assertGreaterEqual(delivered["time_to_first_token_ms"]["p50"], 50)
        self.assertLess(delivered["time_to_first_token_ms"]["p50"], 1000)
        self.assertGreater(delivered["inter_token_latency_ms"]["mean"], 4)
        self.assertTrue(value["client"]["kernel_time_stamps"])
        self.assertIn("at 5 streams", value["verdict"])
        self.assertIs(before, signal.getsignal(signal.SIGTERM))

    def test_table(self) -> None:
        """It prints a table, and where somebody watches a line that says how far it is."""
        self.patch(client, "_STAMPS", 9999)
        status, written, complained = self.run_clock(*SMALL, "--tokens", "80")
        self.assertEqual(0, status)
        self.assertIn("400 delivered, 0 lost", written)
        self.assertIn("Times are the client's own", written)
        self.assertIn("of 400 tokens", complained)
        self.assertTrue(complained.endswith("\x1b[K"))

    def test_lost(self) -> None:
        """A server that refuses has lost everything: the status is 1, and its words are told."""
        status, written, _ = self.run_clock(*SMALL, "--max-num-queued-reqs", "1")
        self.assertEqual(1, status)
        self.assertIn("streams were lost: ", written)
        self.assertIn("This machine lost ", written)

    def test_refused(self) -> None:
        """Bad words and bad configurations are refused before anything is started."""
        for words, expected, words_of_it in (
            (("--streams", "0"), 2, "--streams must be from 1 to 20000, not 0"),
            (("--inter-token-latency", "soon"), 1, "'soon' will not do"),
        ):
            status, written, complained = self.run_clock(*words)
            self.assertEqual((expected, ""), (status, written))
            self.assertIn("vllmsim bench clock: ", complained)
            self.assertIn(words_of_it, complained)

    def test_interrupted(self) -> None:
        """Ctrl-C, or SIGTERM, ends it and the daemon."""
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen(
                [*PROGRAM, "--tokens", "1000"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            self.addCleanup(process.kill)
            until = time.monotonic() + 20
            while not (found := children(process.pid)) and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(0.3)
            process.send_signal(number)
            output, _ = process.communicate(timeout=20)
            self.assertEqual((128 + number, b""), (process.returncode, output))
            self.assertEqual([False], [alive(pid) for pid in found])


class DaemonTests(SynchronousTestCase):
    """The child process."""

    def test_not_started(self) -> None:
        """A daemon that does not start says why."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            with self.assertRaises(NotStarted) as raised, Daemon(["--host", "127.0.0.1", "--port", str(port)], port):
                self.fail("it started")
        self.assertIn("Address already in use", str(raised.exception))


class ClientTests(SynchronousTestCase):
    """The client beside servers that do not behave."""

    def serve(self, *answers: bytes) -> int:
        """Answer the first connections with some bytes, and hold them open.

        :return: the port.
        """
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        kept: list[socket.socket] = []

        def run_server() -> None:
            for answer in (*answers, b"HTTP/1.1 200 OK\r\n\r\n"):
                connection, _ = listener.accept()
                kept.append(connection)
                if answer == b"close":
                    connection.close()
                else:
                    connection.sendall(answer)

        server = threading.Thread(target=run_server)
        server.start()
        self.addCleanup(server.join, 10)
        self.addCleanup(lambda: list(map(socket.socket.close, kept)))
        return int(listener.getsockname()[1])

    def test_silence(self) -> None:
        """Streams from which nothing comes any more are given up, and so are those that are closed."""
        port = self.serve(b'HTTP/1.1 200 OK\r\n\r\ndata: {"text":"a"}\n\n', b"", b"close")
        streams = [Stream(2) for _ in range(3)]
        Client(port, b"GET / HTTP/1.1\r\n\r\n", 0.3).run(streams, [0.0, 0.0, 0.01])
        silent = "nothing came for 0.3 s"
        self.assertEqual([silent, silent], [stream.fault for stream in streams[:2]])
        self.assertIn(streams[2].fault, {"the connection was closed", "[Errno 104] Connection reset by peer"})
        self.assertEqual([1, 0, 0], [len(stream.arrivals) for stream in streams])

    def test_nobody(self) -> None:
        """Where nobody listens there is an error."""
        self.assertRaises(OSError, Client(free_port(), b"", 1.0).run, [Stream(2)], [0.0])
