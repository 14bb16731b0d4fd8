"""How messages are inflated."""

import gzip
import random
import zlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.grpc.compression import check_encoding, inflated
from vllmsim.grpc.framing import MessageTooLarge
from vllmsim.grpc.status import CallError, Code, status_of

LIMIT = 1 << 20


class SlowClock(Clock):
    """A clock on which everything takes its time, and that counts for how many turns somebody has waited."""

    turns = 0

    def seconds(self) -> float:
        """Tell the time, and let some of it pass."""
        self.rightNow += 0.0005
        return self.rightNow

    def callLater(self, *args: Any, **kwargs: Any) -> Any:
        """Count."""
        self.turns += 1
        return super().callLater(*args, **kwargs)


class InflatingTests(SynchronousTestCase):
    """What is compressed comes back."""

    def inflate(self, data: bytes, encoding: bytes = b"gzip", limit: int = LIMIT) -> "Deferred[bytes]":
        """Begin to inflate a message."""
        return Deferred.fromCoroutine(inflated(data, encoding, limit, Clock()))

    def code(self, data: bytes, encoding: bytes = b"gzip") -> Code:
        """Tell how a message is refused."""
        error = self.failureResultOf(self.inflate(data, encoding), CallError).value
        return status_of(error).code

    def test_both(self) -> None:
        """What was compressed in either way, a little or a lot, is what it was."""
        chance = random.Random(1)
        for message in (b"", b"x", bytes(300_000), chance.randbytes(300_000), bytes(LIMIT), b"ab" * (LIMIT // 2)):
            for encoding, compress in ((b"gzip", gzip.compress), (b"deflate", zlib.compress)):
                self.assertEqual(message, self.successResultOf(self.inflate(compress(message), encoding)))

    def test_turns(self) -> None:
        """A large message lets others have their turns."""
        clock, message = SlowClock(), bytes(LIMIT * 4)
        inflating = Deferred.fromCoroutine(inflated(gzip.compress(message), b"gzip", len(message), clock))
        self.assertNoResult(inflating)
        clock.advance(0)
        self.assertEqual(message, self.successResultOf(inflating))
        self.assertGreater(clock.turns, 2)

    def test_bomb(self) -> None:
        """A message that would be too large is refused as soon as it is."""
        self.failureResultOf(self.inflate(gzip.compress(bytes(LIMIT + 1))), MessageTooLarge)
        bomb = gzip.compress(bytes(LIMIT * 64))
        self.failureResultOf(self.inflate(bomb), MessageTooLarge)
        self.failureResultOf(self.inflate(gzip.compress(b"x"), limit=0), MessageTooLarge)

    def test_broken(self) -> None:
        """What is not compressed so, not to its end, or has something behind that, is refused."""
        whole = gzip.compress(random.Random(2).randbytes(50_000))
        for data in (
            b"",
            b"plain",
            whole[:-1],
            whole + b"x",
            whole + whole,
            zlib.compress(b"x"),
            whole + bytes(99_999),
        ):
            self.assertEqual(Code.INTERNAL, self.code(data))

    def test_no_encoding(self) -> None:
        """A message that is compressed, with nothing that is told, is refused."""
        self.assertEqual(Code.INTERNAL, self.code(gzip.compress(b"x"), b"identity"))

    def test_encodings(self) -> None:
        """What nobody here can read is told by its name."""
        for encoding in (b"identity", b"gzip", b"deflate"):
            check_encoding(encoding)
        with self.assertRaisesRegex(CallError, "snappy") as caught:
            check_encoding(b"snappy")
        self.assertEqual(Code.UNIMPLEMENTED, status_of(caught.exception).code)
