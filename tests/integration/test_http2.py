"""HTTP/2 with clients that others have made: curl, and httpx with HTTP/2."""

import asyncio
import json
import shutil
import subprocess
from typing import Any
from unittest import skipUnless

import httpx2

from tests.integration.daemon import PATIENCE, Daemon, DaemonTestCase
from tests.integration.test_tls import started

CURL = shutil.which("curl") or ""
HTTP2 = bool(CURL) and "HTTP2" in subprocess.run([CURL, "--version"], capture_output=True, text=True, check=True).stdout
STREAMS = 40
PROMPT = {"prompt": "hello", "max_tokens": 20, "ignore_eos": True}


def curl(*words: str) -> str:
    """Run curl, which writes the version, the status and the number of connections behind the body."""
    told = "\n%{http_version} %{http_code} %{num_connects}\n"
    command = [CURL, "-sS", "-k", "--max-time", str(PATIENCE), "-w", told, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE + 5).stdout


def post(value: Any) -> list[str]:
    """Have curl send JSON."""
    return ["-H", "Content-Type: application/json", "-d", json.dumps(value)]


@skipUnless(HTTP2, "needs curl with HTTP/2")
class CurlTests(DaemonTestCase):
    """Clients that know what they will find, on a port without TLS."""

    words = ("--inter-token-latency", "1ms")

    def test_both(self) -> None:
        """One port speaks HTTP/2 to those who begin with it, and HTTP/1.1 to others."""
        url = self.daemon.url("/health")
        for option, version in (("--http2-prior-knowledge", "2"), ("--http1.1", "1.1")):
            self.assertEqual(f"{version} 200 1", curl(option, url).splitlines()[-1])
        # Who asks for an upgrade is answered as if it had not.
        self.assertEqual("1.1 200 1", curl("--http2", url).splitlines()[-1])

    def test_stream(self) -> None:
        """Tokens come as events, and the end behind them."""
        url = self.daemon.url("/v1/completions")
        said = curl("--http2-prior-knowledge", url, *post({**PROMPT, "stream": True}))
        self.assertEqual((21, True), (said.count("data: "), "data: [DONE]\n\n\n2 200" in said))

    def test_large(self) -> None:
        """A large body is read as fast as it comes, and one that is too large is refused."""
        for size, status in ((3 << 20, 400), (5 << 20, 413)):
            words = ["--http2-prior-knowledge", self.daemon.url("/v1/completions"), "--data-binary", "@-"]
            command = [CURL, "-sS", "-w", "\n%{http_version} %{http_code}", *words]
            result = subprocess.run(command, input=b"x" * size, capture_output=True, check=True, timeout=PATIENCE)
            self.assertEqual(b"2 %d" % status, result.stdout.splitlines()[-1])


class TlsTests(DaemonTestCase):
    """Clients that choose in the handshake."""

    words = ("--self-signed-certs", "--inter-token-latency", "2ms", "--max-num-seqs", str(STREAMS))

    @classmethod
    def setUpClass(cls) -> None:
        """Start the daemon."""
        cls.daemon = Daemon(*cls.words)
        cls.addClassCleanup(cls._stop)
        started(cls.daemon)

    def url(self, path: str) -> str:
        """Make an address."""
        return f"https://127.0.0.1:{self.daemon.port}{path}"

    @skipUnless(HTTP2, "needs curl with HTTP/2")
    def test_curl(self) -> None:
        """The client chooses."""
        for option, version in (("--http2", "2"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")):
            self.assertEqual(f"{version} 200 1", curl(option, self.url("/health")).splitlines()[-1])

    @skipUnless(HTTP2, "needs curl with HTTP/2")
    def test_several(self) -> None:
        """Several requests share a connection. Without TLS curl 7.88 cannot have that."""
        urls = [self.url("/health")] * 10
        outputs = [word for _ in urls for word in ("-o", "/dev/null")]
        told = curl("--http2", "-Z", *outputs, *urls).split()
        self.assertEqual((10, 1), (told.count("200"), sum(map(int, told[2::3]))))

    def test_chat(self) -> None:
        """A chat completion is streamed."""
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5, "ignore_eos": True, "stream": True}
        with (
            httpx2.Client(http2=True, verify=False, timeout=PATIENCE) as client,
            client.stream("POST", self.url("/v1/chat/completions"), json=body) as response,
        ):
            events = [line for line in response.iter_lines() if line]
        self.assertEqual(("HTTP/2", 200, "data: [DONE]"), (response.http_version, response.status_code, events[-1]))

    def test_many_on_one_connection(self) -> None:
        """Many streams share a connection, with all their tokens."""
        counts, places = asyncio.run(self._stream())
        self.assertEqual(([21] * STREAMS, 1), (counts, len(places)))

    async def _stream(self) -> tuple[list[int], set[object]]:
        places: set[object] = set()

        async def one(client: httpx2.AsyncClient) -> int:
            async with client.stream("POST", self.url("/v1/completions"), json={**PROMPT, "stream": True}) as response:
                places.add(response.extensions["network_stream"].get_extra_info("client_addr"))
                return (await response.aread()).count(b"data: ")

        async with httpx2.AsyncClient(http2=True, verify=False, timeout=PATIENCE) as client:
            # The first one makes the connection.
            await client.get(self.url("/health"))
            return list(await asyncio.gather(*[one(client) for _ in range(STREAMS)])), places
