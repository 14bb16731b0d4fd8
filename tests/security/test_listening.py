"""The daemon listens where it was asked to, and nowhere else."""

import json
import re
import urllib.request

from tests.folders import make_folder
from tests.integration.daemon import PATIENCE, Daemon, DaemonsTestCase, free_port, until
from tests.security.sockets import family_of, listening

NOWHERE = "127.0.0.1:9"
"""Where nobody listens."""
SILENT = (
    *("--enable-kvcache", "--kv-cache-backend", f"redis://{NOWHERE}", "--zmq-endpoint", f"tcp://{NOWHERE}"),
    *("--kv-transfer-config", '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'),
    *("--otlp-traces-endpoint", f"http://{NOWHERE}/v1/traces", "--profiler-config", '{"profiler":"torch"}'),
    *("--tokenizer", "builtin", "--trust-request-chat-template", "--omni", "--enable-responses-store"),
    *("--fake-metrics", '{"running-requests":1}', "--config-watch", "1s", "--log-http", "--access-log"),
    *("--scenario", "etc/vllmsim/scenarios/slow-leak.yaml", "--lora-modules", "a=/a"),
)
"""What needs no place to listen."""
CHAT = {"messages": [{"role": "user", "content": "Hi"}], "chat_template": "{{ messages[0].content }}"}


class ListeningTests(DaemonsTestCase):
    """What the kernel tells of the daemon's processes."""

    def begin(self, *words: str, ports: int = 1) -> Daemon:
        """Start a daemon with room for ports behind its own, which words name by how far they are: ``{2}``."""
        port = free_port(ports)
        numbers = {f"{{{number}}}": str(port + number) for number in range(ports)}
        return self.start(*(re.sub(r"{\d+}", lambda match: numbers[match[0]], word) for word in words), port=port)

    def told(self, daemon: Daemon) -> set[str]:
        """See where it listens."""
        return listening(daemon.process.pid)

    def ports(self, daemon: Daemon, *numbers: int, host: str = "127.0.0.1") -> set[str]:
        """Name ports by how far they are behind the daemon's own."""
        return {f"tcp:{host}:{daemon.port + number}" for number in numbers}

    def test_default(self) -> None:
        """By default there is one port."""
        daemon = self.begin()
        daemon.wait()
        self.assertEqual(self.ports(daemon, 0), self.told(daemon))

    def test_everywhere(self) -> None:
        """Who asks for all interfaces has the ports there, and reads in the log once what that opens."""
        daemon = self.begin("--host", "0.0.0.0", ports=2)
        daemon.wait()
        self.assertEqual(self.ports(daemon, 0, host="0.0.0.0"), self.told(daemon))
        self.assertEqual(1, daemon.output().count("Whoever reaches this server from the network may use /admin/config"))

    def test_silent(self) -> None:
        """Nothing that goes out to others, or is done here, listens; neither do processes that requests bring about."""
        daemon = self.begin(*SILENT)
        daemon.wait()
        body = json.dumps(CHAT).encode()
        request = urllib.request.Request(daemon.url("/v1/chat/completions"), body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            self.assertEqual(200, answer.status)
        self.assertEqual(2, len(list(family_of(daemon.process.pid))), "the template's process")
        self.assertEqual(self.ports(daemon, 0), self.told(daemon))

    def test_ports(self) -> None:
        """Each port that is asked for is there, of each rank, at the host that is asked for."""
        daemon = self.begin(
            *("-dp", "2", "--grpc-port", "{2}", "--admin-endpoint", "{4}", "--enable-kvcache"),
            *("--zmq-endpoint", "tcp://*:{6}", "--kv-events-replay-endpoint", "tcp://127.0.0.1:{8}"),
            ports=10,
        )
        daemon.wait()
        public = self.ports(daemon, 6, 7, host="0.0.0.0")
        self.assertEqual(self.ports(daemon, 0, 1, 2, 3, 4, 5, 8, 9) | public, self.told(daemon))

    def test_one_port(self) -> None:
        """Ranks that share a port have no others."""
        daemon = self.begin("-dp", "3", "--data-parallel-internal-lb", "--self-signed-certs")
        until(lambda: "Starting vLLM server" in daemon.output(), "started")
        self.assertEqual(self.ports(daemon, 0), self.told(daemon))

    def test_processes(self) -> None:
        """Processes of ranks have their ports, the supervisor its own, and the links between them are no sockets."""
        daemon = self.begin("-dp", "2", "-dpm", "--data-parallel-supervisor-port", "{2}", ports=3)
        until(lambda: daemon.output().count("Starting vLLM server on") == 2, "started")
        self.assertEqual(3, len(list(family_of(daemon.process.pid))))
        self.assertEqual(self.ports(daemon, 0, 1, 2), self.told(daemon))

    def test_sockets(self) -> None:
        """With unix sockets there is no port at all, and only their owner may connect where that is asked for."""
        folder = make_folder(self)
        http, admin, events = (folder / name for name in ("http", "admin", "events"))
        daemon = self.begin(
            *("--uds", str(http), "--admin-endpoint", f"unix:{admin}:mode=600"),
            *("--enable-kvcache", "--zmq-endpoint", f"ipc://{events}"),
        )
        until(lambda: "Administrators are served" in daemon.output(), "started")
        self.assertEqual({f"unix:{path}" for path in (http, admin, events)}, self.told(daemon))
        self.assertEqual(0o600, admin.stat().st_mode & 0o777)
        self.assertRaises(OSError, daemon.get, "/health")
