"""SIGTERM: every request that was sent before it has an answer, or is told that there will be none."""

import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.faults.calls import Calls, asking
from tests.faults.case import figure
from tests.faults.clients import FULL, Client, request, tally
from tests.folders import make_folder
from tests.integration.calling import CallingTestCase
from tests.integration.collector import Collector
from tests.integration.daemon import PATIENCE, Daemon, free_port, until
from tests.integration.kv_subscriber import Picture, Subscriber

TOLD: Final = {"503", "told in its stream"}


class StoppingTestCase(CallingTestCase):
    """Daemons that are stopped while they have much to do."""

    @classmethod
    def setUpClass(cls) -> None:
        """Start none for all tests."""

    def run_one(self, *words: str) -> Daemon:
        """Start a daemon, and wait until it listens."""
        daemon = self.start(*words)
        daemon.wait()
        return daemon

    def client(self, daemon: Daemon) -> Client:
        """Connect to one."""
        client = Client(daemon.port)
        self.addCleanup(client.connection.close)
        return client

    def calls(self, daemon: Daemon) -> Calls:
        """Connect to one by HTTP/2."""
        calls = Calls(daemon.port)
        self.addCleanup(calls.wire.socket.close)
        return calls

    def all_told(self, counted: Counter[str], sent: int) -> None:
        """Hold that each request has come to an end that its client understands."""
        self.assertEqual(sent, counted.total())
        self.assertEqual({}, {how: n for how, n in counted.items() if how not in {"whole", "refused", *TOLD}})

    def ends(self, daemon: Daemon, patience: float = PATIENCE) -> None:
        """Hold that it ends in order."""
        self.assertEqual(0, daemon.process.wait(patience), daemon.output())
        self.assertNotIn("Traceback", daemon.output())
        self.assertNotIn("Unhandled", daemon.output())


class LoadTests(StoppingTestCase):
    """Under load."""

    def test_load(self) -> None:
        """All that was sent is answered or told; log, events, traces and the journal's readers miss nothing."""
        for round_ in range(20 if FULL else 1):
            self.one_round(4 if FULL else 1, round_)

    def one_round(self, size: int, round_: int) -> None:
        """Load a daemon in every way that there is, and stop it."""
        log = make_folder(self) / "requests.jsonl"
        events = free_port()
        collector = Collector()
        self.addCleanup(collector.close)
        daemon = self.run_one(*self.words_for(log, events, collector))
        picture = Picture(maps=False)
        subscriber = Subscriber(picture, f"tcp://127.0.0.1:{events}", binds=True)
        self.addCleanup(subscriber.close)
        first = self.warm_up(daemon, subscriber, speaks=round_ % 4 < 3)
        before, missed = picture.next, picture.lost

        def clients(number: int, send: Callable[[Client], object]) -> list[Client]:
            made = [self.client(daemon) for _ in range(number * size)]
            for client in made:
                send(client)
            return made

        whole = clients(40, lambda client: client.send(asking(20)))
        streams = clients(40, lambda client: client.send(asking(20, stream=True)))
        pipelined = clients(20, lambda client: client.send(*(asking(5, stream=n % 2 == 0) for n in range(6))))
        background = {"input": "a b", "background": True, "max_output_tokens": 5}
        responses = clients(5, lambda client: client.send(request("/v1/responses", background)))
        readers = clients(3, lambda client: client.send(request("/admin/requests?wait_for=9000&timeout=600&limit=1")))
        idle = clients(40, lambda _: None)
        resting = clients(20, lambda client: client.send(asking(1)))
        halves = clients(5, lambda client: client.begin(asking(9)[:-9]))
        heads = clients(5, lambda client: client.begin(asking(9)[:40]))
        for client in (*resting, *responses):
            client.read_some()
        calls = [first, *(self.calls(daemon) for _ in range(5 * size))]
        for each in calls:
            for _ in range(4):
                each.send(20)
        time.sleep(0.02 * round_)
        for client in resting:
            client.send(asking(3))
        fresh = clients(40, lambda client: client.send(asking(20, stream=True)))
        daemon.process.send_signal(signal.SIGTERM)
        ended = [*whole, *streams, *pipelined, *responses, *readers, *resting, *fresh, *idle, *heads, *halves]
        self.read_all(ended, calls)
        self.ends(daemon, 40)
        sent = sum(client.sent for client in ended)
        by_http = tally(ended)
        self.all_told(by_http, sent)
        by_http2 = sum((each.tally() for each in calls), Counter[str]())
        self.all_told(by_http2, sum(len(each.calls) + len(each.requests) for each in calls))
        self.assertEqual({"end"}, {client.ending for client in ended})
        self.assertEqual({503}, {answer.status for client in halves for answer in client.answers()})
        self.assertEqual(len(readers), tally(readers)["whole"])
        self.neighbours(log, collector, by_http + by_http2, len(readers))
        subscriber.drain()
        self.assertEqual(missed, picture.lost)
        self.assertGreater(picture.next, before)
        asked = [*whole, *streams, *pipelined, *resting, *fresh]
        self.assertGreaterEqual(len(picture.blocks), 2 * tally(asked)["whole"])
        figure(f"stopping: {sent} requests over HTTP/1.1 {dict(by_http)}, over HTTP/2 {dict(by_http2)}")

    def warm_up(self, daemon: Daemon, subscriber: Subscriber, *, speaks: bool) -> Calls:
        """Wait until events come.

        :param speaks: whether to wait for what speaks HTTP/2 too; the signal comes while it is being fetched else.
        """
        until(lambda: bool(self.client(daemon).send(asking(1)).read_some() and subscriber.read(100)))
        calls = self.calls(daemon).send(1)
        while speaks and len(calls.wire.ended) < 3:
            calls.wire.read()
        return calls

    def words_for(self, log: Path, events: int, collector: Collector) -> list[str]:
        """Give a daemon all neighbours, and so few slots that the queue is full when the signal comes."""
        words = ["--max-num-seqs", "24", "--max-waiting-queue-length", "4000", "--inter-token-latency", "8ms"]
        words += ["--enable-kvcache", "--kv-cache-size", "99999", "--zmq-endpoint", f"tcp://127.0.0.1:{events}"]
        words += ["--request-log", str(log), "--enable-responses-store"]
        return [*words, "--otlp-traces-endpoint", f"http://127.0.0.1:{collector.port}/v1/traces"]

    def read_all(self, clients: list[Client], calls: list[Calls]) -> None:
        """Read all connections to their ends. Clients of HTTP/2 answer what the server sends while they read."""
        with ThreadPoolExecutor(len(calls)) as pool:
            reading = [pool.submit(each.read_to_end) for each in calls]
            for client in clients:
                client.read_to_end()
            for future in reading:
                future.result()

    def neighbours(self, log: Path, collector: Collector, counted: Counter[str], readers: int) -> None:
        """Hold that the request log and the traces have every request that was answered."""
        records = [json.loads(line) for line in log.read_text().splitlines()]
        self.assertEqual({"completed", "refused"}, {record["outcome"] for record in records})
        done = sum(record["outcome"] == "completed" for record in records)
        self.assertGreaterEqual(done, counted["whole"] - readers)
        spans = sum(span.name == "llm_request" for span in collector.spans)
        self.assertGreaterEqual(spans, counted["whole"] - readers)


class TimeoutTests(StoppingTestCase):
    """What is not done in time."""

    def test_timeout(self) -> None:
        """Whoever has no whole answer when the time is over is told: in its answer, its stream or its status."""
        daemon = self.run_one(
            "--time-to-first-token", "1s", "--inter-token-latency", "1h", "--max-num-seqs", "200",
            "--shutdown-timeout", "1s",
        )  # fmt: skip
        clients = [self.client(daemon).send(asking(9, stream=n % 2 == 0)) for n in range(100)]
        calls = self.calls(daemon)
        for _ in range(20):
            calls.send(9)
        until(lambda: self.runs(daemon) == 160)
        daemon.process.send_signal(signal.SIGTERM)
        ended = [client.read_to_end() for client in clients]
        calls.read_to_end()
        self.ends(daemon)
        self.assertEqual({"503": 50, "told in its stream": 50}, tally(ended))
        self.all_told(calls.tally(), 60)
        self.assertNotIn("whole", calls.tally())

    def runs(self, daemon: Daemon) -> int:
        """Tell how many sequences run."""
        [line] = [
            each for each in daemon.get("/metrics").splitlines() if each.startswith(b"vllm:num_requests_running{")
        ]
        return int(float(line.rpartition(b" ")[2]))

    def test_idle(self) -> None:
        """A thousand idle connections hold up nothing, and none is reset."""
        daemon = self.run_one()
        clients = [self.client(daemon) for _ in range(1000)]
        for client in clients[::2]:
            client.send(request("/ping")).read_some()
        begin = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        self.assertEqual({"end"}, {client.read_to_end().ending for client in clients})
        self.ends(daemon)
        self.assertLess(time.monotonic() - begin, PATIENCE)
        self.assertEqual({"whole": 500}, tally(clients))

    def test_second_signal(self) -> None:
        """The second of two signals ends it at once with status 1, also when it is another one."""
        daemon = self.run_one("--time-to-first-token", "1h")
        self.client(daemon).send(asking(1))
        until(lambda: self.runs(daemon) == 1)
        daemon.process.send_signal(signal.SIGTERM)
        until(lambda: "Received SIGTERM" in daemon.output())
        daemon.process.send_signal(signal.SIGINT)
        self.assertEqual(1, daemon.process.wait(PATIENCE))


class StartTests(StoppingTestCase):
    """Signals that come before it serves."""

    def test_loading(self) -> None:
        """A model that never has loaded keeps nobody from stopping."""
        daemon = self.run_one("--startup-duration", "1h")
        daemon.process.send_signal(signal.SIGTERM)
        self.ends(daemon)

    def test_downloading(self) -> None:
        """A download from a server that never answers is given up, in order."""
        with socket.create_server(("127.0.0.1", 0)) as mute:
            url = f"http://127.0.0.1:{mute.getsockname()[1]}/talk.sqlite3"
            daemon = self.start("--dataset-url", url, "--dataset-path", f"{make_folder(self)}/talk.sqlite3")
            mute.settimeout(PATIENCE)
            connection, _ = mute.accept()
            with connection:
                daemon.process.send_signal(signal.SIGTERM)
                self.ends(daemon)

    def test_any_moment(self) -> None:
        """Whenever the signal comes, nothing hangs: the end is in order, or at once while Python still loads."""
        moments: Iterable[float] = (n / 40 for n in range(80)) if FULL else (0.1, 0.6)
        for moment in moments:
            daemon = self.start()
            time.sleep(moment)
            daemon.process.send_signal(signal.SIGTERM)
            self.assertIn(daemon.process.wait(PATIENCE), (0, -signal.SIGTERM), daemon.output())
            self.assertNotIn("Traceback", daemon.output())
