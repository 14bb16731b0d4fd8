"""No secret is ever shown: not in logs, the journal, traces, metrics, answers, nor on command lines."""

import base64
import json
import os
import signal
import socket
from pathlib import Path

import grpc
import yaml

from tests.dataset.making import fill, row_of
from tests.folders import make_folder
from tests.integration.calling import CallingTestCase, prompt
from tests.integration.collector import Collector
from tests.integration.daemon import PATIENCE, Daemon, free_port, until
from tests.integration.test_processes import fetch
from tests.security.sockets import family_of

SECRET = "hunter2"
"""What every secret has in it."""
KEY, TENANT, ADMIN, NEW = (f"{name}-{SECRET}" for name in ("key", "tenant", "admin", "new"))
CONFIGURATION = {
    "tenants": [{"name": "acme", "keys": [TENANT], "requests-per-minute": 10_000}],
    "render-url": f"http://me:{SECRET}@127.0.0.1:9",
    "failure-rules": [{"api-key": f"nobody-{SECRET}", "status": 500}],
    "kv-transfer-config": {"kv_connector": "NixlConnector", "kv_role": "kv_both", "engine_id": "e",
                           "kv_connector_extra_config": {"password": SECRET}},
    "enable-kvcache": True,
    "zmq-endpoint": "",
    "log-level": "debug",
    "log-http": True,
    "access-log": True,
    "enable-responses-store": True,
}  # fmt: skip
ENVIRONMENT = {
    "VLLM_API_KEY": f"environment-{SECRET}",
    "VLLMSIM_ADMIN_API_KEY": ADMIN,
    "HF_TOKEN": f"hf-{SECRET}",
    "VLLMSIM_KV_CACHE_BACKEND": f"redis://me:{SECRET}@127.0.0.1:9/0",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"authorization=Bearer otlp-{SECRET}",
    "VLLM_S3_SECRET": SECRET,
}
HEADERS = (
    {"Authorization": f"Bearer {KEY}"},
    {"Authorization": f"Bearer {TENANT}"},
    {"Authorization": f"Bearer wrong-{SECRET}"},
    {"Authorization": f"Basic {base64.b64encode(f'me:{SECRET}'.encode()).decode()}"},
    {"Authorization": SECRET},
    {"x_api_key": KEY, "Cookie": f"session={SECRET}", "Proxy_Authorization": f"Basic {SECRET}"},
    {"Authorization": f"Bearer {KEY}", "api_key": SECRET, "X_Auth_Token": SECRET, "X_Amz_Security_Token": SECRET},
)
CHAT = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}).encode()


class SecretsTests(CallingTestCase):
    """A server that has every kind of secret, asked in every way that shows something."""

    @classmethod
    def setUpClass(cls) -> None:
        """Start none for all tests."""

    def setUp(self) -> None:
        """Write the files of a server, and listen to its traces."""
        self.folder = make_folder(self)
        self.collector = Collector()
        self.addCleanup(self.collector.close)
        keys, self.configuration, self.log = (self.folder / name for name in ("keys", "sim.yaml", "requests"))
        keys.write_text(f"{KEY}\n", "utf-8")
        more: dict[str, object] = {
            "api-key-file": str(keys),
            "request-log": str(self.log),
            "otlp-traces-endpoint": f"http://127.0.0.1:{self.collector.port}/v1/traces",
        }
        # What is there is not downloaded.
        there = self.folder / "there"
        fill(there, [row_of("Hi", "there")])
        url = f"https://me:{SECRET}@127.0.0.1:9/x?sig={SECRET}"
        more |= {"dataset-path": str(there), "dataset-url": url}
        more["datasets"] = {"x": {"path": str(there), "url": url}}
        self.configuration.write_text(yaml.safe_dump(CONFIGURATION | more), "utf-8")
        self.patch(os, "environ", {**os.environ, **ENVIRONMENT})
        self.shown: list[tuple[str, bytes]] = []

    def ask(self, url: str, body: bytes | None = None, **headers: str) -> int:
        """Ask, and keep what is shown."""
        status, answered, answer = fetch(url, body, **headers)
        self.shown.append((url, answer + json.dumps(answered).encode()))
        return status

    def administer(self, daemon: Daemon, path: str, body: object = None) -> int:
        """Ask as an administrator."""
        sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask(daemon.url(path), sent, Authorization=f"Bearer {ADMIN}")

    def exercise(self, daemon: Daemon) -> None:
        """Do all that may be logged."""
        for headers in HEADERS:
            for path in ("/v1/chat/completions", f"/v1/completions?api_key={SECRET}&key={SECRET}&x=1", "/v1/nowhere"):
                self.ask(daemon.url(path), CHAT, **headers)
        self.assertEqual(200, self.ask(daemon.url("/v1/chat/completions"), CHAT, Authorization=f"Bearer {KEY}"))
        for metadata in (("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer wrong-{SECRET}")):
            try:
                list(self.engine(port=daemon.port).Generate(prompt([1, 2]), metadata=[metadata], timeout=PATIENCE))
            except grpc.RpcError as error:
                self.shown.append(("gRPC", str(error).encode()))
        for body in (
            {"api-key": [NEW], "time-to-first-token": "1ms"},
            {"tenants": [{"name": "acme", "keys": [TENANT, NEW]}]},
            {"failure-rules": [{"api-key": NEW, "status": 500}]},
            {"tenants": [{"name": "acme", "keys": f" {NEW}\n"}]},
            {"api-key": [f"{NEW}\n"]},
            {"hf-token": NEW, "kv-cache-backend": NEW, "admin-api-key": NEW},
            f'{{"api-key": ["{NEW}"'.encode(),
        ):
            self.administer(daemon, "/admin/config", body)
        step = {"at": "0s", "set": {"api-key": [NEW]}}
        scenario = {"name": "s", "steps": [step], "duration": "1h"}
        self.assertEqual(200, self.administer(daemon, "/admin/scenario", scenario))
        for path in (
            *("/admin/config", "/admin/config/history", "/admin/scenario", "/admin/failures", "/metrics", "/load"),
            *("/admin/requests?bodies=true", "/server_info?config_format=json", "/server_info?config_format=text"),
            *("/openapi.json", "/v1/models", "/kv_event_sources", "/query", f"/admin/nowhere?token={SECRET}"),
        ):
            self.administer(daemon, path)
        self.administer(daemon, "/admin/config/undo", b"")
        self.ask(daemon.url("/admin/config"), Authorization=f"Bearer wrong-{SECRET}")
        for line in (f"GET /?token={SECRET} HTTP/9", f"GET http://me:{SECRET}@h/v1/x HTTP/1.1"):
            request = f"{line}\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {SECRET}\r\n\r\n"
            with socket.create_connection(("127.0.0.1", daemon.port), PATIENCE) as connection:
                connection.sendall(request.encode())
                self.shown.append((line, connection.recv(4096)))

    def examine(self, daemon: Daemon) -> None:
        """Look everywhere."""
        for pid in family_of(daemon.process.pid):
            self.shown.append((f"command line of {pid}", Path(f"/proc/{pid}/cmdline").read_bytes()))
        self.configuration.write_text(self.configuration.read_text("utf-8").replace(TENANT, f"{TENANT}-2"), "utf-8")
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: "SIGHUP has changed the configuration" in daemon.output(), "read again")
        daemon.stop()
        self.shown.append(("log", daemon.output().encode()))
        self.shown.append(("request log", self.log.read_bytes()))
        self.shown.append(("traces", repr(self.collector.spans).encode()))
        self.assertTrue(self.collector.spans)
        self.assertGreater(len(self.log.read_bytes()), 1000)
        self.assertIn("HTTP response", daemon.output())
        for where, what in self.shown:
            at = what.find(SECRET.encode())
            self.assertEqual(-1, at, f"{where}: {what[max(0, at - 300) : at + 100]!r}")

    def test_server(self) -> None:
        """Whatever happens to a server with keys, tokens and passwords, nothing that it says has one."""
        daemon = self.started(self.start("--config", str(self.configuration)))
        self.exercise(daemon)
        self.examine(daemon)

    def test_processes(self) -> None:
        """Nor does one whose ranks have processes, of which one asks the other for what it may tell."""
        port = free_port(3)
        words = ("-dp", "2", "-dpm", "--data-parallel-supervisor-port", str(port + 2))
        daemon = self.start("--config", str(self.configuration), *words, port=port)
        until(lambda: daemon.output().count("Starting vLLM server on") == 2, "started")
        self.exercise(daemon)
        self.examine(daemon)

    def test_printed(self) -> None:
        """--print-config has none of them."""
        for words in (["--print-config"], ["--check-config"]):
            daemon = self.start(*words, "--config", str(self.configuration))
            self.assertEqual(0, daemon.process.wait(PATIENCE), daemon.output())
            self.assertNotIn(SECRET, daemon.output())
