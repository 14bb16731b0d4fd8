"""Batches once more through real sockets: clients are pyzmq's, in threads of their own."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import zmq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from txzmq import ZmqFactory

from vllmsim.kvcache.events.replay import PeerGone, Replay
from vllmsim.kvcache.events.router import ReplayRouter
from vllmsim.kvcache.events.window import ReplayWindow

END = b"\xff" * 8
PATIENCE = 20_000


def numbered(number: int) -> bytes:
    """Write a number as it is on the wire."""
    return number.to_bytes(8, "big")


class RouterTests(TestCase):
    """A replay endpoint on a free port, with 10,000 batches."""

    def setUp(self) -> None:
        """Bind it."""
        self.window = ReplayWindow(10_000)
        for number in range(10_000):
            self.window.publish(number, b"%04d" % number + b"x" * 500, 1)
        self.factory = ZmqFactory()
        self.clients = zmq.Context()
        self.sockets: list[Any] = []
        self.router = self.bind("tcp://127.0.0.1:*")

    def bind(self, endpoint: str) -> ReplayRouter:
        """Bind an endpoint."""
        self.replay = Replay(reactor, self.window, b"kv@pod@m")
        return ReplayRouter(self.factory, endpoint, self.replay)

    def tearDown(self) -> None:
        """Close everything; nothing that waits for clients keeps it open."""
        for socket in self.sockets:
            socket.close(0)
        self.clients.term()
        begun = time.monotonic()
        self.factory.shutdown()
        self.assertLess(time.monotonic() - begun, 1.0)

    def client(self, kind: int = zmq.DEALER, **options: int) -> Any:
        """Connect a client."""
        socket = self.clients.socket(kind)
        self.sockets.append(socket)
        socket.setsockopt(zmq.RCVTIMEO, PATIENCE)
        for name, value in options.items():
            socket.setsockopt(getattr(zmq, name), value)
        socket.connect(self.router.endpoint)
        return socket

    def collect(self, socket: Any) -> list[int]:
        """Read answers to the end, off the reactor's thread."""
        numbers: list[int] = []
        while True:
            empty, topic, number, payload = socket.recv_multipart()
            self.assertEqual(b"", empty)
            if number == END:
                self.assertEqual((b"", b""), (topic, payload))
                return numbers
            numbers.append(int.from_bytes(number, "big"))
            self.assertEqual((b"kv@pod@m", b"%04d" % numbers[-1]), (topic, payload[:4]))

    def ask(self, socket: Any, start: int) -> "Deferred[list[int]]":
        """Ask, and read to the end."""
        socket.send_multipart([b"", numbered(start)])
        return deferToThread(self.collect, socket)

    async def test_heard_beside_one_who_is_gone(self) -> None:
        """A question is heard that comes while an answer cannot be sent, since its receiver is gone or full."""
        self.assertEqual([9999], await self.ask(self.client(), 9999))
        socket = self.client()
        socket.send_multipart([b"", numbered(9998)])
        # The question comes while the reactor is kept busy, and sending takes notice of it.
        time.sleep(0.2)  # noqa: ASYNC251 - that is what keeps it busy
        self.assertRaises(PeerGone, self.router.offer, [b"nobody", b"", b"", b"", b""])
        self.assertEqual([9998, 9999], await deferToThread(self.collect, socket))

    async def until(self, true: Any) -> None:
        """Let the reactor work until something is true."""
        for _ in range(2000):
            if true():
                return
            await deferLater(reactor, 0.005)
        raise AssertionError("it never came true")

    async def test_window(self) -> None:
        """A DEALER gets the whole window, and what it asks for next on the same connection."""
        socket = self.client()
        self.assertEqual(list(range(10_000)), await self.ask(socket, 0))
        self.assertEqual([9_998, 9_999], await self.ask(socket, 9_998))
        self.assertEqual([], await self.ask(socket, 10_000))

    async def test_req(self) -> None:
        """A REQ socket gets the first batch, which is all that such a socket can get."""
        socket = self.client(zmq.REQ)
        socket.send(numbered(3))
        topic, number, _ = await deferToThread(socket.recv_multipart)
        self.assertEqual((b"kv@pod@m", numbered(3)), (topic, number))

    async def test_stuck(self) -> None:
        """Clients that never read delay nobody, keep few messages waiting, and get the rest when they read again."""
        stuck = [self.client(RCVHWM=1, RCVBUF=4096) for _ in range(5)]
        for socket in stuck:
            socket.send_multipart([b"", numbered(0)])
        await self.until(lambda: self.replay.peers == 5)
        self.assertEqual(list(range(10_000)), await self.ask(self.client(), 0))
        self.assertEqual(5, self.replay.peers)
        self.assertEqual(list(range(10_000)), await deferToThread(self.collect, stuck[0]))
        self.assertEqual(4, self.replay.peers)

    async def test_gone(self) -> None:
        """A client that goes away in the middle is forgotten."""
        socket = self.client(RCVHWM=1, RCVBUF=4096)
        socket.send_multipart([b"", numbered(0)])
        await self.until(lambda: self.replay.peers == 1)
        socket.close(0)
        await self.until(lambda: self.replay.peers == 0)

    async def test_wrong(self) -> None:
        """Anything but a question is ignored, how much of it there may be; the next question is answered."""
        socket = self.client()
        for frames in ([b""], [b"", b"short"], [b"x", numbered(0)], [b""] * 1000, [numbered(0)]):
            socket.send_multipart(frames)
        for _ in range(2000):
            socket.send(b"")
        self.assertEqual([9_999], await self.ask(socket, 9_999))
        self.assertEqual(2005, self.replay.ignored)

    async def test_large(self) -> None:
        """Who sends a frame of megabytes is disconnected, and nobody else is."""
        other = self.client()
        self.assertEqual([], await self.ask(other, 10_000))
        socket = self.client(RECONNECT_IVL=-1)
        watch = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        socket.send_multipart([b"", b"x" * (1 << 20)])
        self.assertTrue(await deferToThread(watch.poll, PATIENCE))
        self.sockets.append(watch)
        self.assertEqual([9_999], await self.ask(other, 9_999))
        self.assertEqual(0, self.replay.ignored)

    async def test_large_batches(self) -> None:
        """Batches that are not copied come whole, also when the window has moved on before they are read."""
        for number in range(10_000, 20_000):
            self.window.publish(number, (b"%04d" % number).ljust(70_000 if number < 10_100 else 4, b"y"), 1)
        socket = self.client(RCVHWM=1, RCVBUF=4096)
        socket.send_multipart([b"", numbered(0)])
        await self.until(lambda: self.replay.peers == 1)
        await deferLater(reactor, 0.05)
        for number in range(20_000, 30_000):
            self.window.publish(number, b"%04d" % number, 1)
        empty, _, first, payload = await deferToThread(socket.recv_multipart)
        self.assertEqual((b"", numbered(10_000), b"10000".ljust(70_000, b"y")), (empty, first, payload))

    def test_taken(self) -> None:
        """An endpoint that is taken cannot be bound, and nothing is left of the attempt."""
        another = Replay(reactor, self.window, b"")
        self.assertRaises(OSError, ReplayRouter, self.factory, self.router.endpoint, another)
        self.assertEqual({self.router}, self.factory.connections)

    async def test_ipc(self) -> None:
        """A path is as good as a port."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.router.shutdown()
        self.router = self.bind(f"ipc://{Path(folder.name)}/replay")
        self.assertEqual([9_999], await self.ask(self.client(), 9_999))
