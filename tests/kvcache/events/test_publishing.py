"""KV events on real sockets of this machine, read with pyzmq alone."""

import errno
import os
import sys
import tempfile
import time
from typing import Any

import zmq
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.integration.daemon import ROOT, free_port
from tests.kvcache.recording import EventCounts
from vllmsim.config.events import EventSettings, endpoint_of_rank
from vllmsim.interfaces import IBlockEventPublisher
from vllmsim.kvcache.events import publishing
from vllmsim.kvcache.events.sockets import EventSockets

PATIENCE = 20.0
SETTINGS = EventSettings(
    endpoint="tcp://127.0.0.1:0",
    replay_endpoint="",
    buffer_steps=10,
    hwm=1000,
    max_queue_size=1000,
    topic="kv@pod@m",
    maps=False,
    batch_size=16,
    flush_interval=0.01,
    int_hashes=True,
    connect_attempts=0,
)


def where(sockets: EventSockets) -> str:
    """Tell where events are published."""
    return str(sockets.describe()["endpoint"])


class Subscriber:
    """One who takes what is published at an endpoint, or at one of its own."""

    def __init__(self, endpoint: str, topic: str = "", *, binds: bool = False, hwm: int = 0) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, hwm)
        if hwm:
            self._socket.setsockopt(zmq.RCVBUF, 1 << 16)
        (self._socket.bind if binds else self._socket.connect)(endpoint)
        self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self.messages: list[list[bytes]] = []

    def read(self) -> list[int]:
        """Take what is there; tell the numbers of all messages so far."""
        while not self._socket.closed and self._socket.poll(0):
            self.messages.append(self._socket.recv_multipart())
        return [int.from_bytes(number, "big") for _, number, _ in self.messages]

    def close(self) -> None:
        """Go away."""
        self._context.destroy(0)


class PublisherTests(TestCase):
    """What subscribers get, and what becomes of those who do not read."""

    def setUp(self) -> None:
        """Remember what is logged."""
        self.metrics = EventCounts()
        self.complaints: list[str] = []
        self.logged: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event["log_namespace"].startswith("vllmsim."):
                logged = self.complaints if event["log_level"] in {LogLevel.warn, LogLevel.error} else self.logged
                logged.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def publisher(self, endpoint: str = SETTINGS.endpoint, **changes: Any) -> EventSockets:
        """Open sockets."""
        settings = evolve(SETTINGS, endpoint=endpoint, **changes)
        sockets = EventSockets(settings, self.metrics, deferToThread)
        self.addCleanup(sockets.close)
        sockets.open()
        return sockets

    def bound(self, **changes: Any) -> EventSockets:
        """Open sockets at an address of this machine."""
        return self.publisher(f"tcp://*:{free_port()}", **changes)

    def subscriber(self, sockets: EventSockets, topic: str = "", hwm: int = 0) -> Subscriber:
        """Subscribe where events are published."""
        return self.reader(where(sockets).replace("*", "127.0.0.1").replace("0.0.0.0", "127.0.0.1"), topic, hwm=hwm)

    def reader(self, endpoint: str, topic: str = "", **how: Any) -> Subscriber:
        """Subscribe at an endpoint."""
        subscriber = Subscriber(endpoint, topic, **how)
        self.addCleanup(subscriber.close)
        return subscriber

    async def pause(self, seconds: float = 0.01) -> None:
        """Let the reactor work."""
        await deferLater(reactor, seconds, lambda: None)

    async def until(self, condition: Any) -> None:
        """Wait for something."""
        end = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end, "waited too long")
            await self.pause()

    async def join(self, sockets: EventSockets, *subscribers: Subscriber) -> None:
        """Wait until subscribers are there; forget what they got for that."""
        end = time.monotonic() + PATIENCE
        while not all(list(map(Subscriber.read, subscribers))):
            sockets.publish(0, b"are you there?", 1)
            self.assertLess(time.monotonic(), end, "waited too long")
            await self.pause()
        await self.pause(0.1)
        for subscriber in subscribers:
            subscriber.read()
            subscriber.messages.clear()

    async def test_frames(self) -> None:
        """A message is the topic, its number as eight bytes, and the batch."""
        sockets = self.bound()
        verifyObject(IBlockEventPublisher, sockets)
        subscriber, other = self.subscriber(sockets, "kv@"), self.subscriber(sockets, "metrics")
        await self.join(sockets, subscriber)
        sockets.publish(258, b"batch", 1)
        await self.until(subscriber.read)
        self.assertEqual([[b"kv@pod@m", b"\0\0\0\0\0\0\x01\x02", b"batch"]], subscriber.messages)
        self.assertEqual([], other.read())
        self.assertEqual(([], 0), (self.complaints, self.metrics.dropped))

    async def test_free_port(self) -> None:
        """Where any port would do, the one that is bound is told."""
        sockets = self.publisher("tcp://*:0")
        endpoint = where(sockets)
        self.assertRegex(endpoint, r"^tcp://0\.0\.0\.0:\d\d+$")
        self.assertEqual([f"KV events are published at {endpoint} under 'kv@pod@m'."], self.logged)
        await self.join(sockets, self.subscriber(sockets))

    async def test_said(self) -> None:
        """An endpoint with a port is told as it was said, whatever addresses that are."""
        port = free_port()
        for endpoint in (f"tcp://*:{port}", f"tcp://[::]:{port}"):
            sockets = self.publisher(endpoint)
            self.assertEqual(endpoint, where(sockets))
            await sockets.close()

    async def test_long_subscription(self) -> None:
        """Who subscribes to a topic of more than a kilobyte is sent away, for that is dear to remember."""
        sockets = self.bound(topic="t" * 2000)
        short, long = (self.subscriber(sockets, "t" * length) for length in (900, 1100))
        await self.join(sockets, short)
        sockets.publish(1, b"batch", 1)
        await self.until(short.read)
        self.assertEqual(([1], []), (short.read(), long.read()))

    async def test_connect(self) -> None:
        """An endpoint that is somebody's is connected to; who binds it later gets what is published then."""
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        sockets = self.publisher(endpoint)
        self.assertEqual(endpoint, where(sockets))
        for number in range(5):
            sockets.publish(number, b"x", 1)
        await self.pause(0.05)
        collector = self.reader(endpoint, binds=True)
        await self.join(sockets, collector)
        sockets.publish(5, b"x", 1)
        await self.until(collector.read)
        self.assertEqual([5], collector.read())

    async def test_ipc(self) -> None:
        """A path is bound, also when it is left from somebody before."""
        with tempfile.TemporaryDirectory() as folder:
            endpoint = f"ipc://{folder}/events"
            for _ in range(2):
                sockets = self.publisher(endpoint)
                self.assertEqual(endpoint, where(sockets))
                await self.join(sockets, self.subscriber(sockets))
                await sockets.close()

    async def test_ipv6(self) -> None:
        """An address of version 6 is bound."""
        sockets = self.publisher("tcp://[::1]:0")
        self.assertRegex(where(sockets), r"^tcp://\[::1\]:\d\d+$")

    async def test_ranks(self) -> None:
        """Each rank publishes at the next port, with a topic of its own."""
        port = free_port(2)
        for number in range(2):
            topic = f"kv@pod:{8000 + number}@m"
            sockets = self.publisher(endpoint_of_rank(f"tcp://*:{port}", number), topic=topic)
            subscriber = self.reader(f"tcp://127.0.0.1:{port + number}")
            await self.join(sockets, subscriber)
            sockets.publish(0, b"x", 1)
            await self.until(subscriber.read)
            self.assertEqual(topic.encode(), subscriber.messages[0][0])

    async def test_late(self) -> None:
        """Who comes late begins with what is published next."""
        sockets = self.bound()
        first = self.subscriber(sockets)
        await self.join(sockets, first)
        for number in range(3):
            sockets.publish(number, b"x", 1)
        late = self.subscriber(sockets)
        await self.join(sockets, late)
        sockets.publish(3, b"x", 1)
        await self.until(late.read)
        await self.until(lambda: first.read()[-1] == 3)
        self.assertEqual([3], late.read())
        self.assertEqual(0, self.metrics.dropped)

    async def test_slow(self) -> None:
        """Who does not read loses events, which are counted, one by one; the others lose nothing."""
        sockets = self.bound(hwm=20)
        good, also_good, slow = (self.subscriber(sockets, hwm=hwm) for hwm in (0, 0, 1))
        await self.join(sockets, good, also_good, slow)
        count, payload = 800, b"x" * 20_000
        for number in range(count):
            sockets.publish(number, payload, 3)
            if not number % 5:
                await self.until(lambda: good.read()[-1:] == also_good.read()[-1:] == [number])  # noqa: B023
        await self.until(lambda: len(good.read()) == len(also_good.read()) == count)
        self.assertEqual([*range(count)], good.read())
        self.assertEqual([*range(count)], also_good.read())
        dropped = self.metrics.dropped
        self.assertGreater(dropped, 3 * count / 4)
        await self.until(lambda: 3 * (count - len(slow.read())) == dropped)
        self.assertEqual([*range(len(slow.messages))], slow.read())
        self.assertEqual(1, len(self.complaints))
        self.assertIn("does not keep up and loses KV events", self.complaints[0])

        # It reads again, so it gets what comes.
        before = len(slow.messages)
        for number in range(count, count + 15):
            sockets.publish(number, b"x", 3)
            await self.pause()
        await self.until(lambda: slow.read()[-1] == count + 14)
        self.assertEqual(15 - (self.metrics.dropped - dropped) // 3, len(slow.messages) - before)

    async def test_slow_alone(self) -> None:
        """The only subscriber loses what it cannot take, one by one, and gets all again when it reads."""
        sockets = self.bound(hwm=20)
        slow = self.subscriber(sockets, hwm=1)
        await self.join(sockets, slow)
        count, payload = 500, b"x" * 20_000
        for number in range(count):
            sockets.publish(number, payload, 1)
            await self.pause(0)
        dropped = self.metrics.dropped
        self.assertGreater(dropped, 0)
        await self.until(lambda: len(slow.read()) + dropped == count)
        sockets.publish(count, b"x", 1)
        await self.until(lambda: slow.read()[-1] == count)
        self.assertEqual(dropped, self.metrics.dropped)

    async def test_cannot_be_sent(self) -> None:
        """Whatever ZeroMQ says of a message, the next is sent; the log tells of the first that is lost."""
        sockets = self.bound()
        subscriber = self.subscriber(sockets)
        await self.join(sockets, subscriber)
        dropped = self.metrics.dropped

        def refuse(*_: object) -> None:
            raise zmq.ZMQError(errno.ENOMEM)

        patch = self.patch(publishing._Connection, "send", refuse)
        for number in range(4):
            sockets.publish(number, b"x", 3)
        patch.restore()
        sockets.publish(4, b"x", 1)
        await self.until(lambda: subscriber.read() == [4])
        self.assertEqual(dropped + 12, self.metrics.dropped)
        [said] = self.complaints
        self.assertIn("Cannot allocate memory. Further ones are only counted.", said)

    async def test_slow_with_large_messages(self) -> None:
        """Of large messages fewer may wait, so that those who do not read cost no more than they may."""
        self.patch(publishing, "_MOST_BYTES", 1 << 24)
        self.patch(publishing, "_GIVEN_UP", 0.05)
        sockets = self.bound(hwm=1000)
        first = self.subscriber(sockets, hwm=1)
        await self.join(sockets, first)
        count, payload = 100, b"x" * (1 << 19)
        for number in range(count):
            sockets.publish(number, payload, 1)
        # ZeroMQ and the system have some more on their way.
        self.assertIn(count - self.metrics.dropped, range(26, 50))
        first.close()
        second = self.subscriber(sockets, hwm=1)
        # Nothing small may come between, which would make room.
        for _ in range(30):
            second.read()
            await self.pause()
        before = self.metrics.dropped
        for number in range(count):
            sockets.publish(number, payload, 1)
        self.assertIn(count - (self.metrics.dropped - before), range(26, 50))

    async def test_come_and_go(self) -> None:
        """Subscribers may come and go as they like, also while messages are so large that fewer may wait."""
        for seconds, most_bytes in (("2", 64 << 20), ("4", 1 << 16)):
            words = ("-m", "tests.kvcache.events.coming_and_going", seconds, str(most_bytes))
            out, err, status = await getProcessOutputAndValue(sys.executable, words, os.environ, ROOT)
            self.assertEqual((b"", b"", 0), (out, err, status))

    async def test_gone(self) -> None:
        """For one that we connect to and that is gone no more than the queue is kept; it gets that when it is back."""
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        sockets = self.publisher(endpoint, hwm=10)
        collector = self.reader(endpoint, binds=True)
        await self.join(sockets, collector)
        collector.close()
        await self.pause(0.1)
        for number in range(100):
            sockets.publish(number, b"x", 1)
            await self.pause(0)
        # ZeroMQ learns only now and then that messages from before have left, so that the queue may seem shorter.
        kept = 100 - self.metrics.dropped
        self.assertIn(kept, range(5, 11))
        back = self.reader(endpoint, binds=True)
        await self.until(lambda: len(back.read()) == kept)
        sockets.publish(100, b"x", 1)
        await self.until(lambda: back.read()[-1] == 100)
        self.assertEqual([*range(kept), 100], back.read())

    async def test_bound_and_gone(self) -> None:
        """One that was connected to us and is gone costs nothing any more."""
        sockets = self.bound(hwm=10)
        subscriber = self.subscriber(sockets)
        await self.join(sockets, subscriber)
        subscriber.close()
        await self.pause(0.1)
        for number in range(100):
            sockets.publish(number, b"x", 1)
        self.assertEqual(0, self.metrics.dropped)

    async def test_last_messages(self) -> None:
        """What was published before the end still arrives."""
        sockets = self.bound()
        subscriber = self.subscriber(sockets)
        await self.join(sockets, subscriber)
        for number in range(200):
            sockets.publish(number, b"x" * 1000, 1)
        await sockets.close()
        sockets.publish(200, b"x", 1)
        await self.until(lambda: len(subscriber.read()) == 200)
        await sockets.close()

    async def test_end_with_a_stuck_subscriber(self) -> None:
        """A subscriber that does not read delays the end by no more than a second, and nothing else meanwhile."""
        sockets = self.bound(hwm=1000)
        slow = self.subscriber(sockets, hwm=1)
        await self.join(sockets, slow)
        for number in range(1000):
            sockets.publish(number, b"x" * 20_000, 1)
        began, turns, longest, last = time.monotonic(), 0, 0.0, time.monotonic()
        closed = Deferred.fromCoroutine(sockets.close())
        while not closed.called:
            await self.pause()
            longest, last, turns = max(longest, time.monotonic() - last), time.monotonic(), turns + 1
        taken = time.monotonic() - began
        self.assertTrue(0.8 < taken < 3, taken)
        self.assertLess(longest, 0.5)

    async def test_taken(self) -> None:
        """An address that somebody has is told as the system tells it, with the endpoint."""
        endpoint = where(self.bound())
        error = self.assertRaises(OSError, self.publisher, endpoint)
        self.assertEqual((errno.EADDRINUSE, "Address already in use"), (error.errno, error.strerror))
        self.assertEqual(endpoint, error.filename)
        error = self.assertRaises(OSError, self.publisher, "ipc:///no/such/folder/x")
        self.assertEqual(errno.ENOENT, error.errno)

    async def test_attempts(self) -> None:
        """When nobody can be reached in as many attempts as there may be, that is told once, and the end of it."""
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        sockets = self.publisher(endpoint, connect_attempts=2)
        await self.until(lambda: self.complaints)
        expected = f"Nobody can be reached at {endpoint} in 2 attempts: KV events are not published."
        collector = self.reader(endpoint, binds=True)
        for number in range(50):
            sockets.publish(number, b"x", 1)
            await self.pause()
        self.assertEqual(([expected], []), (self.complaints, collector.read()))

    async def test_reached(self) -> None:
        """Once somebody was reached, it is tried again for ever when they are gone."""
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        collector = self.reader(endpoint, binds=True)
        sockets = self.publisher(endpoint, connect_attempts=1)
        await self.join(sockets, collector)
        collector.close()
        await self.pause(0.5)
        back = self.reader(endpoint, binds=True)
        await self.join(sockets, back)
        self.assertEqual([], self.complaints)
