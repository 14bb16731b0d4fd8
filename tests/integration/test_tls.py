"""TLS at the sockets of a daemon: certificates that change under open streams, and what keeps it from starting."""

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest import skipUnless

import treq
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import load_der_x509_certificate
from twisted.internet import reactor
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from tests.integration.daemon import PATIENCE, ROOT, Daemon, DaemonTestCase, free_port, until
from tests.tls.authority import DAY, Authority, Pair
from tests.tls.client import believing

STREAMS = 50
TOKENS = 40
PROMPT = " ".join(f"w{number}" for number in range(TOKENS))


def started(daemon: Daemon) -> Daemon:
    """Wait until a daemon that speaks TLS serves."""
    until(lambda: "startup complete" in daemon.output() or daemon.process.poll() is not None, daemon.output)
    if daemon.process.poll() is not None:
        raise AssertionError(daemon.output())
    return daemon


def daemon_says(daemon: Daemon, words: str) -> bool:
    """Tell whether words are in its log."""
    return words in daemon.output()


def handshake(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Connect and shake hands."""
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), PATIENCE), server_hostname="localhost")


def serial(port: int, context: ssl.SSLContext) -> int:
    """See which certificate a server shows."""
    with handshake(port, context) as connection:
        shown = connection.getpeercert(binary_form=True)
        assert shown is not None
        return load_der_x509_certificate(shown).serial_number


def shows(pair: Pair, port: int, context: ssl.SSLContext) -> bool:
    """Tell whether a server shows a certificate."""
    return serial(port, context) == pair.certificate.serial_number


async def stream(port: int, context: ssl.SSLContext, begun: "asyncio.Semaphore") -> tuple[int, bytes]:
    """Read a whole streamed answer.

    :param begun: is released once tokens come.
    :return: how many there were, and what came last.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    body = b'{"model": "m", "stream": true, "max_tokens": %d, "prompt": "%s"}' % (TOKENS, PROMPT.encode())
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    answer = b""
    while b"data: " not in answer:
        answer += await reader.read(1 << 16)
    begun.release()
    answer += await reader.read()
    writer.close()
    return answer.count(b'"text":'), answer[-60:]


class ReplacedTests(DaemonTestCase):
    """A certificate is replaced while clients read."""

    folder: Path
    authority: Authority
    context: ssl.SSLContext

    @classmethod
    def setUpClass(cls) -> None:
        """Have a daemon whose certificate is laid out as Kubernetes does."""
        cls.folder = Path(mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.authority = Authority()
        cls.lay("1", cls.authority.issue("first"))
        (cls.folder / "..data").symlink_to("..1")
        for name in ("tls.pem", "tls.key"):
            (cls.folder / name).symlink_to(f"..data/{name}")
        cls.context = believing(cls.authority.pem)
        files = ("--ssl-certfile", str(cls.folder / "tls.pem"), "--ssl-keyfile", str(cls.folder / "tls.key"))
        pace = ("--inter-token-latency", "150ms", "--max-num-seqs", str(STREAMS + 5), "--mode", "echo")
        cls.daemon = Daemon("m", *files, *pace)
        cls.addClassCleanup(cls._stop)
        started(cls.daemon)

    @classmethod
    def lay(cls, number: str, pair: Pair) -> Pair:
        """Put a certificate into a folder beside those that are in use."""
        folder = cls.folder / f"..{number}"
        folder.mkdir()
        pair.write(folder, "tls")
        return pair

    def in_use(self, pair: Pair) -> Callable[[], bool]:
        """Ask whether new connections have a certificate."""
        return partial(shows, pair, self.daemon.port, self.context)

    def have(self, path: str) -> None:
        """Have the server do something."""
        connection = HTTPSConnection("localhost", self.daemon.port, context=self.context, timeout=PATIENCE)
        connection.request("POST", path)
        self.assertEqual(200, connection.getresponse().status)
        connection.close()

    def replace_under(self, replace: Callable[[], Pair]) -> None:
        """Replace the certificate under open streams, and see all of them to their ends."""

        async def run() -> list[tuple[int, bytes]]:
            begun = asyncio.Semaphore(0)
            streams = [asyncio.create_task(stream(self.daemon.port, self.context, begun)) for _ in range(STREAMS)]
            for _ in streams:
                await begun.acquire()
            in_use = self.in_use(replace())
            # On a slow machine the streams might be over before the server has looked twice.
            await asyncio.to_thread(self.have, "/pause?mode=keep")
            await asyncio.to_thread(until, in_use, self.daemon.output)
            self.assertEqual([], [each for each in streams if each.done()])
            await asyncio.to_thread(self.have, "/resume")
            return await asyncio.gather(*streams)

        for tokens, last in asyncio.run(run()):
            self.assertEqual(TOKENS, tokens)
            self.assertIn(b"data: [DONE]", last)

    def test_link(self) -> None:
        """Kubernetes swaps a link: none of fifty streams loses a token, and new connections have the new one."""

        def swap() -> Pair:
            pair = self.lay("2", self.authority.issue("second"))
            (self.folder / "..data_tmp").symlink_to("..2")
            (self.folder / "..data_tmp").replace(self.folder / "..data")
            return pair

        self.replace_under(swap)
        self.assertIn("new connections have CN=second for localhost, 127.0.0.1", self.daemon.output())

    def test_rename(self) -> None:
        """So when files are renamed into place, first the certificate and later its key."""

        def rename() -> Pair:
            pair = self.lay("3", self.authority.issue("third"))
            (self.folder / "..3" / "tls.pem").replace(self.folder / "tls.pem")
            until(lambda: "the certificate in use stays" in self.daemon.output(), self.daemon.output)
            (self.folder / "..3" / "tls.key").replace(self.folder / "tls.key")
            return pair

        self.replace_under(rename)

    def test_signal(self) -> None:
        """SIGHUP has the files read at once."""
        pair = self.authority.issue("signalled")
        for name, content in (("tls.pem", pair.certificate_pem), ("tls.key", pair.key_pem)):
            (self.folder / "new").write_bytes(content)
            (self.folder / "new").replace(self.folder / name)
        self.daemon.process.send_signal(signal.SIGHUP)
        until(self.in_use(pair), self.daemon.output)
        self.assertIn("SIGHUP: new connections have CN=signalled", self.daemon.output())


@implementer(IPolicyForHTTPS)
@frozen
class Presenting:
    """How a client on Twisted connects: it believes an authority, and has a certificate."""

    authority: Authority
    pair: Pair

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """Find what a connection is made with."""
        own = PrivateCertificate.loadPEM(self.pair.certificate_pem + self.pair.key_pem)
        trust = trustRootFromCertificates([Certificate.loadPEM(self.authority.pem)])
        return optionsForClientTLS(hostname.decode(), trust, own)


class ClientTests(TestCase):
    """Clients of all kinds, with certificates and without."""

    timeout = 30
    folder: Path
    authority: Authority
    authorities: Path
    pair: Pair
    client: tuple[str, str]
    daemon: Daemon

    @classmethod
    def setUpClass(cls) -> None:
        """Have a daemon that asks for certificates."""
        cls.folder = Path(mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.authority = Authority()
        certificate, key = cls.authority.issue().write(cls.folder)
        cls.authorities = cls.folder / "authorities.pem"
        cls.authorities.write_bytes(cls.authority.pem)
        cls.pair = cls.authority.issue("client")
        cls.client = cls.pair.write(cls.folder, "client")
        files = ("--ssl-certfile", certificate, "--ssl-keyfile", key, "--ssl-ca-certs", str(cls.authorities))
        cls.daemon = Daemon(*files, "--ssl-cert-reqs", "2")
        cls.addClassCleanup(cls.stop)
        started(cls.daemon)

    @classmethod
    def stop(cls) -> None:
        """Stop it, and see that nothing went wrong in it."""
        status, output = cls.daemon.stop(), cls.daemon.output()
        cls.daemon.log.close()
        if status or "Traceback" in output or "Unhandled" in output:
            raise AssertionError(f"the daemon ended with status {status}:\n{output}")

    async def test_treq(self) -> None:
        """A client on Twisted that has a certificate is served."""
        agent = Agent(reactor, Presenting(self.authority, self.pair))
        response = await treq.get(
            f"https://localhost:{self.daemon.port}/v1/models", agent=agent, browser_like_redirects=False
        )
        self.assertEqual(200, response.code)
        self.assertIn(b"Qwen", await treq.content(response))
        await deferLater(reactor, 0)
        # What Twisted says about its own use of pyOpenSSL.
        self.flushWarnings()

    @skipUnless(shutil.which("openssl"), "needs openssl")
    def test_openssl(self) -> None:
        """OpenSSL's own client speaks TLS 1.3 and believes the server; TLS 1.1, and no certificate, are refused."""

        def ask(*words: str) -> str:
            server = f"127.0.0.1:{self.daemon.port}"
            done = subprocess.run(
                ["openssl", "s_client", "-brief", "-connect", server, "-CAfile", str(self.authorities), *words],
                input=b"GET /health HTTP/1.0\r\n\r\n",
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            return (done.stdout + done.stderr).decode()

        own = ("-cert", self.client[0], "-key", self.client[1])
        said = ask(*own, "-ign_eof")
        self.assertIn("Protocol version: TLSv1.3", said)
        self.assertIn("Verification: OK", said)
        self.assertIn("200 OK", said)
        self.assertIn("certificate required", ask("-ign_eof"))
        self.assertIn("protocol version", ask(*own, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"))

    def test_others(self) -> None:
        """Who speaks HTTP, nonsense or nothing is no matter for the log, nor for the others."""
        for said in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00\xff" * 1000, b""):
            with socket.create_connection(("127.0.0.1", self.daemon.port), PATIENCE) as connection:
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(1 << 16)
            self.assertEqual(said.startswith(b"GET"), answer.startswith(b"HTTP/1.1 400 "))
        context = believing(self.authority.pem, pair=self.client)
        with handshake(self.daemon.port, context) as connection:
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            self.assertIn(b"200 OK", connection.recv(1000))


class OwnDaemonTestCase(DaemonTestCase):
    """Tests that start what they need."""

    @classmethod
    def setUpClass(cls) -> None:
        """Start no daemon for all of them."""


class SupervisedTests(OwnDaemonTestCase):
    """Ranks that have a process each."""

    def test_required(self) -> None:
        """Their supervisor is let in where every client needs a certificate, and passes SIGHUP on to them."""
        folder, authority = Path(mkdtemp()), Authority()
        self.addCleanup(shutil.rmtree, folder)
        certificate, key = authority.issue().write(folder)
        authorities = folder / "authorities.pem"
        authorities.write_bytes(authority.pem)
        port = free_port(3)
        files = ("--ssl-certfile", certificate, "--ssl-keyfile", key, "--ssl-ca-certs", str(authorities))
        ranks = (
            "-dpm",
            "-dp",
            "2",
            "--data-parallel-supervisor-port",
            str(port + 2),
            "--no-enable-ssl-refresh",
            "--dp-supervisor-probe-interval-s",
            "0.2",
        )
        daemon = self.start(*files, "--ssl-cert-reqs", "2", *ranks, port=port)
        for number in range(2):
            until(partial(daemon_says, daemon, f"Rank {number} is well"), daemon.output)
        second = authority.issue("second")
        second.write(folder)
        daemon.process.send_signal(signal.SIGHUP)
        context = believing(authority.pem, pair=authority.issue("client").write(folder, "client"))
        for each in (port, port + 1):
            until(partial(shows, second, each, context), daemon.output)
        self.assertEqual(0, daemon.stop())


class RefusalTests(OwnDaemonTestCase):
    """What keeps it from starting: one line, status 1, and nothing half started."""

    def setUp(self) -> None:
        """Have a certificate in files."""
        self.folder = Path(mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.authority = Authority()
        self.pair = self.authority.issue()
        self.certificate, self.key = self.pair.write(self.folder)

    def refused(self, *words: str, by: Sequence[str] = ()) -> str:
        """Start a daemon that must not start.

        :param by: the command that starts it.
        :return: the line that it said, without how it begins.
        """
        port = free_port()
        program = [*by, str(Path(sys.executable).with_name("vllmsim")), "--host", "127.0.0.1", "--port", str(port)]
        done = subprocess.run(
            [*program, "--seed", "1", *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
        said = done.stdout + done.stderr
        lines = [line for line in said.splitlines() if "vllmsim: " in line]
        self.assertEqual((1, 1), (done.returncode, len(lines)), said)
        self.assertIn("vllmsim: cannot listen on ", lines[0])
        self.assertEqual([False] * 3, [word in said for word in ("Traceback", "Starting vLLM", "Rank 0")])
        return lines[0].rpartition("backlog=2048': ")[2]

    def with_pair(self, *further: str, by: Sequence[str] = ()) -> str:
        """Start one with the certificate."""
        return self.refused("--ssl-certfile", self.certificate, "--ssl-keyfile", self.key, *further, by=by)

    def test_keys(self) -> None:
        """A key that cannot be read, needs another passphrase, or belongs to another certificate."""
        Path(self.key).unlink()
        self.assertEqual(f"cannot read the private key {self.key!r}: No such file or directory", self.with_pair())
        Path(self.key).write_bytes(self.pair.encrypted("right"))
        self.assertEqual(f"the private key in {self.key!r} is encrypted, and no passphrase is given", self.with_pair())
        expected = f"the passphrase does not open the private key in {self.key!r}"
        self.assertEqual(expected, self.with_pair("--ssl-keyfile-password", "wrong"))
        Path(self.key).write_bytes(self.authority.issue().key_pem)
        expected = f"the private key in {self.key!r} is not that of the certificate in {self.certificate!r}"
        self.assertEqual(expected, self.with_pair())

    @skipUnless(os.geteuid() or shutil.which("setpriv"), "nothing is forbidden to root")
    def test_forbidden(self) -> None:
        """A key that may not be read."""
        Path(self.key).chmod(0)
        bounded = () if os.geteuid() else ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
        said = self.with_pair(by=bounded)
        self.assertEqual(f"cannot read the private key {self.key!r}: Permission denied", said)

    def test_expired(self) -> None:
        """A certificate that has expired."""
        now = time.time()
        self.authority.issue(begins=now - 2 * DAY, ends=now - DAY, key=self.pair.key).write(self.folder)
        self.assertRegex(self.with_pair(), f"^the certificate in {self.certificate!r} has expired: it was valid until")

    def test_once(self) -> None:
        """With a process for each rank it is one line too, and none of them is started."""
        key = rsa.generate_private_key(65537, 2048)
        Path(self.key).write_bytes(Pair(self.pair.certificate, key).key_pem)
        self.assertIn("is not that of the certificate", self.with_pair("-dpm", "-dp", "2"))

    def test_port(self) -> None:
        """A port that is taken."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            shown = self.folder / "shown.pem"
            words = (
                "--port",
                str(taken.getsockname()[1]),
                "--self-signed-certs",
                "--self-signed-cert-file",
                str(shown),
            )
            self.assertIn("Address already in use", self.refused(*words))
            self.assertFalse(shown.exists())


class SelfSignedTests(OwnDaemonTestCase):
    """Certificates that are made at the start."""

    def test_curl(self) -> None:
        """Clients who are given the file believe the server, by name and by address."""
        folder = Path(mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        shown = folder / "shown.pem"
        daemon = started(self.start("--self-signed-certs", "--self-signed-cert-file", str(shown)))
        context = ssl.create_default_context(cafile=str(shown))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        for name in ("localhost", "127.0.0.1"):
            connection = socket.create_connection(("127.0.0.1", daemon.port), PATIENCE)
            with context.wrap_socket(connection, server_hostname=name) as secured:
                self.assertEqual("TLSv1.3", secured.version())
        self.assertIn(f"Starting vLLM server on https://127.0.0.1:{daemon.port}", daemon.output())
        if shutil.which("curl") is not None:
            url = f"https://localhost:{daemon.port}/health"
            done = subprocess.run(["curl", "-sS", "--cacert", shown, url], capture_output=True, check=False)
            self.assertEqual(b"{}", done.stdout, done.stderr)
