"""Calls that are none, at random."""

import random
from typing import Any

from tests.grpc.calling import CallTestCase
from tests.grpc.numbers import Number, NumberCalls
from vllmsim.api.frames import PREFIX, frame
from vllmsim.grpc.status import Code

METHODS = ("Double", "Fail", "Count", "Sum", "Given", "Missing", "Nothing")


def garbled(chance: random.Random) -> bytes:
    """Make a body that may be one."""
    whole = b"".join(
        chance.choice(
            (
                frame(Number(value=chance.choice((0, 1, -1))).SerializeToString()),
                PREFIX.pack(chance.choice((0, 1, 2, 255)), chance.choice((0, 1, 5, 1000, 1001, 1 << 31))),
                chance.randbytes(chance.randrange(20)),
                frame(b""),
            )
        )
        for _ in range(chance.randrange(4))
    )
    return whole[: chance.randrange(len(whole) + 1)] if chance.random() < 0.2 else whole


def headers(chance: random.Random) -> dict[str, Any]:
    """Make some metadata."""
    said = {
        "grpc_encoding": ("gzip", "deflate", "identity", "snappy", ""),
        "grpc_timeout": ("1S", "0n", "99999999H", "x", ""),
        "content_type": ("application/grpc", "application/grpc+proto", "application/grpc;x", "application/grpc+x"),
        "content_length": ("7",),
        "x_data_bin": ("AA==", "!!", ""),
    }
    return {name: chance.choice(values) for name, values in said.items() if chance.random() < 0.2}


class HostileTests(CallTestCase):
    """Whatever comes, it is answered."""

    def test_anything(self) -> None:
        """Whatever a client sends, it is told what became of it, nothing of that is an error of ours, and all ends."""
        chance = random.Random(9)
        self.serve()
        self.root.add(NumberCalls(self.clock))
        codes: set[Code | None] = set()
        for _ in range(300):
            said = headers(chance)
            body = garbled(chance)
            if "content_length" in said:
                # HTTP/2 itself refuses any other.
                said["content_length"] = str(len(body))
            cut = chance.randrange(len(body) + 1)
            path = f"/test.Numbers/{chance.choice(METHODS)}"
            called = self.call(path, Number, body[:cut], end=False, **said)
            if not called.stream.ended:
                called.stream.send(body[cut:], end=True)
            self.clock.pump([1, 1])
            called.stream.client.pump()
            self.assertTrue(called.stream.ended, (path, said, body))
            self.assertTrue(called.code is not None or called.stream.status == 415, (path, said, body))
            codes.add(called.code)
        wanted = {Code.OK, Code.RESOURCE_EXHAUSTED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.DEADLINE_EXCEEDED, None}
        self.assertEqual(wanted, codes)
        self.assertEqual([], self.flushLoggedErrors())
