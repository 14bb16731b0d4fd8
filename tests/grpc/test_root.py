"""How what answers a call is found."""

from typing import Any, ClassVar, cast

from tests.grpc.calling import Called, CallTestCase
from tests.grpc.notes import Notes
from tests.grpc.numbers import NUMBERS, Number, NumberCalls
from vllmsim.grpc.rpc import Rpc
from vllmsim.grpc.service import Service
from vllmsim.grpc.status import Code
from vllmsim.interfaces import IJournal


class MoreNumberCalls:
    """Has another of the methods."""

    service: ClassVar[Service] = Service(NUMBERS)

    @service.unary("Missing")
    def missing(self, request: Any, _: Rpc) -> Any:
        """Tell that it is here."""
        return Number(text="here")


class RootTests(CallTestCase):
    """Paths lead to methods."""

    def setUp(self) -> None:
        """Serve some."""
        self.notes = Notes()
        self.serve(journal=cast("IJournal", self.notes))
        self.numbers = NumberCalls(self.clock)
        self.root.add(self.numbers)

    def ask(self, path: str, *requests: Any, end: bool = True, **metadata: str) -> Called:
        """Call a method."""
        return self.call(path, Number, *requests, end=end, **metadata)

    def test_unknown(self) -> None:
        """What is not there is told by its path, whatever is wrong with it."""
        for path in ("/", "/test.Numbers", "/test.Numbers/", "/test.Numbers/double", "/test.Others/Double",
                     "/test.Numbers/Double/", "//test.Numbers/Double", "/v1/models", "*"):  # fmt: skip
            self.assertFailed(Code.UNIMPLEMENTED, self.ask(path, Number()), f"Method not found: {path}")
        self.assertFailed(Code.UNIMPLEMENTED, self.ask("/" + "x" * 3000), "Method not found: /xxx")

    def test_not_implemented(self) -> None:
        """So is a method that the service has, and nobody here."""
        called = self.ask("/test.Numbers/Missing", Number())
        self.assertFailed(Code.UNIMPLEMENTED, called, "Method not implemented: /test.Numbers/Missing")

    def test_shared(self) -> None:
        """Several may have the methods of one service, but each method is there once."""
        self.root.add(MoreNumberCalls())
        self.assertEqual(["here"], [each.text for each in self.ask("/test.Numbers/Missing", Number()).messages])
        self.assertEqual(Code.OK, self.ask("/test.Numbers/Double", Number()).code)
        self.assertRaises(ValueError, self.root.add, MoreNumberCalls())
        self.assertEqual({"test.Numbers": NUMBERS}, self.root.services)

    def test_working(self) -> None:
        """Which methods have the model work is known, for limits and the journal."""
        self.assertEqual({"/test.Numbers/Double"}, self.root.working())

    def test_remembered(self) -> None:
        """The journal remembers the calls that it is to, by their paths, with their messages."""
        self.ask("/test.Numbers/Double", Number(value=1), x_mine="yes")
        self.ask("/test.Numbers/Count", Number())
        (record,) = self.notes.ended
        assert record.http is not None
        self.assertEqual(("/test.Numbers/Double", "completed"), (record.route, record.outcome))
        self.assertEqual((b"\x08\x01", 2, 200), (record.http.body, record.http.body_bytes, record.http.status))
        self.assertEqual((b"yes", "OK"), (record.http.headers[b"x-mine"], record.http.grpc_status))

    def test_failures_remembered(self) -> None:
        """It knows what went wrong too, also with what is no call to anything, or no message."""
        self.ask("/test.Nothing/Double")
        self.ask("/test.Numbers/Double")
        self.ask("/test.Numbers/Double", b"\0\0\0\x10\0", end=False)
        self.ask("/test.Numbers/Double", Number(), grpc_encoding="x")
        told = [(each.route, each.outcome, each.error_message) for each in self.notes.ended]
        self.assertEqual(
            [
                ("none", "failed", "Method not found: /test.Nothing/Double"),
                ("/test.Numbers/Double", "invalid", "The method takes a message, and there is none."),
                ("/test.Numbers/Double", "invalid", "The message is larger than 1000 bytes."),
                ("/test.Numbers/Double", "failed", "Messages are compressed with x, which is not known here."),
            ],
            told,
        )
        statuses = [(each.http.status, each.http.grpc_status) for each in self.notes.ended if each.http is not None]
        self.assertEqual([(200, "UNIMPLEMENTED"), (200, "INTERNAL"), (200, "RESOURCE_EXHAUSTED")], statuses[:3])
