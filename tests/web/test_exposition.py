"""``GET /metrics``."""

import re
from pathlib import Path

from tests.harness import RankTestCase

RECORDED = Path(__file__).parents[1] / "golden" / "vllm-0.33" / "metrics_server.txt"

PROMETHEUS_ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


class ExpositionTests(RankTestCase):
    """What a scraper gets."""

    def setUp(self) -> None:
        """Serve a rank."""
        self.make_rank("--model", "m")

    def test_format(self) -> None:
        """Whatever the scraper accepts it gets text 0.0.4, and names keep their colon."""
        for headers in ({}, {"Accept": PROMETHEUS_ACCEPT}):
            exchange = self.get("/metrics", **headers)
            self.assertEqual("text/plain; version=0.0.4; charset=utf-8", exchange.headers["content-type"])
            self.assertIn(b'\nvllm:num_requests_running{engine="0",model_name="m"} 0.0\n', exchange.body)
        self.assertEqual(200, self.get("/metrics/").status)

    def test_process(self) -> None:
        """The process and its Python are there too."""
        body = self.get("/metrics").body
        for name in (b"process_resident_memory_bytes ", b"python_info{", b"python_gc_collections_total{"):
            self.assertIn(b"\n" + name, body)

    def test_recording(self) -> None:
        """Types, names, labels and bounds of the process and of the server are vLLM's, in its order."""
        self.get("/v1/models")
        lines = [line for line in self.get("/metrics").body.decode().splitlines() if "vllm:" not in line]
        written = [re.sub(r" [^ ]+$", "", line) if line[0] != "#" else line for line in lines if line[:6] != "# HELP"]
        written = [re.sub("^python_info.*", "python_info", line) for line in written]
        self.assertEqual(RECORDED.read_text("utf-8").splitlines(), written)

    def test_names(self) -> None:
        """Some metrics can be asked for by name."""
        body = self.get("/metrics?name[]=vllm:num_requests_running&name[]=nope").body.decode()
        samples = [line for line in body.splitlines() if not line.startswith("#")]
        self.assertEqual(['vllm:num_requests_running{engine="0",model_name="m"} 0.0'], samples)

    def test_http_family(self) -> None:
        """Exchanges are counted, probes are not."""
        self.get("/v1/models")
        self.get("/nope")
        self.get("/health")
        self.assertEqual(1, self.sample('http_requests_total{handler="/v1/models",method="GET",status="2xx"}'))
        self.assertEqual(1, self.sample('http_requests_total{handler="none",method="GET",status="4xx"}'))
        self.assertNotIn(b"/health", self.get("/metrics").body)
