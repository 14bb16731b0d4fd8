"""KV events of running daemons, taken by subscribers that know ZeroMQ and msgpack alone."""

import json
import os
import signal
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgpack
import zmq

from tests.integration.daemon import PATIENCE, Daemon, DaemonsTestCase, free_port

NEVER = ("--enable-kvcache", "--model", "m", "--event-flush-interval", "1h")
"""Batches that are not full leave at the end alone."""


class Collector:
    """Takes what is published at one endpoint."""

    def __init__(self, endpoint: str, *, binds: bool = False) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        (self._socket.bind if binds else self._socket.connect)(endpoint)

    def hears(self, seconds: float) -> bool:
        """Tell whether there is a message, now or soon. Only while it listens is it known to who connects to it."""
        return bool(self._socket.poll(int(seconds * 1000)))

    def take(self) -> tuple[bytes, int, Any]:
        """Wait for a message: its topic, its number and its batch."""
        if not self.hears(PATIENCE):
            raise AssertionError("nothing is published")
        topic, number, payload = self._socket.recv_multipart()
        return topic, int.from_bytes(number, "big"), msgpack.unpackb(payload)

    def close(self) -> None:
        """Go away."""
        self._context.destroy(0)


class EventTestCase(DaemonsTestCase):
    """Servers that publish events."""

    def collector(self, endpoint: str, **how: bool) -> Collector:
        """Begin to collect."""
        collector = Collector(endpoint, **how)
        self.addCleanup(collector.close)
        return collector

    def ask(self, daemon: Daemon, first: int, rank: int = 0) -> None:
        """Have a prompt of one block completed."""
        body = {"prompt": [*range(first, first + 20)], "max_tokens": 1}
        request = urllib.request.Request(
            f"http://127.0.0.1:{daemon.port + rank}/v1/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            self.assertEqual(200, answer.status)

    def ask_until_heard(self, daemon: Daemon, collector: Collector) -> int:
        """Have prompts completed until one is heard of; tell the number of the last message."""
        first = 1000
        while not collector.hears(0.05):
            first += 100
            self.ask(daemon, first)
        number = -1
        while collector.hears(0.2):
            number = collector.take()[1]
        return number


class ServerTests(EventTestCase):
    """One rank, or several in one process."""

    def test_end(self) -> None:
        """What is not published when the daemon is told to stop leaves before it does."""
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        collector = self.collector(endpoint, binds=True)
        daemon = self.start(*NEVER, "--zmq-endpoint", endpoint)
        daemon.wait()
        self.assertFalse(collector.hears(0.5))
        self.ask(daemon, 1)
        self.assertEqual(0, daemon.stop(), daemon.output())
        topic, number, (_, [event], rank) = collector.take()
        self.assertEqual((b"kv@localhost:%d@m" % daemon.port, 0, 0), (topic, number, rank))
        self.assertEqual(("BlockStored", [*range(1, 17)]), (event[0], event[3]))

    def test_taken(self) -> None:
        """An endpoint that somebody has ends the start with status 1 and one line that says so."""
        port = free_port()
        other = zmq.Context()
        self.addCleanup(other.destroy, 0)
        taken = other.socket(zmq.PUB)
        self.addCleanup(taken.close)
        taken.bind(f"tcp://*:{port}")
        daemon = self.start("--enable-kvcache", "--zmq-endpoint", f"tcp://*:{port}")
        self.assertEqual(1, daemon.process.wait(PATIENCE))
        self.assertIn(f"vllmsim: cannot listen on 'tcp://*:{port}': Address already in use\n", daemon.output())
        self.assertNotIn("Traceback", daemon.output())

    def test_background(self) -> None:
        """A daemon in the background publishes too."""
        with TemporaryDirectory() as folder:
            endpoint = f"ipc://{folder}/events"
            twistd = str(Path(sys.executable).with_name("twistd"))
            pidfile = Path(folder, "pid")
            program = [twistd, f"--pidfile={pidfile}", f"--logfile={folder}/log", "vllmsim"]
            daemon = self.start("--enable-kvcache", "--zmq-endpoint", endpoint, program=program)
            self.assertEqual(0, daemon.process.wait(PATIENCE))
            end = time.monotonic() + PATIENCE
            while not pidfile.exists():
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)
            pid = int(pidfile.read_text())
            self.addCleanup(os.kill, pid, signal.SIGKILL)
            while True:
                try:
                    daemon.get("/health")
                    break
                except OSError:
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.02)
            self.assertGreaterEqual(self.ask_until_heard(daemon, self.collector(endpoint)), 0)


class ProcessTests(EventTestCase):
    """Ranks in processes."""

    def test_ranks(self) -> None:
        """Each rank publishes at its own port, under its own topic, with its own number and numbers from 0 on."""
        port, events = free_port(3), free_port(2)
        collectors = [self.collector(f"tcp://127.0.0.1:{events + rank}", binds=True) for rank in range(2)]
        words = ("-dpm", "-dp", "2", "--data-parallel-supervisor-port", str(port + 2))
        daemon = self.start(*NEVER, *words, "--zmq-endpoint", f"tcp://127.0.0.1:{events}", port=port)
        end = time.monotonic() + PATIENCE
        for rank, collector in enumerate(collectors):
            while True:
                self.assertFalse(collector.hears(0.2))
                try:
                    self.ask(daemon, 1 + 100 * rank, rank)
                    break
                except OSError:
                    self.assertLess(time.monotonic(), end)
        self.assertEqual([False, False], [collector.hears(0.5) for collector in collectors])
        self.assertEqual(0, daemon.stop(), daemon.output())
        for rank, collector in enumerate(collectors):
            topic, number, (_, [event], told) = collector.take()
            self.assertEqual((b"kv@localhost:%d@m" % (port + rank), 0, rank), (topic, number, told))
            self.assertEqual(1 + 100 * rank, event[3][0])
