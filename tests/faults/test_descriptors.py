"""Too many connections for the limit of open files: clients wait, and all else goes on."""

import socket
from typing import Final

from tests.faults.case import TWISTD, FaultTestCase, figure
from tests.faults.clients import FULL, Client, request, share_of_cpu, tally
from tests.folders import make_folder
from tests.integration.daemon import until

_LIMIT: Final = 200
_CLIENTS: Final = 5000 if FULL else 600
_SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


class DescriptorTests(FaultTestCase):
    """A daemon that may open few files."""

    def test_crowd(self) -> None:
        """A crowd of clients waits, and is served when others leave; who is in can have everything meanwhile."""
        log = make_folder(self) / "requests.jsonl"
        program = ["sh", "-c", f'ulimit -n {_LIMIT}; exec "$@"', "sh", *TWISTD, "vllmsim"]
        words = ("--inter-token-latency", "10ms", "--request-log", str(log), "--tokenizer", "builtin")
        daemon = self.start(*words, program=program)
        daemon.wait()
        inside = Client(daemon.port)
        self.addCleanup(inside.connection.close)
        long = {"prompt": "a", "ignore_eos": True, "max_tokens": 500, "stream": True}
        stream = Client(daemon.port).send(request("/v1/completions", long, close=True))
        self.addCleanup(stream.connection.close)
        stream.read_some()
        crowd = [self.come(daemon.port) for _ in range(_CLIENTS)]
        until(lambda: "RLIMIT_NOFILE" in daemon.output())
        busy = share_of_cpu(daemon.process.pid, 2)
        self.assertLess(busy, 0.5)
        most = daemon.descriptors()
        self.assertLess(most, _LIMIT)
        # What is imported and opened when it is wanted.
        shape = {"type": "json_schema", "json_schema": {"name": "a", "schema": _SCHEMA}}
        asked = [
            request("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "response_format": shape}),
            request("/tokenize", {"prompt": "a b"}),
            request("/v1/embeddings", {"input": "a"}),
            request("/openapi.json"),
            request("/metrics"),
            request("/admin/config", {"time-to-first-token": "1ms"}),
            request("/v1/completions", {"prompt": "a", "max_tokens": 3}),
        ]
        inside.send(*asked)
        inside.begin(request("/ping", close=True)).read_to_end()
        self.assertEqual({"whole": len(asked)}, tally([inside]), inside.received)
        until(lambda: len(log.read_text().splitlines()) > 1)
        # Each leaves when it is served, and makes room for another.
        for each in crowd:
            each.setblocking(True)
            each.sendall(request("/v1/completions", {"prompt": "a", "max_tokens": 1}, close=True))
        answers = [self.read(each) for each in crowd]
        self.assertEqual(_CLIENTS, sum(b"200 OK" in answer for answer in answers))
        self.assertEqual({"whole": 1}, tally([stream.read_to_end()]))
        self.served(daemon, 10)
        output = self.ended(daemon)
        self.assertEqual(1, output.count("RLIMIT_NOFILE"))
        self.assertNotIn("EMFILE", output)
        self.assertNotIn("Too many open files", output)
        figure(
            f"descriptors: {_CLIENTS} clients at a limit of {_LIMIT} files: {most} open, {busy:.0%} of a processor,"
            f" one line in the log, all served in the end"
        )

    def come(self, port: int) -> socket.socket:
        """Connect, whether or not anybody takes the connection."""
        connection = socket.socket()
        self.addCleanup(connection.close)
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        return connection

    def read(self, connection: socket.socket) -> bytes:
        """Read to the end."""
        connection.settimeout(60)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        connection.close()
        return answer
