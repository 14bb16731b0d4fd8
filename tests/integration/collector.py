"""A collector: takes spans as OTLP over HTTP or over gRPC, and keeps them."""

import gzip
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import frozen
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.daemon import PATIENCE


@frozen
class Received:
    """One span.

    :param resource: the attributes of who made it.
    :param attributes: its own.
    :param trace_id: in hexadecimal digits, as the others.
    :param parent_id: empty for none.
    """

    name: str
    resource: dict[str, Any]
    attributes: dict[str, Any]
    trace_id: str
    span_id: str
    parent_id: str
    events: list[str]
    status: str


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _read(request: Any) -> list[Received]:
    return [
        Received(
            span.name,
            _attributes(of_resource.resource.attributes),
            _attributes(span.attributes),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            [event.name for event in span.events],
            span.status.message,
        )
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


class Collector:
    """Keeps spans.

    :param status: what it answers over HTTP.
    """

    def __init__(self, status: int = 200) -> None:
        self.spans: list[Received] = []
        self.paths: list[str] = []
        self.requests = 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                body = handler.rfile.read(int(handler.headers["Content-Length"]))
                if handler.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                self.requests += 1
                self.paths.append(handler.path)
                if status == 200:
                    self.spans += _read(ExportTraceServiceRequest.FromString(body))
                handler.send_response(status)
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()


class GrpcCollector:
    """Keeps spans that come over gRPC."""

    def __init__(self) -> None:
        import grpc  # noqa: PLC0415 - few tests need it
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc  # noqa: PLC0415

        self.spans: list[Received] = []

        class Service(trace_service_pb2_grpc.TraceServiceServicer):
            def Export(service, request: Any, context: Any) -> Any:
                self.spans += _read(request)
                return trace_service_pb2.ExportTraceServiceResponse()

        self._server: Any = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), self._server)
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        """Take no more."""
        self._server.stop(0)


class HangingCollector:
    """Accepts connections and says nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Be gone."""
        self._socket.close()


def await_(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    begin = time.monotonic()
    while not is_so():
        if time.monotonic() - begin > PATIENCE:
            raise AssertionError("it took too long")
        time.sleep(0.02)
