# -*- test-case-name: tests.api.engine.test_generate_at_random -*-
"""Requests of ``VllmEngine.Generate`` that nobody would send."""

import random
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor as Field
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import settings
from vllmsim.api.body import Head
from vllmsim.api.engine.generate import GenerateDialect
from vllmsim.errors import InferenceError

_TEXTS: Final = (
    "", "x", "{}", "[", "(", "a+", '{"type": "object"}', '{"do_remote_prefill": true}', '{"remote_num_tokens": 1e400}',
    '{"a": NaN}', '"\\ud800"', "float32", "uint8", "http://x/y", "data:,x", "file:///x", "http://[", "é" * 300,
)  # fmt: skip
_VALUES: Final[dict[int, tuple[Any, ...]]] = {
    Field.CPPTYPE_INT32: (0, 1, -1, -2, 5, 2**31 - 1, -(2**31)),
    Field.CPPTYPE_UINT32: (0, 1, 2, 7, 255, 2**32 - 1),
    Field.CPPTYPE_UINT64: (0, 1, 2**64 - 1),
    Field.CPPTYPE_FLOAT: (0, 1, -1, 0.5, float("nan"), float("inf"), 1e30),
    Field.CPPTYPE_BOOL: (False, True),
    Field.CPPTYPE_ENUM: (0, 1, 2, 3, 9, -1),
}
_HEADS: Final = (Head(), Head(model="m2", data_parallel_rank="x"), Head(priority="9" * 30), Head(model="zzz"))


class RandomTests(SynchronousTestCase):
    """Whatever a message says, it is read, or refused in words."""

    def setUp(self) -> None:
        """Begin the same row of messages each time."""
        self.random = random.Random(9)

    def value(self, field: Any) -> Any:
        """Choose a value for a field."""
        if field.cpp_type == Field.CPPTYPE_STRING:
            return self.random.randbytes(9) if field.type == Field.TYPE_BYTES else self.random.choice(_TEXTS)
        return self.random.choice(_VALUES[field.cpp_type])

    def fill(self, message: Any) -> Any:
        """Set some fields."""
        for field in message.DESCRIPTOR.fields:
            if self.random.random() < 0.6:
                continue
            old = getattr(message, field.name)
            kind = field.message_type
            if kind is None:
                count = self.random.choice((1, 2, 300))
                if field.is_repeated:
                    old.extend(self.value(field) for _ in range(count))
                else:
                    setattr(message, field.name, self.value(field))
            elif kind.GetOptions().map_entry:
                key, value = self.value(kind.fields_by_name["key"]), kind.fields_by_name["value"]
                if value.message_type is None:
                    old[key] = self.value(value)
                else:
                    self.fill(old[key])
            else:
                each = old.add() if field.is_repeated else old
                each.SetInParent()
                self.fill(each)
        return message

    def spoil(self, body: bytes) -> bytes:
        """Change a byte of some bodies."""
        if not body or self.random.random() < 0.7:
            return body
        at = self.random.randrange(len(body))
        return body[:at] + self.random.randbytes(1) + body[at + 1 :]

    def test_messages(self) -> None:
        """Nothing but a refusal is raised, and both happen."""
        dialect = GenerateDialect(settings(ranks=(0, 1), reasons=True), 256)
        read = refused = 0
        for number in range(800):
            body = self.spoil(self.fill(pb.GenerateRequest()).SerializeToString())
            try:
                dialect.parse(body, _HEADS[number % len(_HEADS)])
                read += 1
            except InferenceError as error:
                self.assertTrue(error.message)
                refused += 1
        self.assertTrue(read > 10 and refused > 10, (read, refused))
