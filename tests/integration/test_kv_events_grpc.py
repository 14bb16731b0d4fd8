"""KV events of a running daemon, taken by a client of grpcio and by one of ZeroMQ at the same time."""

import contextlib
import json
import queue
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
from smg_grpc_proto.generated import common_pb2 as pb
from smg_grpc_proto.generated.vllm_engine_pb2_grpc import VllmEngineStub

from tests.integration.daemon import PATIENCE, Daemon, DaemonTestCase, free_port
from tests.integration.test_kv_events import Collector


class Subscriber:
    """Takes what one call streams, in a thread."""

    def __init__(self, port: int, start: int = 0, *, early: bool = False) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        request = pb.SubscribeKvEventsRequest(start_sequence_number=start, load_records_before_first_batch=early)
        self._call: Any = VllmEngineStub(self._channel).SubscribeKvEvents(request, timeout=PATIENCE)
        # The head comes at once, and with it the subscription is there.
        self._call.initial_metadata()
        self._taken: queue.Queue[pb.KvEventBatch] = queue.Queue()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for batch in self._call:
                self._taken.put(batch)

    def batches(self, count: int) -> list[pb.KvEventBatch]:
        """Wait for batches of events."""
        return [next(self._batches()) for _ in range(count)]

    def _batches(self) -> Iterator[pb.KvEventBatch]:
        while True:
            batch = self._taken.get(timeout=PATIENCE)
            if not batch.load.load_only:
                yield batch

    def record(self) -> pb.EngineLoad:
        """Wait for a load that comes alone."""
        while True:
            batch = self._taken.get(timeout=PATIENCE)
            if batch.load.load_only:
                return batch.load

    def ended(self) -> grpc.StatusCode:
        """Wait for the end."""
        code: grpc.StatusCode = self._call.code()
        return code

    def close(self) -> None:
        """Go away."""
        self._channel.close()
        self._thread.join(PATIENCE)


class KvEventsOverGrpcTests(DaemonTestCase):
    """A server that publishes over ZeroMQ too."""

    events: int

    @classmethod
    def setUpClass(cls) -> None:
        """Start it."""
        cls.events = free_port()
        cls.words = ("--model", "m", "--enable-kvcache", "--zmq-endpoint", f"tcp://*:{cls.events}")
        super().setUpClass()

    def subscribe(self, daemon: Daemon, start: int = 0, *, early: bool = False) -> Subscriber:
        """Subscribe over gRPC."""
        subscriber = Subscriber(daemon.port, start, early=early)
        self.addCleanup(subscriber.close)
        return subscriber

    def ask(self, daemon: Daemon, first: int, tokens: int = 40) -> None:
        """Have a prompt completed."""
        body = json.dumps({"prompt": [*range(first, first + tokens)], "max_tokens": 1}).encode()
        request = urllib.request.Request(daemon.url("/v1/completions"), body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            self.assertEqual(200, answer.status)

    def test_same(self) -> None:
        """Both see the same batches under the same numbers; one who comes back over gRPC goes on where it was."""
        collector = Collector(f"tcp://127.0.0.1:{self.events}")
        self.addCleanup(collector.close)
        first = 0
        while not collector.hears(0.05):
            first += 1000
            self.ask(self.daemon, first)
        while collector.hears(0.2):
            collector.take()
        subscriber = self.subscribe(self.daemon)
        for each in range(5):
            self.ask(self.daemon, 100_000 + 100 * each)
            time.sleep(0.02)
        picture, *batches = subscriber.batches(6)
        self.assertEqual(picture.sequence_number + 1, picture.snapshot.unknown_before)
        published = {number: batch for _, number, batch in [collector.take() for _ in batches]}
        self.assertEqual([*published], [batch.sequence_number for batch in batches])
        for batch in batches:
            time_of, events, rank = published[batch.sequence_number]
            self.assertEqual((time_of, rank), (batch.timestamp, batch.dp_rank))
            hashes = [[block.block_hash % 2**64 for block in event.stored.blocks] for event in batch.events]
            self.assertEqual([event[1] for event in events], hashes)
        last = batches[-1].sequence_number
        again = self.subscribe(self.daemon, last)
        self.assertEqual([last], [batch.sequence_number for batch in again.batches(1)])

    def test_stop(self) -> None:
        """A server that stops tells subscribers so, and waits for none; until then they hear that it rests."""
        daemon = self.start("--enable-kvcache", "--zmq-endpoint", "")
        daemon.wait()
        subscriber = self.subscribe(daemon, early=True)
        self.assertEqual(1, subscriber.record().sample)
        self.ask(daemon, 1)
        [batch] = subscriber.batches(1)
        self.assertEqual(1403909460543360175, batch.events[0].stored.blocks[0].block_hash)
        begun = time.monotonic()
        self.assertEqual(0, daemon.stop())
        self.assertLess(time.monotonic() - begun, 3)
        self.assertEqual(grpc.StatusCode.UNAVAILABLE, subscriber.ended())
        self.assertNotIn("Traceback", daemon.output())
