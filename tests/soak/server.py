"""The daemon that is put under load: as many of its parts at work as one configuration has room for."""

import json
import os
import signal
import ssl
import time
from pathlib import Path
from shutil import which
from subprocess import DEVNULL, Popen
from typing import Any, Final

from attrs import define, field

from tests.integration.daemon import PATIENCE, ROOT, Daemon, free_port
from tests.tls.client import believing

RANKS: Final = 2
CONFIGURATION: Final[dict[str, Any]] = {
    "model": "base",
    "max-model-len": 2048,
    "data-parallel-size": RANKS,
    "data-parallel-internal-lb": True,
    "max-num-seqs": 24,
    "max-waiting-queue-length": 48,
    "time-to-first-token": "80ms",
    "time-to-first-token-std-dev": "20ms",
    "inter-token-latency": "12ms",
    "inter-token-latency-std-dev": "3ms",
    "max-loras": 2,
    "max-cpu-loras": 4,
    "lora-load-time": "40ms",
    "enable-kvcache": True,
    "kv-cache-size": 2048,
    "kv-cache-metrics": True,
    "event-high-water-mark": 1000,
    "kv-events-replay-queue-size": 2048,
    "enable-sleep-mode": True,
    "enable-server-load-tracking": True,
    "enable-prompt-tokens-details": True,
    "enable-responses-store": True,
    "max-stored-responses": 200,
    "journal-body-bytes": 256,
    "log-format": "text",
    "middleware": ["census"],
    "seed": 7,
}
SECURE: Final[dict[str, Any]] = {
    **{name: CONFIGURATION[name] for name in ("model", "max-model-len", "max-num-seqs", "middleware", "seed")},
    "tokenizer": "builtin",
    "mode": "echo",
    "time-to-first-token": "50ms",
    "inter-token-latency": "8ms",
    "reasoning-parser": "qwen3",
    "scheduling-policy": "priority",
    "stream-interval": 3,
    "max-loras": 2,
    "journal-size": 200,
    "enable-server-load-tracking": True,
    "self-signed-certs": True,
}
"""Another server, over TLS: one rank, real tokens, reasoning."""
_PLUGIN: Final = Path(__file__).with_name("plugin")


@define(eq=False)
class Server:
    """A running daemon, and the Redis that it shares blocks through if there is one on this machine.

    :param folder: where all its files are.
    :param secure: whether it is the one over TLS, which has no KV cache.
    """

    folder: Path
    secure: bool = False
    redis: Popen[bytes] | None = field(init=False, default=None)
    daemon: Daemon = field(init=False)
    configuration: dict[str, Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start both."""
        self.configuration = {**(SECURE if self.secure else CONFIGURATION), "request-log": str(self.request_log)}
        if not self.secure:
            self._cache()
        self.configure({})
        folders = os.pathsep.join(map(str, (ROOT, _PLUGIN)))
        self.daemon = Daemon("--config", str(self.folder / "sim.yaml"), variables={"PYTHONPATH": folders})
        begun = time.monotonic()
        while "startup complete" not in self.daemon.output():
            if self.daemon.process.poll() is not None or time.monotonic() - begun > PATIENCE:
                raise AssertionError(self.daemon.output())
            time.sleep(0.05)

    def _cache(self) -> None:
        self.configuration["zmq-endpoint"] = self.events("{rank}")
        self.configuration["kv-events-replay-endpoint"] = f"tcp://127.0.0.1:{free_port(RANKS)}"
        if which("redis-server"):
            path = self.folder / "redis.sock"
            command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--maxmemory", "64mb"]
            self.redis = Popen([*command, "--maxmemory-policy", "allkeys-lru"], stdout=DEVNULL, cwd=self.folder)
            self.configuration["kv-cache-backend"] = f"unix://{path}"

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What its clients believe: any certificate; None where it speaks cleartext."""
        return believing() if self.secure else None

    @property
    def request_log(self) -> Path:
        """Where requests are logged."""
        return self.folder / "requests.jsonl"

    def events(self, rank: object) -> str:
        """Say where KV events of a rank are published."""
        return f"ipc://{self.folder}/events-{rank}"

    def replay(self, rank: int) -> str:
        """Say where those that were missed can be had."""
        address, _, port = self.configuration["kv-events-replay-endpoint"].rpartition(":")
        return f"{address}:{int(port) + rank}"

    def configure(self, changes: dict[str, Any]) -> None:
        """Write the configuration file anew."""
        path = self.folder / "sim.yaml"
        new = path.with_suffix(".new")
        new.write_text(json.dumps({**self.configuration, **changes}))
        new.replace(path)

    def reload(self) -> None:
        """Have the daemon read it."""
        os.kill(self.daemon.process.pid, signal.SIGHUP)

    def stop(self) -> int:
        """Stop both.

        :return: the daemon's exit status.
        """
        try:
            return self.daemon.stop()
        finally:
            if self.redis is not None:
                self.redis.terminate()
                self.redis.wait()
