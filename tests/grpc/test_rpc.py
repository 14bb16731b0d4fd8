"""How calls go."""

import gzip
import zlib
from typing import Any

from tests.grpc.calling import Called, CallTestCase
from tests.grpc.numbers import Number, NumberCalls
from vllmsim.api.frames import PREFIX, frame
from vllmsim.grpc.rpc import timeout_in
from vllmsim.grpc.status import Code
from vllmsim.web.http2 import burden


class NumbersTestCase(CallTestCase):
    """Tests that call what counts."""

    def setUp(self) -> None:
        """Serve it."""
        self.serve()
        self.numbers = NumberCalls(self.clock)
        self.root.add(self.numbers)

    def ask(self, name: str, *requests: Any, end: bool = True, **metadata: str) -> Called:
        """Call a method."""
        return self.call(f"/test.Numbers/{name}", Number, *requests, end=end, **metadata)


class RpcTests(NumbersTestCase):
    """What comes back."""

    def test_unary(self) -> None:
        """A message is answered with a message, and with a status behind it."""
        called = self.ask("Double", Number(value=21))
        self.assertEqual(([Number(value=42)], Code.OK, ""), (called.messages, called.code, called.text))
        self.assertEqual((200, True, {"grpc-status": "0"}), (
            called.stream.status, called.stream.ended, called.stream.trailers))  # fmt: skip
        self.assertEqual(
            {"content-type": "application/grpc", "grpc-accept-encoding": "identity, deflate, gzip"}, called.metadata
        )

    def test_awaited(self) -> None:
        """An answer may take its time."""
        called = self.ask("Later", Number(value=2))
        self.assertEqual((None, 0), (called.code, called.stream.status))
        self.numbers.waits[0].callback(None)
        called.stream.client.pump()
        self.assertEqual(([Number(value=4)], Code.OK), (called.messages, called.code))

    def test_failing(self) -> None:
        """A call that fails has everything in its head: its status, why, and what else it is told."""
        called = self.ask("Fail", Number())
        self.assertFailed(Code.RESOURCE_EXHAUSTED, called, "Full: 100 %.")
        self.assertEqual(("7", {}), (called.metadata["retry-after"], called.stream.trailers))
        self.assertEqual("application/grpc", called.metadata["content-type"])

    def test_broken(self) -> None:
        """An error that is ours is logged, and the client learns nothing of it."""
        called = self.ask("Break", Number())
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        self.assertFailed(Code.INTERNAL, called, "Internal server error")

    def test_no_metrics(self) -> None:
        """Calls are none of the requests that the metrics of HTTP count."""
        self.ask("Double", Number())
        self.ask("Fail", Number())
        self.assertEqual([], self.metrics.heard)

    def test_connection_is_kept(self) -> None:
        """A connection that calls were made on is kept for more, however long they take to come."""
        self.ask("Double", Number())
        self.clock.advance(100_000)
        self.assertEqual(Code.OK, self.ask("Double", Number()).code)

    def test_client_leaves(self) -> None:
        """A call whose client leaves is cancelled."""
        called = self.ask("Later", Number())
        called.stream.cancel()
        self.assertEqual(["cancelled"], self.numbers.heard)

    def test_hung_up(self) -> None:
        """A fault that would cost a client its connection costs it the call alone, which ends as it would then."""
        for value in (0, 1):
            for text in ("", "reset"):
                called = self.ask("HangUp", Number(value=value, text=text))
                self.assertEqual((value, Code.UNAVAILABLE), (len(called.messages), called.code))
                self.assertIn("reset" if text else "closed", called.text)
                self.assertTrue(called.stream.ended)
                called.stream.client.pump()
        self.assertEqual(["cancelled"] * 4, self.numbers.heard)

    def test_ended_early(self) -> None:
        """A fault that ends an answer as if it were complete does so with the status of one that is."""
        for value in (0, 1):
            called = self.ask("HangUp", Number(value=value, text="early"))
            self.assertEqual((value, Code.OK, True), (len(called.messages), called.code, called.stream.ended))

    def test_raw(self) -> None:
        """A method may write what it likes."""
        called = self.ask("Given", Number(value=7))
        self.assertEqual(([Number(value=7)] * 2, Code.OK), (called.messages, called.code))


class MessageTests(NumbersTestCase):
    """Messages that are not as they must be."""

    def test_number(self) -> None:
        """A method that takes one message is not answered with none, and not with several."""
        self.assertFailed(Code.INTERNAL, self.ask("Double"), "there is none")
        self.assertFailed(Code.INTERNAL, self.ask("Double", Number(), Number()), "several")
        self.assertFailed(Code.INTERNAL, self.ask("Given", Number(), Number(), end=False), "several")
        self.assertEqual([], self.numbers.heard)

    def test_incomplete(self) -> None:
        """A message that is not complete is not read."""
        whole = frame(Number(value=1).SerializeToString())
        for size in (1, 5, len(whole) - 1):
            self.assertFailed(Code.INTERNAL, self.ask("Double", whole[:size]), "not complete")

    def test_nonsense(self) -> None:
        """What is no message of the method's type is not taken for one."""
        self.assertFailed(Code.INTERNAL, self.ask("Double", frame(b"\xff\xff")), "deserializing")
        self.assertFailed(Code.INTERNAL, self.ask("Count", frame(b"\xff\xff")), "deserializing")
        self.assertFailed(Code.INTERNAL, self.ask("Double", b"\x09\0\0\0\0"), "flags 9")

    def test_too_large(self) -> None:
        """A message may be as large as a body; one that would be larger is refused when it is announced."""
        text = "x" * (1000 - 3)
        self.assertEqual(1000, Number(text=text).ByteSize())
        self.assertEqual(Code.OK, self.ask("Double", Number(text=text)).code)
        called = self.ask("Double", PREFIX.pack(0, 1001), end=False)
        self.assertFailed(Code.RESOURCE_EXHAUSTED, called, "larger than 1000 bytes")

    def test_compressed(self) -> None:
        """Messages that are compressed are inflated first; those that are not, in the same call, are not."""
        message = Number(value=1, text="x" * 900).SerializeToString()
        for encoding, data in (("gzip", gzip.compress(message)), ("deflate", zlib.compress(message))):
            called = self.ask("Double", PREFIX.pack(1, len(data)) + data, grpc_encoding=encoding)
            self.assertEqual([2], [each.value for each in called.messages])
            self.assertEqual(Code.OK, self.ask("Double", frame(message), grpc_encoding=encoding).code)

    def test_bomb(self) -> None:
        """A message that is too large when it is inflated is refused."""
        data = gzip.compress(Number(text="x" * 100_000).SerializeToString())
        called = self.ask("Double", PREFIX.pack(1, len(data)) + data, grpc_encoding="gzip")
        self.assertFailed(Code.RESOURCE_EXHAUSTED, called, "larger than 1000 bytes")

    def test_encodings(self) -> None:
        """Who compresses with what is not known is told what is."""
        called = self.ask("Double", Number(), grpc_encoding="snappy")
        self.assertFailed(Code.UNIMPLEMENTED, called, "snappy")
        self.assertEqual("identity, deflate, gzip", called.metadata["grpc-accept-encoding"])
        self.assertFailed(Code.UNIMPLEMENTED, self.ask("Sum", Number(), end=False, grpc_encoding="snappy"), "snappy")
        self.assertFailed(Code.INTERNAL, self.ask("Double", PREFIX.pack(1, 1) + b"x"), "no header")
        called = self.ask("Double", PREFIX.pack(1, 1) + b"x", grpc_encoding="gzip")
        self.assertFailed(Code.INTERNAL, called, "not compressed with")


class StreamTests(NumbersTestCase):
    """Answers of any number of messages."""

    def count(self, value: int, **fields: Any) -> Called:
        """Have it count."""
        return self.ask("Count", Number(value=value, **fields))

    def pass_time(self, called: Called, seconds: int) -> None:
        """Let time pass."""
        for _ in range(seconds):
            self.clock.advance(1)
            called.stream.client.pump()

    def test_as_they_come(self) -> None:
        """Each message is written when it is there, and the status behind the last."""
        called = self.count(3)
        self.assertEqual(0, called.stream.status)
        self.pass_time(called, 2)
        self.assertEqual(([1, 2], None), ([each.value for each in called.messages], called.code))
        self.pass_time(called, 1)
        self.assertEqual(([1, 2, 3], Code.OK), ([each.value for each in called.messages], called.code))

    def test_at_once(self) -> None:
        """What is there at once is written as fast as the client reads, and others have their turns between."""
        called = self.ask("Ready", Number(value=3000))
        called.stream.client.pump()
        self.assertEqual(([*range(1, 3001)], Code.OK), ([each.value for each in called.messages], called.code))

    def test_none(self) -> None:
        """A stream of no messages has its status in the head."""
        called = self.count(0)
        self.assertEqual(([], Code.OK, {}), (called.messages, called.code, called.stream.trailers))

    def test_failing_late(self) -> None:
        """What goes wrong behind a message is told at the end."""
        called = self.count(-2)
        self.pass_time(called, 2)
        self.assertEqual((2, Code.RESOURCE_EXHAUSTED, "Full."), (len(called.messages), called.code, called.text))
        called = self.count(1, text="break")
        self.pass_time(called, 1)
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        self.assertEqual((1, Code.INTERNAL), (len(called.messages), called.code))

    def test_client_leaves(self) -> None:
        """Who answers is told that nobody listens any more."""
        called = self.count(3)
        self.pass_time(called, 1)
        called.stream.cancel()
        self.assertEqual([1, "closed"], self.numbers.heard)

    def test_slow_reader(self) -> None:
        """No more messages are asked for than the client has read, more or less."""
        client = self.connect(reads=False)
        stream = client.begin("POST", "/test.Numbers/Count", content_type="application/grpc")
        called = Called(stream, Number)
        called.send(Number(value=99, text="x" * 900), end=True)
        self.pass_time(called, 99)
        made = len(self.numbers.heard)
        self.assertTrue(70 < made < 75, made)
        stream.read()
        self.pass_time(called, 5)
        self.assertGreater(len(self.numbers.heard), made)
        stream.cancel()
        self.assertEqual("closed", self.numbers.heard[-1])


class ConversationTests(NumbersTestCase):
    """Streams in both directions."""

    def test_in_turns(self) -> None:
        """Messages are answered as they come, in whatever pieces, and the end is answered with the status."""
        called = self.ask("Sum", end=False)
        called.send(Number(value=1))
        self.assertEqual([1], [each.value for each in called.messages])
        data = frame(Number(value=2).SerializeToString()) + frame(Number(value=3).SerializeToString())
        called.stream.send(data[:9]).send(data[9:])
        self.assertEqual(([1, 3, 6], None), ([each.value for each in called.messages], called.code))
        called.stream.end()
        self.assertEqual(Code.OK, called.code)
        self.assertEqual(["closed"], self.numbers.heard)

    def test_none(self) -> None:
        """Who sends nothing is told nothing, and that this is well."""
        self.assertEqual(([], Code.OK), ((called := self.ask("Sum")).messages, called.code))

    def test_long(self) -> None:
        """Who streams messages in may send any number, as none is kept."""
        self.patch(burden, "BODIES", 0)
        called = self.ask("Sum", end=False)
        for _ in range(600):
            called.send(Number(value=1), Number(value=1))
        self.assertEqual(Number(value=1200), called.send(Number(), end=True).messages[-1])
        self.assertEqual(Code.OK, called.code)

    def test_all_at_once(self) -> None:
        """What has come before the end is answered."""
        called = self.ask("Sum", *(Number(value=1) for _ in range(50)))
        self.assertEqual((50, Code.OK), (len(called.messages), called.code))

    def test_quiet(self) -> None:
        """A client may say nothing for as long as it likes."""
        called = self.ask("Sum", Number(value=1), end=False)
        self.clock.advance(1000)
        called.send(Number(value=1))
        self.assertEqual([1, 2], [each.value for each in called.messages])

    def test_wrong(self) -> None:
        """A message that is wrong ends the call, and who answers knows."""
        for wrong, code in (
            (b"\x07\0\0\0\0", Code.INTERNAL),
            (frame(b"\xff"), Code.INTERNAL),
            (PREFIX.pack(0, 1001), Code.RESOURCE_EXHAUSTED),
            (PREFIX.pack(1, 1) + b"x", Code.INTERNAL),
        ):
            self.numbers.heard.clear()
            called = self.ask("Sum", Number(value=1), end=False)
            called.stream.send(wrong)
            self.assertEqual((1, code), (len(called.messages), called.code))
            self.assertEqual(["closed"], self.numbers.heard)

    def test_incomplete(self) -> None:
        """A message that is broken off is not passed over."""
        called = self.ask("Sum", Number(value=1), end=False)
        called.stream.send(b"\0\0", end=True)
        self.assertEqual(Code.INTERNAL, called.code)

    def test_compressed(self) -> None:
        """Each message may be compressed."""
        data = gzip.compress(Number(value=5).SerializeToString())
        called = self.ask("Sum", Number(value=1), PREFIX.pack(1, len(data)) + data, grpc_encoding="gzip")
        self.assertEqual([1, 6], [each.value for each in called.messages])

    def test_client_leaves(self) -> None:
        """Who waits for the next message is told that there will be none."""
        called = self.ask("Sum", Number(value=1), end=False)
        called.stream.cancel()
        self.assertEqual(["closed"], self.numbers.heard)

    def test_does_not_read(self) -> None:
        """Of a client that sends and does not read few messages wait, and it hears so when it reads."""
        client = self.connect(reads=False)
        stream = client.begin("POST", "/test.Numbers/Sum", content_type="application/grpc")
        data = frame(Number(value=1).SerializeToString()) * 200
        while client.h2.local_flow_control_window(stream.number) >= len(data):
            stream.send(data)
        self.assertEqual(([], False), (self.numbers.heard, stream.ended))
        stream.read()
        self.assertEqual(["closed"], self.numbers.heard)
        self.assertEqual(Code.RESOURCE_EXHAUSTED, Called(stream, Number).code)


class DeadlineTests(NumbersTestCase):
    """How long clients wait."""

    def test_expired(self) -> None:
        """When its time is over a call ends, and so does the work."""
        called = self.ask("Later", Number(), grpc_timeout="1500m")
        self.clock.advance(1.4)
        self.assertIsNone(called.code)
        self.clock.advance(0.2)
        called.stream.client.pump()
        self.assertFailed(Code.DEADLINE_EXCEEDED, called)
        self.assertEqual(["cancelled"], self.numbers.heard)

    def test_while_streaming(self) -> None:
        """What has come until then has come."""
        called = self.ask("Count", Number(value=9), grpc_timeout="3S")
        for _ in range(4):
            self.clock.advance(0.9)
            called.stream.client.pump()
        self.assertEqual((Code.DEADLINE_EXCEEDED, True), (called.code, called.stream.ended))
        self.assertEqual(2, len(called.messages))
        self.assertEqual("closed", self.numbers.heard[-1])

    def test_while_it_comes(self) -> None:
        """A call that is not complete then is not waited for."""
        called = self.ask("Double", end=False, grpc_timeout="2S")
        self.clock.advance(2)
        called.stream.client.pump()
        self.assertFailed(Code.DEADLINE_EXCEEDED, called)
        called.stream.send(frame(b""), end=True)
        self.assertEqual([], self.numbers.heard)

    def test_in_time(self) -> None:
        """A call that is answered in time leaves nothing behind."""
        self.assertEqual(Code.OK, self.ask("Double", Number(), grpc_timeout="9S").code)
        self.assertEqual([], [each for each in self.clock.getDelayedCalls() if 8 < each.getTime() < 10])

    def test_units(self) -> None:
        """All units are known; what means nothing is passed over."""
        for header, seconds in (
            (b"2H", 7200), (b"2M", 120), (b"2S", 2), (b"2m", 0.002), (b"2u", 2e-6), (b"2n", 2e-9), (b"99999999n", 0.1)
        ):  # fmt: skip
            self.assertAlmostEqual(seconds, timeout_in(header) or 0)
        for wrong in (None, b"", b"2", b"S", b"2s", b"-2S", b"2.5S", b"123456789S", b" 2S", b"2S "):
            self.assertIsNone(timeout_in(wrong))
        self.assertEqual(Code.OK, self.ask("Double", Number(), grpc_timeout="soon").code)
