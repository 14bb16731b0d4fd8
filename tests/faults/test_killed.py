"""Ranks in processes that are killed, hang or cannot start: clients know at once, and other ranks lose nothing."""

import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field

from tests.faults.case import figure
from tests.faults.clients import FULL, Client, request, tally
from tests.integration.daemon import PATIENCE, Daemon, free_port, until
from tests.integration.test_processes import ProcessesTestCase, alive, fetch

_KILLS: Final = 60 if FULL else 1
_LIFE: Final = 5.5 if FULL else 0.3
"""Seconds between two kills. A rank that has lived for less than 5 has to wait before it is started again."""
_CLIENTS: Final = 20


def completion(*, stream: bool = False, tokens: int = 20) -> bytes:
    """Make the bytes of a request."""
    return request("/v1/completions", {"prompt": "a", "ignore_eos": True, "max_tokens": tokens, "stream": stream})


@define(eq=False)
class Load:
    """Clients of one rank, who ask again and again, and who know how each request ended.

    :param port: where the rank listens.
    """

    port: int
    counted: Counter[str] = field(factory=Counter)
    slowest: float = 0.0
    """Seconds from a kill to the end of the last request that it broke."""
    killed: float = 0.0
    _over: threading.Event = field(factory=threading.Event)
    _threads: list[threading.Thread] = field(factory=list)
    _lock: threading.Lock = field(factory=threading.Lock)

    def start(self) -> None:
        """Begin to ask."""
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more, and wait until all that was asked has ended."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        while not self._over.is_set():
            try:
                client = Client(self.port)
            except ConnectionError:
                self._over.wait(0.02)
                continue
            try:
                client.send(completion(stream=number % 2 == 0), request("/ping", close=True))
            except ConnectionError:
                # The rank is killed in between.
                self._over.wait(0.02)
                client.connection.close()
                continue
            client.sent = 1
            client.read_to_end()
            [how] = tally([client])
            with self._lock:
                if how != "whole":
                    self.slowest = max(self.slowest, time.monotonic() - self.killed)
                self.counted[how] += 1


class KilledTests(ProcessesTestCase):
    """SIGKILL, as the kernel sends it when memory is short."""

    def client(self, port: int) -> Client:
        """Connect to a rank."""
        client = Client(port)
        self.addCleanup(client.connection.close)
        return client

    def loads(self, daemon: Daemon, count: int = 2) -> Sequence[Load]:
        """Put a load on each rank."""
        loads = [Load(daemon.port + rank) for rank in range(count)]
        for load in loads:
            load.start()
            self.addCleanup(load.stop)
        return loads

    def test_again_and_again(self) -> None:
        """A rank is killed under load again and again: no client hangs, the other rank loses nothing, it comes back."""
        daemon = self.start_two("--inter-token-latency", "5ms", "--max-num-seqs", "100")
        broken, other = self.loads(daemon)
        times = []
        for _ in range(_KILLS):
            pid = self.pids(daemon)[0]
            time.sleep(_LIFE)
            broken.killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            self.soon(lambda pid=pid: self.pids(daemon)[0] != pid)  # type: ignore[misc]
            self.soon(lambda: self.well(daemon.port))
            times.append(time.monotonic() - broken.killed)
            before = broken.counted["whole"]
            self.soon(lambda before=before: broken.counted["whole"] > before)  # type: ignore[misc]
        broken.stop()
        other.stop()
        self.assertEqual({"whole"}, set(other.counted))
        self.assertLessEqual(set(broken.counted), {"whole", "no answer, reset", "no answer, end", "truncated"})
        self.assertGreaterEqual(sum(n for how, n in broken.counted.items() if how != "whole"), _KILLS)
        self.assertLess(broken.slowest, PATIENCE)
        self.assertEqual(_KILLS, daemon.output().count("Rank 0 ended by SIGKILL, and is started again."))
        until(lambda: self.status(daemon) == 200, "well again")
        self.assertEqual(0, daemon.stop())
        figure(
            f"killed: {_KILLS} times: {dict(broken.counted)}, 0 hung, the last broken after"
            f" {broken.slowest * 1000:.0f} ms; other rank {dict(other.counted)}; back after {max(times):.1f} s at most"
        )

    def well(self, port: int) -> bool:
        """Ask a rank how it is."""
        try:
            return fetch(f"http://127.0.0.1:{port}/health")[0] == 200
        except OSError:
            return False

    def soon(self, is_so: Callable[[], object]) -> None:
        """Wait until something is so; a rank may wait for a while before it is started again."""
        end = time.monotonic() + 3 * PATIENCE
        while not is_so():
            if time.monotonic() > end:
                raise AssertionError("never so")
            time.sleep(0.02)

    def test_supervisor(self) -> None:
        """When the supervisor is killed all ranks end at once, their clients know it, and their ports are free."""
        port = free_port(3)
        for _ in range(10 if FULL else 1):
            daemon = self.start_two("--inter-token-latency", "50ms", "--max-num-seqs", "100", port=port)
            pids = self.pids(daemon).values()
            clients = [self.client(port + n % 2).send(completion(stream=n % 4 > 1, tokens=1000)) for n in range(40)]
            until(lambda: self.running(port) == self.running(port + 1) == 20, "running")
            begin = time.monotonic()
            daemon.process.kill()
            ended = tally(client.read_to_end() for client in clients)
            took = time.monotonic() - begin
            self.assertEqual(40, sum(ended[how] for how in ("no answer, reset", "no answer, end", "truncated")), ended)
            until(lambda pids=pids: not any(map(alive, pids)), "without processes")  # type: ignore[misc]
            figure(f"killed: the supervisor: {dict(ended)}, 0 hung, the last after {took * 1000:.0f} ms")
        # The next server has the same ports.
        self.assertEqual(0, self.start_two(port=port).stop())

    def running(self, port: int) -> int:
        """Tell how many sequences run on a rank."""
        page = fetch(f"http://127.0.0.1:{port}/metrics")[2].decode()
        return sum(int(float(n)) for n in re.findall(r"^vllm:num_requests_running\{.*\} (\S+)$", page, re.MULTILINE))

    def test_stopped(self) -> None:
        """A rank that stands still counts as not well; when it goes on, all that it was asked is answered."""
        words = ("--dp-supervisor-probe-timeout-s", "0.2", "--dp-supervisor-probe-failure-threshold", "2")
        daemon = self.start_two(*words, "--inter-token-latency", "5ms", "--max-num-seqs", "100")
        pid = self.pids(daemon)[1]
        clients = [self.client(daemon.port + 1).send(completion(stream=n % 2 == 0, tokens=100)) for n in range(40)]
        until(lambda: self.running(daemon.port + 1) == 40, "running")
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: self.status(daemon) == 503, "not well")
            self.assertIn("Rank 1 is not well: no answer, TimeoutError, 2 in a row.", daemon.output())
            late = [self.client(daemon.port + 1).send(completion()) for _ in range(20)]
            other = [self.client(daemon.port).send(completion(), request("/ping", close=True)) for _ in range(20)]
            self.assertEqual({"whole": 40}, tally(client.read_to_end() for client in other))
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: self.status(daemon) == 200, "well again")
        for client in (*clients, *late):
            client.begin(request("/ping", close=True)).read_to_end()
        self.assertEqual({"whole": 60}, tally([*clients, *late]))
        self.assertEqual(0, daemon.stop())
        self.assertNotIn("is started again", daemon.output())

    def test_crash_loop(self) -> None:
        """A rank that cannot start again is tried less and less often, and the log says why; it comes when it can."""
        daemon = self.start_two()
        taken = daemon.port + 1
        os.kill(self.pids(daemon)[1], signal.SIGKILL)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            until(lambda: self.takes(other, taken), "free")
            again = "Rank 1 ended with status 1, and is started again."
            begin = time.monotonic()
            self.soon(lambda: daemon.output().count(again) > (4 if FULL else 1))
            took = time.monotonic() - begin
            tried = daemon.output().count(again)
            self.assertEqual(503, self.status(daemon))
            self.assertEqual(200, fetch(f"http://127.0.0.1:{daemon.port}/health")[0])
            self.assertIn(f"[rank 1] vllmsim: cannot listen on 'tcp:{taken}:", daemon.output())
            # One second, then two, then four: what is longer than these is the start itself.
            self.assertGreater(took, sum(2**n for n in range(tried - 1)) - 1)
        self.soon(lambda: self.status(daemon) == 200)
        self.assertEqual(0, daemon.stop())
        figure(f"killed: {tried} starts that failed in {took:.1f} s, and then one that did not")

    def takes(self, connection: socket.socket, port: int) -> bool:
        """Take a port, if that is possible."""
        try:
            connection.bind(("127.0.0.1", port))
        except OSError:
            return False
        connection.listen()
        return True
