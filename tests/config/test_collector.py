"""The addresses of collectors."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.collector import parse_collector


class CollectorTests(SynchronousTestCase):
    """What an address says."""

    def test_protocols(self) -> None:
        """An address is one of gRPC, as vLLM takes it, unless it has a path or the port of OTLP over HTTP."""
        for text, expected in {
            "http://collector:4317": "grpc",
            "grpc://collector:4317": "grpc",
            "collector:4317": "grpc",
            "https://collector": "grpc",
            "http://collector:4317/": "grpc",
            "grpc://collector:4318": "grpc",
            "http://collector:4318": "http/protobuf",
            "http://collector:4318/v1/traces": "http/protobuf",
            "https://collector/v1/traces": "http/protobuf",
            "http://[::1]:4318": "http/protobuf",
        }.items():
            self.assertEqual(expected, parse_collector(text).usual, text)

    def test_places(self) -> None:
        """Logs show host and port."""
        self.assertEqual("collector:4317", parse_collector("collector:4317").place)
        self.assertEqual("collector:9", parse_collector("http://collector:9/v1/traces").place)

    def test_wrong(self) -> None:
        """What is no address is refused, and a name or a password in one is not shown."""
        for text in ("http://", "ftp://x/y", "http://x:port", "http://x:99999", "http://a b", "http://[", "http://x\n"):
            with self.assertRaisesRegex(ValueError, "is no address of a collector, such as", msg=text):
                parse_collector(text)
        with self.assertRaises(ValueError) as caught:
            parse_collector("https://me:secret@collector/v1/traces")
        self.assertIn("OTEL_EXPORTER_OTLP_TRACES_HEADERS", str(caught.exception))
        self.assertNotIn("secret", str(caught.exception))
