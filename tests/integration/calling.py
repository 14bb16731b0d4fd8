"""Calls over gRPC to a running daemon: with grpcio, and frame by frame with h2."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

# Before grpcio is there: processes are started beside it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from smg_grpc_proto import vllm_engine_pb2 as pb
from smg_grpc_proto import vllm_engine_pb2_grpc as stubs

from tests.http2client import Parting
from tests.integration.daemon import PATIENCE, Daemon, DaemonTestCase, until
from tests.tls.authority import Authority
from tests.tls.client import believing

ENGINE = "/vllm.grpc.engine.VllmEngine/"
MIB = 1 << 20


def prompt(ids: Iterable[int], **more: Any) -> pb.GenerateRequest:
    """Make a request of token ids; ``sampling`` has its sampling parameters."""
    sampling = pb.SamplingParams(**more.pop("sampling", {}))
    return pb.GenerateRequest(tokenized=pb.TokenizedInput(input_ids=ids), sampling_params=sampling, **more)


class CallingTestCase(DaemonTestCase):
    """Tests with a daemon that is called over cleartext.

    :cvar secure: whether over TLS instead.
    """

    secure: ClassVar[bool] = False
    authority: ClassVar[Authority]

    @classmethod
    def setUpClass(cls) -> None:
        """Start the daemon, with a certificate if it is to have one."""
        cls.authority = Authority()
        folder = Path(mkdtemp())
        cls.addClassCleanup(shutil.rmtree, folder)
        words = cls.words
        if cls.secure:
            certificate, key = cls.authority.issue().write(folder)
            words += ("--ssl-certfile", certificate, "--ssl-keyfile", key)
        cls.daemon = Daemon(*words)
        cls.addClassCleanup(cls._stop)
        cls.started(cls.daemon)

    @classmethod
    def started(cls, daemon: Daemon) -> Daemon:
        """Wait until it listens."""
        until(lambda: "startup complete" in daemon.output() or daemon.process.poll() is not None, daemon.output)
        if daemon.process.poll() is not None:
            raise AssertionError(daemon.output())
        return daemon

    def options(self) -> Sequence[tuple[str, Any]]:
        """Say what channels are like: each has connections of its own."""
        return ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 * MIB)

    def open(self, *options: tuple[str, Any], port: int | None = None, secure: bool | None = None) -> grpc.Channel:
        """Open a channel."""
        target = f"127.0.0.1:{port or self.daemon.port}"
        every = [*self.options(), *options]
        if self.secure if secure is None else secure:
            credentials = grpc.ssl_channel_credentials(self.authority.pem)
            channel = grpc.secure_channel(target, credentials, options=every)
        else:
            channel = grpc.insecure_channel(target, options=every)
        self.addCleanup(channel.close)
        return channel

    def engine(self, *options: tuple[str, Any], port: int | None = None) -> stubs.VllmEngineStub:
        """Open a channel to vLLM's service."""
        return stubs.VllmEngineStub(self.open(*options, port=port))

    def refused(self, code: grpc.StatusCode, function: Callable[..., Any], *arguments: Any, **more: Any) -> str:
        """Call what answers with a status.

        :return: its details.
        """
        more.setdefault("timeout", PATIENCE)
        with self.assertRaises(grpc.RpcError) as caught:
            answer = function(*arguments, **more)
            list(answer)
        error: Any = caught.exception
        self.assertEqual(code, error.code(), error.details())
        return str(error.details())

    def fetch(self, path: str) -> bytes:
        """Get a path over HTTP/1.1, on the same port."""
        with self.connect() as connection:
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            answer = b""
            while piece := connection.recv(1 << 16):
                answer += piece
        return answer.partition(b"\r\n\r\n")[2]

    def connect(self, *protocols: str) -> socket.socket:
        """Open a connection, over TLS if the daemon speaks that.

        :param protocols: what is offered in the handshake.
        """
        connection = socket.create_connection(("127.0.0.1", self.daemon.port), PATIENCE)
        if self.secure:
            context = believing(self.authority.pem)
            if protocols:
                context.set_alpn_protocols(list(protocols))
            connection = context.wrap_socket(connection, server_hostname="127.0.0.1")
        self.addCleanup(connection.close)
        return connection

    def gauges(self) -> dict[str, float]:
        """Read the gauges of what is going on: all are 0 at rest."""
        found = {}
        for line in self.fetch("/metrics").decode().splitlines():
            name = line.partition("{")[0]
            if name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"):
                found[name.partition(":")[2]] = float(line.rpartition(" ")[2])
        return found

    def running(self) -> int:
        """Tell how many sequences run."""
        return int(self.gauges()["num_requests_running"])

    def rest(self) -> None:
        """Wait until nothing goes on any more."""
        until(lambda: not any(self.gauges().values()), lambda: str(self.gauges()))

    def journal(self, query: str = "") -> list[dict[str, Any]]:
        """Read what requests came."""
        listed: list[dict[str, Any]] = json.loads(self.fetch(f"/admin/requests?{query}"))["requests"]
        return listed


class Wire:
    """An HTTP/2 client that sends what it is told to.

    :param connection: is open.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.h2 = H2Connection(
            H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
        )
        self.h2.initiate_connection()
        self.headers: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self._parting = Parting()
        self.closed = False
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent."""
        self.socket.sendall(self.h2.data_to_send())

    def call(self, path: str, body: bytes | None, **headers: str) -> int:
        """Begin a stream.

        :param body: what it sends; None leaves it open.
        :return: its number.
        """
        fields = {
            ":method": "POST", ":scheme": "http", ":path": path, ":authority": "x",
            "content-type": "application/grpc", "te": "trailers",
        } | {name.replace("_", "-"): value for name, value in headers.items()}  # fmt: skip
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, list(fields.items()), end_stream=body == b"")
        self.flush()
        while body:
            size = min(len(body), self.h2.max_outbound_frame_size, self.h2.local_flow_control_window(number))
            self.h2.send_data(number, body[:size], end_stream=size == len(body))
            self.flush()
            body = body[size:]
            if body and not size:
                self.read()
            if number in self.reset:
                break
        return number

    def read(self) -> bool:
        """Take what has come.

        :return: whether the connection is still open.
        """
        data = self.socket.recv(1 << 16)
        self.closed = not data
        for event in self.h2.receive_data(self._parting.without_goodbyes(data)) if data else ():
            if isinstance(event, ResponseReceived | TrailersReceived):
                assert event.stream_id is not None
                self.headers.setdefault(event.stream_id, {}).update(dict(event.headers or ()))  # type: ignore[arg-type]
            elif isinstance(event, DataReceived):
                assert event.stream_id is not None
                self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + (event.data or b"")
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.ended.add(event.stream_id or 0)
            elif isinstance(event, StreamReset):
                self.reset[event.stream_id or 0] = int(event.error_code or 0)
        self.flush()
        return not self.closed

    @property
    def gone(self) -> int | None:
        """What the server's goodbye gave as the reason; None before there is one."""
        return self._parting.goodbyes[-1].code if self._parting.goodbyes else None

    def status(self, stream: int) -> tuple[int, str]:
        """Read until a stream has ended.

        :return: its status and what it says.
        """
        while stream not in self.ended and stream not in self.reset and self.read():
            pass
        found = self.headers.get(stream, {})
        return int(found.get("grpc-status", -1)), found.get("grpc-message", "")
