"""Servers that share KV blocks through a real Redis server."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any
from unittest import skipUnless

from tests.integration.daemon import PATIENCE, ROOT, Daemon, DaemonsTestCase, free_port, until

SERVER = shutil.which("redis-server") or shutil.which("valkey-server")
WORDS = ("--model", "m1", "--enable-kvcache", "--enable-prompt-tokens-details", "--max-num-seqs", "64")
GONE = "Sharing no KV blocks until"
BACK = "Sharing KV blocks through"


class RedisServer:
    """A Redis server of our own.

    :param words: its command line.
    """

    def __init__(self, *words: str, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        command = [str(SERVER), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *words]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def wait(self) -> "RedisServer":
        """Wait until it serves."""
        until(self._serves, "served by Redis")
        return self

    def _serves(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except OSError:
            return False

    def ask(self, *words: str | int) -> bytes:
        """Send a command.

        :return: the answer as it comes, without its end.
        """
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            data = b"".join(b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()) for word in map(str, words))
            connection.sendall(b"*%d\r\n" % len(words) + data)
            return connection.recv(1 << 16).strip()

    def keys(self) -> int:
        """Count what it has."""
        return int(self.ask("DBSIZE")[1:])

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """Kill it. Harmless when it is dead."""
        self._process.kill()
        self._process.wait()


class SharingTestCase(DaemonsTestCase):
    """Tests with servers and a Redis of their own."""

    numbers = count()

    def redis(self, *words: str, port: int | None = None) -> RedisServer:
        """Start a Redis server."""
        server = RedisServer(*words, port=port)
        self.addCleanup(server.stop)
        return server.wait()

    def share(self, address: str | RedisServer, *words: str, timeout: str = "2s") -> Daemon:
        """Start a daemon that shares blocks.

        :param timeout: how long requests wait for Redis; a busy machine may take a while.
        """
        if isinstance(address, RedisServer):
            address = f"redis://127.0.0.1:{address.port}"
        return self.start(*WORDS, "--kv-cache-backend", address, "--kv-cache-backend-timeout", timeout, *words)

    def up(self, *daemons: Daemon) -> None:
        """Wait until daemons share."""
        for daemon in daemons:
            daemon.wait()
            until(lambda: self.metric(daemon, "vllmsim:kv_backend_up") == 1, "up")  # noqa: B023

    def metric(self, daemon: Daemon, name: str) -> float:
        """Sum the samples of a name, labels or not."""
        lines = daemon.get("/metrics").decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def complete(self, daemon: Daemon, prompt: list[int] | list[list[int]], **fields: Any) -> int:
        """Complete a prompt, which may not take seconds.

        :return: how many of its tokens were cached.
        """
        begin = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE)
        try:
            body = json.dumps({"prompt": prompt, "max_tokens": 1, **fields})
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        self.slowest = max(getattr(self, "slowest", 0.0), time.monotonic() - begin)
        self.assertEqual(200, response.status, answer)
        return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])

    def prompt(self, tokens: int) -> list[int]:
        """Make a prompt that nobody has seen."""
        return [1000 + next(self.numbers), *range(3, tokens + 2)]

    def written(self, redis: RedisServer, keys: int) -> None:
        """Wait until so many blocks are in the server."""
        until(lambda: redis.keys() == keys, f"{keys} blocks, but {redis.keys()}")

    def said(self, daemon: Daemon, text: str, times: int = 1) -> None:
        """Wait until the log has a text so often."""
        until(lambda: daemon.output().count(text) == times, f"{times} of {text!r} in {daemon.output()}")


@skipUnless(SERVER, "needs redis-server")
class SharingTests(SharingTestCase):
    """What one server has computed, another finds."""

    def test_hits(self) -> None:
        """The second server has the prompt from outside, counts it as external, and has it itself afterwards."""
        redis = self.redis()
        first, second = self.share(redis), self.share(redis)
        self.up(first, second)
        prompt = self.prompt(100)
        self.assertEqual(0, self.complete(first, prompt))
        self.written(redis, 6)
        self.assertEqual(96, self.complete(second, prompt))
        self.assertEqual(96, self.complete(second, prompt))
        counts = {
            "vllm:external_prefix_cache_queries_total": 104,
            "vllm:external_prefix_cache_hits_total": 96,
            "vllm:prefix_cache_hits_total": 96,
            "vllm:prompt_tokens_cached_total": 192,
            "vllmsim:kv_backend_errors_total": 0,
            "vllmsim:kv_backend_dropped_blocks_total": 0,
        }
        self.assertEqual(counts, {name: self.metric(second, name) for name in counts})
        sources = second.get("/metrics").decode()
        for source, tokens in (("local_compute", 8), ("local_cache_hit", 96), ("external_kv_transfer", 96)):
            line = f'prompt_tokens_by_source_total{{engine="0",model_name="m1",source="{source}"}} {tokens}.0'
            self.assertIn(line, sources)
        for daemon in (first, second):
            self.assertEqual(0, daemon.stop())
            self.assertEqual((1, 0), (daemon.output().count(BACK), daemon.output().count(GONE)))
            self.assertNotIn("Traceback", daemon.output())

    def test_kinds(self) -> None:
        """Servers of other models and block sizes share nothing; under other names they do."""
        redis = self.redis()
        first = self.share(redis)
        others = [
            self.share(redis, *words)
            for words in (
                ("--served-model-name", "m2"),
                ("--model", "m2"),
                ("--block-size", "32"),
            )
        ]
        self.up(first, *others)
        prompt = self.prompt(100)
        self.complete(first, prompt)
        self.written(redis, 6)
        self.assertEqual([96, 0, 0], [self.complete(other, prompt) for other in others])

    def test_long(self) -> None:
        """A prompt of thousands of blocks is shared whole."""
        redis = self.redis()
        first, second = (self.share(redis, "--max-model-len", "50000", "--kv-cache-size", "4000") for _ in range(2))
        self.up(first, second)
        prompt = self.prompt(48001)
        self.complete(first, prompt)
        self.written(redis, 3000)
        self.assertEqual(48000, self.complete(second, prompt))

    def test_time_to_live(self) -> None:
        """Blocks that nobody asks for run out; those that somebody asks for do not."""
        redis = self.redis()
        first, second = self.share(redis, "--kv-cache-backend-ttl", "2s"), self.share(redis)
        self.up(first, second)
        kept, left = self.prompt(33), self.prompt(33)
        self.complete(first, kept)
        self.complete(first, left)
        self.written(redis, 4)
        for _ in range(8):
            time.sleep(0.5)
            self.complete(first, kept)
        self.assertEqual(2, redis.keys())
        self.assertEqual([32, 0], [self.complete(second, prompt) for prompt in (kept, left)])

    def test_emptied(self) -> None:
        """When somebody empties Redis, servers write what it lacks as soon as they notice."""
        redis = self.redis()
        first, second = self.share(redis), self.share(redis)
        self.up(first, second)
        prompt = self.prompt(33)
        self.complete(first, prompt)
        self.written(redis, 2)
        redis.ask("FLUSHALL")
        self.assertEqual(32, self.complete(first, [*prompt, *prompt]))
        self.written(redis, 4)
        self.assertEqual(32, self.complete(second, prompt))

    def test_reset(self) -> None:
        """The cache outside is emptied when that is asked for, of all that is of one kind, and not before."""
        redis = self.redis()
        first, second, other = self.share(redis), self.share(redis), self.share(redis, "--block-size", "32")
        self.up(first, second, other)
        prompt = self.prompt(1001)
        self.complete(first, prompt)
        self.complete(other, prompt)
        blocks = len(prompt) // 16
        self.written(redis, blocks + len(prompt) // 32)
        for path, left in (("/reset_prefix_cache", blocks), ("/reset_prefix_cache?reset_external=true", 0)):
            connection = http.client.HTTPConnection("127.0.0.1", first.port, timeout=PATIENCE)
            connection.request("POST", path)
            self.assertEqual(b'{"success":true}', connection.getresponse().read())
            connection.close()
            self.assertEqual(left + len(prompt) // 32, redis.keys())
        self.assertEqual(0, self.complete(second, prompt))

    def test_addresses(self) -> None:
        """A socket, a database and a password are found in an address; the password is not in the log."""
        with TemporaryDirectory() as folder:
            path = str(Path(folder) / "redis.sock")
            redis = self.redis("--unixsocket", path)
            redis.ask("CONFIG", "SET", "requirepass", "geheim")
            first = self.share(f"unix://:geheim@{path}?db=3")
            second = self.share(f"valkey://default:geheim@localhost:{redis.port}/3")
            self.up(first, second)
            prompt = self.prompt(33)
            self.complete(first, prompt)
            until(lambda: self.metric(first, "vllm:prompt_tokens_total") == 33, "served")
            time.sleep(0.3)
            self.assertEqual(32, self.complete(second, prompt))
            for daemon in (first, second):
                self.assertEqual(0, daemon.stop())
                self.assertNotIn("geheim", daemon.output())

    @skipUnless(shutil.which("openssl"), "needs openssl")
    def test_tls(self) -> None:
        """Over TLS the certificate must be the server's, and from an authority that is trusted."""
        with TemporaryDirectory() as folder:
            key, certificate = (str(Path(folder) / name) for name in ("key.pem", "certificate.pem"))
            made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
            made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
            subprocess.run(made, check=True, capture_output=True)
            port = free_port()
            files = "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"
            redis = self.redis("--tls-port", str(port), *files)
            strange = self.share(f"rediss://localhost:{port}")
            self.patch(os, "environ", {**os.environ, "SSL_CERT_FILE": certificate})
            daemon, other = self.share(f"rediss://localhost:{port}"), self.share(f"valkeys://127.0.0.1:{port}")
            self.up(daemon)
            self.complete(daemon, self.prompt(33))
            self.written(redis, 2)
            for each in (strange, other):
                each.wait()
                self.said(each, GONE)
                self.assertEqual(0, self.metric(each, "vllmsim:kv_backend_up"))
            self.assertIn("certificate verify failed", strange.output())

    @skipUnless(shutil.which("curl"), "needs curl")
    def test_the_example(self) -> None:
        """The example shows it."""
        redis = self.redis()
        daemons = [self.share(redis) for _ in range(2)]
        self.up(*daemons)
        script = str(ROOT / "examples" / "shared_cache.sh")
        done = subprocess.run([script, *(daemon.url() for daemon in daemons)], capture_output=True, check=True)
        said = done.stdout.decode()
        for text in (
            '"cached_tokens":0',
            '"cached_tokens":96',
            "hits_total{",
            "kv_backend_up{",
            "external_kv_transfer",
        ):
            self.assertIn(text, said)


@skipUnless(SERVER, "needs redis-server")
class TroubleTests(SharingTestCase):
    """Servers go on with their own caches."""

    def load(self, daemon: Daemon) -> Callable[[], int]:
        """Send requests until the function that is returned is called, which counts them."""
        over, failures, served = Event(), list[BaseException](), count()

        def run() -> None:
            while not over.is_set():
                try:
                    self.complete(daemon, self.prompt(40))
                    next(served)
                except BaseException as error:  # noqa: BLE001 - the test is told
                    failures.append(error)
                    return

        threads = [Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()

        def end() -> int:
            over.set()
            for thread in threads:
                thread.join(PATIENCE)
            self.assertEqual([], failures)
            return next(served)

        self.addCleanup(over.set)
        return end

    def test_killed(self) -> None:
        """Redis is killed and comes back in the middle of a load: nobody fails or waits; blocks are shared again."""
        redis = self.redis()
        first = self.share(redis, timeout="500ms")
        self.up(first)
        end = self.load(first)
        time.sleep(0.5)
        redis.stop()
        self.said(first, GONE)
        time.sleep(1)
        self.assertEqual(0, self.metric(first, "vllmsim:kv_backend_up"))
        again = self.redis(port=redis.port)
        self.said(first, BACK, 2)
        self.assertGreater(end(), 50)
        self.assertLess(self.slowest, 1)
        second = self.share(again)
        self.up(second)
        prompt = self.prompt(33)
        before = again.keys()
        self.complete(first, prompt)
        self.written(again, before + 2)
        self.assertEqual(32, self.complete(second, prompt))
        self.assertEqual(1, first.output().count(GONE))
        self.assertGreater(self.metric(first, "vllmsim:kv_backend_dropped_blocks_total"), 0)
        self.assertEqual(0, first.stop())
        self.assertNotIn("Traceback", first.output())

    def test_stands_still(self) -> None:
        """A Redis that stands still delays those who wait by the time-out, and nobody after them."""
        redis = self.redis()
        first = self.share(redis, timeout="300ms")
        self.up(first)
        redis.signal(signal.SIGSTOP)
        self.addCleanup(redis.signal, signal.SIGCONT)
        self.complete(first, [self.prompt(40) for _ in range(20)])
        self.assertGreater(self.slowest, 0.3)
        self.assertLess(self.slowest, 1.3)
        self.slowest = 0.0
        for _ in range(5):
            self.complete(first, self.prompt(40))
        self.assertLess(self.slowest, 0.3)
        self.said(first, GONE)
        redis.signal(signal.SIGCONT)
        self.said(first, BACK, 2)
        self.assertEqual(1, first.output().count("no answer in 0.3 s"))

    def test_never_answers(self) -> None:
        """Something that takes connections and never says a word delays neither the start nor a request."""
        with socket.create_server(("127.0.0.1", 0)) as mute:
            daemon = self.share(f"redis://127.0.0.1:{mute.getsockname()[1]}", timeout="50ms")
            daemon.wait()
            for _ in range(5):
                self.complete(daemon, self.prompt(40))
            self.said(daemon, GONE)
            time.sleep(1.5)
            self.assertLess(self.slowest, 1)
            self.assertEqual(1, daemon.output().count(GONE))
            self.assertEqual(0, daemon.stop())
            self.assertNotIn("Traceback", daemon.output())

    def test_password(self) -> None:
        """A Redis that does not want the password is tried again; when it does, blocks are shared."""
        redis = self.redis()
        redis.ask("CONFIG", "SET", "requirepass", "other")
        daemon = self.share(f"redis://:geheim@127.0.0.1:{redis.port}")
        daemon.wait()
        self.complete(daemon, self.prompt(40))
        self.said(daemon, "WRONGPASS")
        time.sleep(1)
        with socket.create_connection(("127.0.0.1", redis.port), PATIENCE) as connection:
            connection.sendall(b"AUTH other\r\nCONFIG SET requirepass geheim\r\n")
            self.said(daemon, BACK)
        self.assertEqual(1, daemon.output().count(GONE))
        self.assertNotIn("geheim", daemon.output())
        self.assertGreater(self.metric(daemon, "vllmsim:kv_backend_errors_total"), 1)

    def test_full(self) -> None:
        """A Redis that is full takes no more blocks, and still tells of those that it has."""
        redis = self.redis("--maxmemory-policy", "noeviction")
        first, second = self.share(redis), self.share(redis)
        self.up(first, second)
        prompt = self.prompt(33)
        self.complete(first, prompt)
        self.written(redis, 2)
        redis.ask("CONFIG", "SET", "maxmemory", "1")
        for _ in range(20):
            self.complete(first, self.prompt(40))
        self.said(first, "takes no blocks: OOM")
        self.assertEqual(32, self.complete(second, prompt))
        self.assertEqual(2, redis.keys())
        self.assertIn(b'kv_backend_errors_total{engine="0",model_name="m1",reason="full"}', first.get("/metrics"))
        self.assertGreater(self.metric(first, "vllmsim:kv_backend_errors_total"), 0)
        self.assertEqual(1, self.metric(first, "vllmsim:kv_backend_up"))
        time.sleep(1.1)
        redis.ask("CONFIG", "SET", "maxmemory", "0")
        self.complete(first, self.prompt(40))
        self.written(redis, 4)
        self.assertLess(self.slowest, 1)
