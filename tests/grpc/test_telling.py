"""Which requests are calls."""

from tests.grpc.calling import CallTestCase
from tests.grpc.numbers import Number, NumberCalls
from vllmsim.api.frames import frame
from vllmsim.grpc.status import Code

DOUBLE = "/test.Numbers/Double"


class TellingTests(CallTestCase):
    """Calls and requests on one connection."""

    def setUp(self) -> None:
        """Serve what counts."""
        self.serve()
        self.root.add(NumberCalls(self.clock))

    def test_kinds(self) -> None:
        """The kind of messages may be said, if it is ours; any other kind is told so over HTTP."""
        for kind in ("application/grpc", "application/grpc+proto", "Application/GRPC ; charset=x"):
            self.assertEqual(Code.OK, self.call(DOUBLE, Number, Number(), content_type=kind).code)
        for kind in ("application/grpc+json", "application/grpc-web", "application/grpc-web+proto"):
            called = self.call(DOUBLE, Number, Number(), content_type=kind)
            self.assertEqual((415, None, True), (called.stream.status, called.code, called.stream.ended))

    def test_others(self) -> None:
        """What says nothing of gRPC is a request like any other, wherever it goes."""
        for kind in ("application/grpcx", "application/json", "text/application/grpc", ""):
            called = self.call(DOUBLE, Number, Number(), content_type=kind)
            self.assertEqual((404, None), (called.stream.status, called.code))

    def test_method(self) -> None:
        """Calls are POST requests alone."""
        for method in ("GET", "PUT", "OPTIONS"):
            stream = self.connect().send(method, DOUBLE, frame(b""), content_type="application/grpc")
            self.assertEqual((405, "POST"), (stream.status, stream.headers["allow"]))
