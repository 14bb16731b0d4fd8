"""How messages are found in what comes."""

import random

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.frames import PREFIX, frame
from vllmsim.grpc.framing import Framed, MessageReader, MessageTooLarge
from vllmsim.grpc.status import CallError, Code, status_of


class FramingTests(SynchronousTestCase):
    """Bytes become messages."""

    def test_any_pieces(self) -> None:
        """Messages are the same in whatever pieces their bytes come, and nothing is complete before its last byte."""
        chance = random.Random(7)
        for _ in range(200):
            messages = [chance.randbytes(chance.choice((0, 1, 5, 300))) for _ in range(chance.randrange(6))]
            flags = [chance.random() < 0.5 for _ in messages]
            data = b"".join(PREFIX.pack(flag, len(each)) + each for flag, each in zip(flags, messages, strict=True))
            reader, at = MessageReader(300), 0
            found: list[Framed] = []
            while at < len(data):
                size = chance.choice((1, 2, 5, 6, 100, 1000))
                found += reader.feed(data[at : at + size])
                at += size
                done = sum(len(each.data) + 5 for each in found)
                self.assertEqual(done >= min(at, len(data)), reader.between)
            self.assertEqual([*zip(flags, messages, strict=True)], [(each.compressed, each.data) for each in found])

    def test_anything(self) -> None:
        """Whatever bytes come, they are messages, the beginning of one, or refused."""
        chance = random.Random(8)
        refused = 0
        for _ in range(500):
            data = bytes(chance.choice((0, 0, 0, 1, 2, chance.randrange(256))) for _ in range(chance.randrange(40)))
            reader = MessageReader(20)
            try:
                found = list(reader.feed(data))
            except CallError as error:
                refused += 1
                self.assertIn(status_of(error).code, (Code.INTERNAL, Code.RESOURCE_EXHAUSTED))
            else:
                length = sum(len(each.data) + 5 for each in found)
                self.assertEqual(length == len(data), reader.between)
        self.assertTrue(100 < refused < 450)

    def test_too_large(self) -> None:
        """A message that is announced to be too long is refused before it comes; one of just that length is not."""
        self.assertEqual([Framed(compressed=False, data=b"x" * 9)], list(MessageReader(9).feed(frame(b"x" * 9))))
        with self.assertRaisesRegex(MessageTooLarge, "larger than 9 bytes"):
            list(MessageReader(9).feed(b"\0\0\0\0\x0a"))

    def test_flags(self) -> None:
        """What stands before a message and means nothing is an error."""
        with self.assertRaises(CallError) as caught:
            list(MessageReader(9).feed(b"\2\0\0\0\0"))
        self.assertEqual(Code.INTERNAL, status_of(caught.exception).code)

    def test_stopping(self) -> None:
        """Who has enough reads no more of what may be thousands."""
        messages = MessageReader(9).feed(frame(b"") * 100_000)
        self.assertEqual(b"", next(messages).data)
