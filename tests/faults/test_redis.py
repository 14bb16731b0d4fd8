"""A Redis that does not do as it should, in every way that there is."""

import time
from collections.abc import Mapping
from functools import partial
from itertools import count
from unittest import skipUnless

from tests.faults.case import figure
from tests.faults.clients import FULL
from tests.faults.neighbour import Behaviour, Neighbour, closing, dripping, endless, garbage, saying, silent
from tests.integration.test_shared_cache import BACK, GONE, SERVER, SharingTestCase

TIMEOUT = 0.2
"""Seconds that requests may wait for Redis."""
SLACK = 5.0
"""Seconds more than that which a request may take on a busy machine."""
FAULTS: Mapping[str, Behaviour] = {
    "garbage": garbage,
    "LOADING": saying(b"-LOADING Redis is loading the dataset in memory\r\n"),
    "endless": partial(endless, head=b"$1000000000000\r\n"),
    "silent": silent,
    "OOM": saying(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
    "closing": closing,
    "READONLY": saying(b"-READONLY You can't write against a read only replica.\r\n"),
    "NOAUTH": saying(b"-NOAUTH Authentication required.\r\n"),
    "MOVED": saying(b"-MOVED 3999 127.0.0.1:6381\r\n"),
    "unasked": saying(b"+PONG\r\n" * 1000),
    "other": saying(b":7\r\n"),
    "nothing": saying(b"$-1\r\n"),
    "deep": saying(b"*1\r\n" * 100_000),
    "negative": saying(b"$-7\r\n*-9\r\n"),
    "no number": saying(b"$x\r\n"),
    "slow": partial(dripping, head=b"$1000\r\n"),
    "HTTP": saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}
"""What it does; those that come first are tried where there is no time for all."""
SOME = 4


class RedisTests(SharingTestCase):
    """One daemon whose Redis behaves in many ways, one after the other."""

    @skipUnless(SERVER, "needs redis-server")
    def test_faults(self) -> None:
        """Whatever it does, requests go on and memory stays; two lines tell of it, and hits come back with it."""
        names = list(FAULTS)[: None if FULL else SOME]
        neighbour = Neighbour(silent)
        self.addCleanup(neighbour.close)
        daemon = self.share(f"redis://127.0.0.1:{neighbour.port}", timeout=f"{TIMEOUT}s")
        daemon.wait()
        self.complete(daemon, self.prompt(400))
        resident, before, asked = daemon.resident(), daemon.descriptors(), count()
        for name in names:
            neighbour.become(FAULTS[name])
            while not neighbour.met:
                self.complete(daemon, self.prompt(400))
                next(asked)
            for _ in range(300 if FULL else 20):
                self.complete(daemon, self.prompt(400))
                next(asked)
        growth = daemon.resident() - resident
        self.assertLess(growth, 64 << 10)
        self.assertLess(self.slowest, TIMEOUT + SLACK)
        neighbour.close()
        redis = self.redis(port=neighbour.port)
        self.up(daemon)
        prompt = self.prompt(33)
        keys = redis.keys()
        self.complete(daemon, prompt)
        self.written(redis, keys + 2)
        other = self.share(redis)
        self.up(other)
        self.assertEqual(32, self.complete(other, prompt))
        self.assertLess(daemon.descriptors(), before + 3)
        lines = [line for line in daemon.output().splitlines() if GONE in line or BACK in line]
        # One that does not want us is told once more, and some of the later ones look for a while as if all were well.
        self.assertLess(len(lines), 4 + 2 * len(names[SOME:]), lines)
        self.assertIn(BACK, lines[-1])
        begin = time.monotonic()
        self.assertEqual(0, daemon.stop())
        self.assertNotIn("Traceback", daemon.output())
        figure(
            f"Redis with {len(names)} faults: {next(asked)} requests served, the slowest {self.slowest:.2f} s with"
            f" {TIMEOUT} s allowed, resident {growth:+} KiB, {len(lines)} lines logged, stopped in"
            f" {time.monotonic() - begin:.1f} s"
        )
