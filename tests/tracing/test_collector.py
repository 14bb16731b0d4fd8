"""How a collector is spoken to."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.tracing import collector
from vllmsim.tracing.collector import TracingError, choose, require

TRACES, ALL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"


class ChoiceTests(SynchronousTestCase):
    """Which protocol goes with an address and an environment."""

    def choice(self, endpoint: str, **environ: str) -> tuple[str, str]:
        """Choose, and say protocol and address."""
        chosen = choose(endpoint, environ)
        return chosen.protocol, chosen.url

    def test_address(self) -> None:
        """Without a word of the environment the address decides; one that means HTTP by its port gets the path."""
        self.assertEqual(("grpc", "http://c:4317"), self.choice("http://c:4317"))
        self.assertEqual(("grpc", "grpc://c:4317"), self.choice("c:4317"))
        for endpoint in ("http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"):
            self.assertEqual(("http/protobuf", "http://c:4318/v1/traces"), self.choice(endpoint))
        self.assertEqual(("http/protobuf", "https://c/api/otel?x=1"), self.choice("https://c/api/otel?x=1"))

    def test_environment(self) -> None:
        """The environment goes before the address, which is used as it is then; what is said of traces goes first."""
        http = {TRACES: "http/protobuf"}
        self.assertEqual(("http/protobuf", "http://c:4317"), self.choice("http://c:4317", **http))
        self.assertEqual(("http/protobuf", "http://c:4318"), self.choice("http://c:4318", **http))
        self.assertEqual(
            ("grpc", "http://c:4318/v1/traces"), self.choice("http://c:4318/v1/traces", **{TRACES: "grpc"})
        )
        self.assertEqual(
            ("http/protobuf", "http://c:9"), self.choice("http://c:9", **{ALL: "http/protobuf", TRACES: ""})
        )
        self.assertEqual(("grpc", "http://c:9"), self.choice("http://c:9", **{ALL: "http/protobuf", TRACES: "grpc"}))

    def test_wrong(self) -> None:
        """A protocol that is not there is one clear line, and so is one that does not go with the address."""
        for endpoint, environ, words in (
            ("http://c:1", {TRACES: "http/json"}, f"{TRACES} is 'http/json', and must be grpc or http/protobuf"),
            ("http://c:1", {ALL: "tcp"}, f"{ALL} is 'tcp'"),
            ("c:4317", {TRACES: "http/protobuf"}, "grpc://c:4317 is no address of that"),
        ):
            error = self.assertRaises(TracingError, choose, endpoint, environ)
            self.assertIn(words, str(error.code))
            self.assertTrue(str(error.code).startswith("vllmsim: cannot send traces: "))


class RequirementTests(SynchronousTestCase):
    """What must be installed."""

    def check(self, endpoint: str, *missing: str) -> str:
        """Require what a collector needs, where some modules are missing."""
        error = self.assertRaises(TracingError, require, choose(endpoint, {}), lambda module: module not in missing)
        return str(error.code)

    def test_there(self) -> None:
        """Nothing is said when all is there."""
        require(choose("http://c:4318", {}))
        require(choose("c:4317", {}))

    def test_missing(self) -> None:
        """What is missing is told with how to install it; who lacks gRPC is told that there is a lighter way."""
        line = self.check("http://c:4318", "opentelemetry.exporter.otlp.proto.http")
        self.assertEqual(
            "vllmsim: cannot send traces: what speaks http/protobuf to c:4318 is not installed: "
            "pip install 'vllmsim[otel]'",
            line,
        )
        self.assertEqual(line, self.check("http://c:4318", "opentelemetry.sdk"))
        line = self.check("http://c:4317", "opentelemetry.exporter.otlp.proto.grpc")
        self.assertIn("pip install 'vllmsim[otel-grpc]', or give an address of OTLP over HTTP", line)

    def test_nothing_there(self) -> None:
        """A parent that is missing is no other error."""
        self.patch(collector, "_SDK", "no_such_parent.child")
        self.assertIn("vllmsim[otel]", str(self.assertRaises(TracingError, require, choose("http://c:4318", {})).code))
