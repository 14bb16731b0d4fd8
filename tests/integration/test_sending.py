"""Writing to clients over real sockets: TCP, TLS and Unix, the short way and the usual one, to readers who stop."""

import json
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from shutil import which
from tempfile import mkdtemp
from typing import Any, Final, cast
from unittest.mock import patch

from twisted.application.strports import service
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from tests.commandline import load_words
from tests.integration.daemon import free_port
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.live import LiveConfiguration
from vllmsim.rank import build_rank
from vllmsim.web import sending

_BODY: Final = json.dumps(
    {"prompt": "hello", "stream": True, "max_tokens": 3000, "ignore_eos": True, "seed": 1, "request_id": "x"}
).encode()
_REQUEST: Final = (
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


def _read_all(connection: socket.socket) -> bytes:
    data = b""
    with connection:
        while piece := connection.recv(1 << 16):
            data += piece
    return data.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"")


class SendingTests(TestCase):
    """A rank on the real reactor, and clients in threads."""

    def serve(self, endpoint: str, *words: str) -> Any:
        """Listen at an endpoint.

        :return: fires when the rank listens.
        """
        configuration = load_words(("--seed", "7", "--max-model-len", "8k", "--max-num-seqs", "400", *words), {})
        clocks = Clocks.same(cast("IReactorTime", reactor), lambda: 1795339833.0)
        rank = build_rank(LiveConfiguration(configuration.configuration), 0, 7, clocks, deferToThread)
        rank.start()
        listening = service(endpoint, rank.site, reactor)
        listening.startService()

        async def stop() -> None:
            await listening.stopService()
            rank.site.dismiss()
            await deferLater(reactor, 0.05)
            rank.lifecycle.drain()
            rank.stop()

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        return rank

    async def both_ways(self, endpoint: str, connect: Any) -> None:
        """Compare what a client receives the short way with what it receives the usual way."""
        self.serve(endpoint, "--inter-token-latency", "0.02ms")

        def ask() -> bytes:
            connection = connect()
            connection.sendall(_REQUEST)
            return _read_all(connection)

        short = await deferToThread(ask)
        with patch.object(sending, "_UNDERSTOOD", new=False):
            usual = await deferToThread(ask)
        self.assertEqual(3001, short.count(b"data: "))
        self.assertEqual(_without_sizes(short), _without_sizes(usual))

    async def test_tcp(self) -> None:
        """Over TCP both ways bring the same bytes."""
        port = free_port()
        await self.both_ways(
            f"tcp:{port}:interface=127.0.0.1", lambda: socket.create_connection(("127.0.0.1", port), timeout=20)
        )

    async def test_unix(self) -> None:
        """And so they do over a Unix socket."""
        path = str(Path(mkdtemp()) / "rank.sock")

        def connect() -> socket.socket:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(20)
            connection.connect(path)
            return connection

        await self.both_ways(f"unix:{path}", connect)

    async def test_tls(self) -> None:
        """And over TLS, where everything goes the usual way."""
        if which("openssl") is None:
            raise SkipTest("openssl is not installed")
        port, folder = free_port(), Path(mkdtemp())
        files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x", *files]
        await deferToThread(subprocess.run, command, check=True, capture_output=True)
        client = ssl.create_default_context()
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE

        def connect() -> socket.socket:
            return client.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20))

        keys = f"privateKey={folder / 'key.pem'}:certKey={folder / 'cert.pem'}"
        await self.both_ways(f"ssl:{port}:{keys}:interface=127.0.0.1", connect)
        port = free_port()
        await self.both_ways(f"reloadingtls:{port}:{keys}:interface=127.0.0.1", connect)
        # What Twisted says about its own use of pyOpenSSL.
        self.flushWarnings()

    async def test_readers_who_stop(self) -> None:
        """Readers who stop get everything when they read again, cost little, and hold up nobody who reads."""
        port = free_port()
        self.serve(f"tcp:{port}:interface=127.0.0.1", "--inter-token-latency", "0.05ms")
        before = _resident()
        stalled = [socket.socket() for _ in range(30)]
        for connection in stalled:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(20)
            await deferToThread(connection.connect, ("127.0.0.1", port))
            connection.sendall(_REQUEST)

        def ask() -> bytes:
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            connection.sendall(_REQUEST)
            return _read_all(connection)

        healthy = await gatherResults([deferToThread(ask) for _ in range(5)])
        self.assertEqual({3001}, {body.count(b"data: ") for body in healthy})
        self.assertLess(_resident() - before, 60 << 20)
        bodies = await gatherResults([deferToThread(_read_all, connection) for connection in stalled])
        self.assertEqual({_without_sizes(healthy[0])}, set(map(_without_sizes, bodies)))


def _without_sizes(body: bytes) -> bytes:
    """Leave the sizes of the pieces out: where a body is cut depends on the time."""
    return b"\n\n".join(b"data: " + part.rpartition(b"data: ")[2] for part in body.split(b"\n\n")[:-1])


def _resident() -> int:
    """Tell how many bytes of memory this process has."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096


if not sys.platform.startswith("linux"):
    SendingTests.skip = "these sockets and /proc are Linux's"  # type: ignore[attr-defined]
