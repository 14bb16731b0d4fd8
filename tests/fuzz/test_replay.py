"""Questions for KV events that are none, subscriptions, and bytes that no ZeroMQ sends.

What is sent in the place of a number is msgpack too: nothing of it is ever unpacked, whatever it claims to be.
"""

import json
import shutil
import socket
import struct
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any, ClassVar, Final

import zmq

from tests.fuzz.daemon import FuzzTestCase
from tests.fuzz.report import Refused
from tests.integration.daemon import PATIENCE, Daemon, free_port
from tests.integration.kv_subscriber import END

_NUMBERS: Final = (0, 1, 2, 7, 10**6, 2**31, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
_BOMBS: Final = (
    b"\xdd\xff\xff\xff\xff" * 9, b"\xdf\xff\xff\xff\xff\x01\x02\x03", b"\xc6\xff\xff\xff\xffabcd", b"\x91" * 900,
    b"\x81\x01" * 400, b"\xc9\xff\xff\xff\xff\x01abc", b"\xc7\xff\x05" + b"x" * 255, b"\xd8\xff" + b"\x80" * 16,
    b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\0" * 7, b"\xa1\xff" * 8, b"\xc1" * 8,
    b"\x93\xcb\0\0\0\0\0\0\0\0\x90\0",
)  # fmt: skip
_ENOUGH: Final = 60
"""Peers that do not read, kept open; each further one has the oldest close."""
_ONE_IN_HONEST: Final = 10
_GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\0" + bytes(31)
_QUICK: Final = 0.2


class ReplayTests(FuzzTestCase):
    """A daemon that tells its KV events, and tells them once more to who asks."""

    surface = "msgpack replay"
    most_growth = 96 * 1024
    folder: ClassVar[Path]
    port: ClassVar[int]
    silent: ClassVar[deque[Any]]
    sockets: ClassVar[zmq.Context[Any]]

    @classmethod
    def setUpClass(cls) -> None:
        """Start the daemon, whose window has some thousand batches."""
        cls.folder = Path(mkdtemp()).resolve()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.port = free_port()
        cls.daemon = Daemon(
            *(*cls.words, "--enable-kvcache", "--kv-cache-size", "64", "--max-model-len", "2048", "--block-size", "8"),
            *("--zmq-endpoint", f"ipc://{cls.folder}/events", "--event-batch-size", "1"),
            *("--kv-events-replay-endpoint", f"tcp://127.0.0.1:{cls.port}", "--kv-events-replay-queue-size", "500"),
        )
        cls.addClassCleanup(cls._stop)
        cls.daemon.wait()
        cls.silent = deque()
        cls.sockets = zmq.Context()
        cls.addClassCleanup(cls.sockets.term)

    def test_survives(self) -> None:
        """Whatever a subscriber sends, or does not read, others hear of all batches that are kept."""
        chance = Random(3)
        for _ in range(30):
            self.fill(chance)
        self.fuzz(50, self.one)

    def survived(self, figures: Any) -> None:
        """Have those who do not read go away before what is left is looked at."""
        while self.silent:
            self.silent.popleft().close(0)
        super().survived(figures)
        self.honest()

    def one(self, chance: Random, number: int) -> None:
        """Play one client."""
        ways: Sequence[Callable[[Random], object]] = (
            *(self.ask, self.ask, self.subscribe, self.come_and_go),
            *(self.speak, self.speak, self.hang),
        )
        answered = chance.choice(ways)(chance)
        if number % _ONE_IN_HONEST == 0:
            self.fill(chance)
            self.honest()
        if not answered:
            raise Refused

    def fill(self, chance: Random) -> None:
        """Have blocks stored and removed."""
        prompt = [chance.randrange(3, 500) for _ in range(chance.randrange(300))] + [5]
        body = json.dumps({"prompt": prompt, "max_tokens": 1}).encode()
        request = urllib.request.Request(self.daemon.url("/v1/completions"), body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            response.read()

    def open(self, kind: int, endpoint: str = "", **options: Any) -> Any:
        """Open a socket that waits for nothing when it closes."""
        opened = self.sockets.socket(kind)
        opened.linger, opened.sndtimeo = 0, 1000
        for name, value in options.items():
            setattr(opened, name, value)
        opened.connect(endpoint or f"tcp://127.0.0.1:{self.port}")
        return opened

    def honest(self) -> None:
        """Hold that somebody who asks as one should hears of the batches there are, in their order.

        Some are not kept any more when their turn comes, where many more were published meanwhile.
        """
        end = time.monotonic() + PATIENCE
        while not (numbers := self.replayed()):
            # With too many who ask at the same time one is not heard, and asks again.
            self.assertLess(time.monotonic(), end, "nobody answers")
        self.assertEqual(sorted(set(numbers)), numbers)
        self.assertGreater(len(numbers), 20)

    def replayed(self) -> list[int]:
        """Ask for all batches.

        :return: their numbers; none if nobody answers in time.
        """
        with self.open(zmq.DEALER) as asking:
            asking.send_multipart([b"", struct.pack(">Q", 0)])
            numbers: list[int] = []
            while asking.poll(2000):
                number = asking.recv_multipart()[2]
                if number == END:
                    return numbers
                numbers.append(int.from_bytes(number, "big"))
        return []

    def frames(self, chance: Random) -> list[bytes]:
        """Make a message, of frames that are not too long.

        For one that is, the daemon hangs up; the library here, which would be in the middle of a message then, aborts
        when its socket is closed at the same time. So :meth:`spoken` has those.
        """
        number = struct.pack(">Q", chance.choice((*_NUMBERS, chance.randrange(2**64))))
        some = (b"", b"", number, number, number + b"x" * 900, number[:7], chance.choice(_BOMBS), chance.randbytes(9),
                chance.randbytes(chance.choice((100, 1024))))  # fmt: skip
        if chance.random() < 0.4:
            return [b"", number]
        return [chance.choice(some) for _ in range(chance.choice((1, 1, 2, 2, 3, 4, 9, 400)))]

    def ask(self, chance: Random) -> bool:
        """Ask once or several times, as somebody of any name, and read some of the answers or none."""
        kind = chance.choice((zmq.DEALER, zmq.DEALER, zmq.REQ, zmq.ROUTER, zmq.SUB, zmq.PAIR))
        name = chance.choice((None, b"a", b"a", b"\xff" * 255, chance.randbytes(5), b"\0\0\0\0\1"))
        options: dict[str, Any] = {} if name is None or name[0] == 0 else {"identity": name}
        answered = False
        with self.open(kind, **options) as asking:
            asking.sndtimeo = asking.rcvtimeo = int(_QUICK * 1000)
            for _ in range(chance.choice((1, 1, 3, 30))):
                try:
                    asking.send_multipart(self.frames(chance))
                    if chance.random() < 0.5:
                        asking.recv_multipart()
                        answered = True
                except zmq.ZMQError:
                    break
        return answered

    def hang(self, chance: Random) -> bool:
        """Ask for everything, and read nothing."""
        asking = self.open(zmq.DEALER, rcvhwm=1, rcvbuf=4096)
        for _ in range(chance.choice((1, 8, 20))):
            asking.send_multipart([b"", struct.pack(">Q", 0)])
        self.silent.append(asking)
        if len(self.silent) > _ENOUGH:
            self.silent.popleft().close(0)
        return True

    def come_and_go(self, chance: Random) -> bool:
        """Subscribe to many topics and leave, often, while events are published."""
        for _ in range(chance.choice((5, 20))):
            with self.open(zmq.SUB, f"ipc://{self.folder}/events") as hearing:
                for _ in range(chance.choice((1, 3, 300))):
                    topic = chance.choice((b"", b"kv", b"x" * 900))
                    hearing.set(chance.choice((zmq.SUBSCRIBE, zmq.UNSUBSCRIBE)), topic)
            if chance.random() < 0.3:
                self.fill(chance)
        return True

    def subscribe(self, chance: Random) -> bool:
        """Subscribe to something, often, or to what is no topic."""
        with self.open(chance.choice((zmq.XSUB, zmq.SUB, zmq.DEALER)), f"ipc://{self.folder}/events") as hearing:
            for _ in range(chance.choice((1, 3, 300))):
                topic = chance.choice((b"", b"kv", b"\xff", chance.randbytes(8), b"x" * 900))
                try:
                    if hearing.type == zmq.SUB:
                        hearing.set(chance.choice((zmq.SUBSCRIBE, zmq.UNSUBSCRIBE)), topic)
                    else:
                        hearing.send(chance.choice((b"\1", b"\0", b"\2", b"")) + topic)
                except zmq.ZMQError:
                    break
            if chance.random() < 0.2:
                self.fill(chance)
                hearing.rcvtimeo = int(_QUICK * 1000)
                return bool(hearing.poll(hearing.rcvtimeo))
        return False

    def speak(self, chance: Random) -> bool:
        """Send bytes to a socket, which may begin as they should."""
        if chance.random() < 0.5:
            connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        else:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(f"{self.folder}/events")
        with connection:
            connection.settimeout(_QUICK)
            data = self.spoken(chance)
            try:
                while data:
                    size = chance.choice((1, 10, 64, 1000, 1 << 16))
                    connection.sendall(data[:size])
                    data = data[size:]
                if chance.random() < 0.3:
                    return bool(connection.recv(1 << 16))
            except OSError:
                # It hung up, or says nothing.
                pass
        return False

    def spoken(self, chance: Random) -> bytes:
        """Make what a client of ZMTP would send, with mistakes."""
        kind = chance.choice((b"DEALER", b"REQ", b"SUB", b"XSUB", b"PUB", b"ROUTER", b"X" * 200, b""))
        metadata = _property(b"Socket-Type", kind) + _property(
            b"Identity", chance.randbytes(chance.choice((0, 3, 255, 300)))
        )
        if chance.random() < 0.3:
            metadata = self.broken(
                chance, metadata + _property(b"X" * chance.randrange(256), b"y" * chance.randrange(900))
            )
        pieces = [_GREETING, _command(b"READY", metadata)]
        for _ in range(chance.choice((0, 1, 5, 50))):
            body = chance.choice(
                (b"", struct.pack(">Q", 0), b"\1", b"\0x", chance.choice(_BOMBS), b"x" * 1024, b"x" * 1500)
            )
            flags = chance.choice((0, 0, 1, 1, 2, 3, 4, 6, 8, 255))
            size = chance.choice((len(body),) * 5 + (0, 255, 2**31, 2**63 - 1, 2**64 - 1))
            pieces += chance.choice(
                (
                    [_frame(flags, body, size)],
                    [_frame(1, b"", 0), _frame(0, struct.pack(">Q", chance.choice(_NUMBERS)), 8)],
                    [
                        _command(
                            chance.choice((b"PING", b"PONG", b"READY", b"ERROR", b"SUBSCRIBE", b"CANCEL", b"")), body
                        )
                    ],
                    [chance.randbytes(20)],
                )
            )
        if chance.random() < 0.2:
            pieces = [chance.choice((b"GET / HTTP/1.1\r\n\r\n", b"\xff", b"\x01\0", b"\0" * 64, chance.randbytes(300)))]
        data = b"".join(pieces)
        return self.broken(chance, data) if chance.random() < 0.3 else data

    def broken(self, chance: Random, data: bytes) -> bytes:
        """Change some bytes, or leave some out."""
        at = chance.randrange(len(data) + 1)
        return data[:at] + chance.randbytes(chance.randrange(4)) + data[at + chance.choice((0, 1, 8)) :]


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value


def _command(name: bytes, body: bytes) -> bytes:
    content = bytes([len(name)]) + name + body
    return _frame(4, content, len(content))


def _frame(flags: int, body: bytes, size: int) -> bytes:
    """Write a frame, which may say that it is longer or shorter than it is."""
    if size > 255 or flags & 2:
        return bytes([flags | 2]) + size.to_bytes(8, "big") + body
    return bytes([flags, size]) + body
