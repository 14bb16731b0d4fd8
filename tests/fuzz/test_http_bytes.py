"""Bytes on real sockets: cut, pipelined, smuggled, malformed, of other protocols, slow, and left behind."""

import contextlib
import socket
import struct
import time
from random import Random

from tests.fuzz.answers import Answer, read_answers
from tests.fuzz.daemon import FuzzTestCase
from tests.fuzz.exchanges import KINDS, Exchange
from tests.fuzz.report import Refused
from tests.fuzz.requests import HEAD_BYTES, HEADERS, LAST, POST, request
from tests.integration.daemon import PATIENCE


class HttpTests(FuzzTestCase):
    """Connections, one after another."""

    surface = "HTTP bytes"
    words = (
        *(*FuzzTestCase.words, "--enable-request-id-headers"),
        *("--h11-max-incomplete-event-size", str(HEAD_BYTES), "--h11-max-header-count", str(HEADERS)),
    )

    def test_survives(self) -> None:
        """Whatever bytes come, requests are answered in their order, what is none is refused, and others are served."""
        self.fuzz(3000, self.one)

    def one(self, chance: Random, number: int) -> None:
        """Play one connection."""
        exchange = KINDS[number % len(KINDS)](chance, number // len(KINDS))
        with socket.create_connection(("127.0.0.1", self.daemon.port), PATIENCE) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                whole = self.send(connection, exchange, chance)
                if exchange.end == "left":
                    self.leave(connection, chance)
                    return
                if exchange.end in {"cut", "any", "foreign"}:
                    self.end(connection, exchange)
            except OSError:
                # The server has refused what came before, and is not told the rest.
                if exchange.end in {"closed", "cut", "left"}:
                    raise
                whole = False
            received = self.read(connection, whole=whole)
        self.judge(exchange, received, whole=whole)

    def send(self, connection: socket.socket, exchange: Exchange, chance: Random) -> bool:
        """Send bytes in pieces.

        :return: whether in one.
        """
        data = exchange.data
        size = chance.choice((len(data), len(data), 1000, 50, 1 if len(data) < 2000 else 9)) or 1
        if exchange.at_once:
            size = len(data)
        for start in range(0, len(data), size):
            connection.sendall(data[start : start + size])
        return size >= len(data)

    def leave(self, connection: socket.socket, chance: Random) -> None:
        """Go away after some of the answer, in a way that the server may not like."""
        if chance.random() < 0.7:
            connection.recv(chance.choice((1, 1000, 100_000)))
        if chance.random() < 0.5:
            reset(connection)

    def end(self, connection: socket.socket, exchange: Exchange) -> None:
        """Send nothing more; what must be answered is answered before."""
        wanted = 0
        received = b""
        while wanted < len(exchange.answered) and (piece := connection.recv(65536, socket.MSG_PEEK)) != received:
            received = piece
            wanted = len(read_answers(piece)[0])
            time.sleep(0.001)
        connection.shutdown(socket.SHUT_WR)

    def read(self, connection: socket.socket, *, whole: bool) -> bytes:
        """Read until the server closes.

        :param whole: whether it has been sent everything before it may have closed: then nothing is lost.
        """
        received = b""
        try:
            while piece := connection.recv(1 << 16):
                received += piece
        except ConnectionError:
            if whole:
                raise
        return received

    def judge(self, exchange: Exchange, received: bytes, *, whole: bool) -> None:
        """Hold what has come against what must come.

        :raises Refused: when the bytes were refused as they should be.
        """
        if exchange.end == "foreign":
            return
        answers, rest = read_answers(received)
        for answer in answers:
            answer.check()
        names = [answer.name for answer in answers]
        if exchange.end != "any":
            self.assertEqual([], [name for name in names if name.startswith("smuggled")], answers)
        count = len(exchange.answered)
        self.assertEqual(list(exchange.answered), names[:count], answers)
        more = answers[count:]
        if exchange.end == "refused":
            self.assertEqual(b"", rest)
            self.assertTrue(_is_refusal(more) or (not more and not whole), more)
            raise Refused
        if exchange.end in {"closed", "cut"}:
            self.assertEqual(([], b""), (more, rest))
        if any(answer.status >= 400 for answer in answers) or exchange.end == "cut":
            raise Refused


def _is_refusal(answers: list[Answer]) -> bool:
    return [(answer.status, answer.headers["connection"]) for answer in answers] == [(400, "close")]


def reset(connection: socket.socket) -> None:
    """Close a connection without a farewell."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class SlowTests(FuzzTestCase):
    """Clients that keep a connection for themselves."""

    surface = "HTTP bytes"
    words = (*FuzzTestCase.words, "--receive-timeout", "2s", "--timeout-keep-alive", "1s", "--send-timeout", "1s")

    def test_slow(self) -> None:
        """Who sends bit by bit, or reads nothing, is cut off after a time, and meanwhile others are served."""
        chunks = request("a", POST, b"Transfer-Encoding: chunked")
        beginnings = (
            b"",
            b"GET /",
            LAST[:-2],
            request("a", POST, b"Content-Length: 999"),
            chunks,
            chunks + b"1;",
            chunks + b"0\r\nX: ",
            request("a") + b"GET ",
            request("a", POST, b"Expect: 100-continue", b"Content-Length: 99"),
            b"PRI * HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\xff\4",
        )
        before = self.daemon.descriptors()
        slow = [self.raw(beginning) for beginning in beginnings * 5]
        deaf = [self.raw(request("a", b"GET /metrics HTTP/1.1") * 2000) for _ in range(5)]
        self.settle(lambda: self.daemon.descriptors() >= before + len(slow) + len(deaf), "they are not there")

        def bit_by_bit() -> bool:
            self.complete()
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.send(b"0")
            return self.daemon.descriptors() <= before

        self.settle(bit_by_bit, "somebody is waited for without end")
