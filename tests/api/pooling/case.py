"""What the tests of pooling dialects have in common."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import HEAD, settings
from vllmsim.api.body import Head
from vllmsim.api.pooling.inputs import PoolingCall, PoolingDialect, PoolingSettings, Reply
from vllmsim.errors import InferenceError
from vllmsim.pooling import Pooled


class PoolingDialectTestCase(SynchronousTestCase):
    """Tests of one dialect, on the server that was recorded: a context of 256 tokens, vectors of 4 numbers."""

    make: Callable[[PoolingSettings], PoolingDialect]

    def setUp(self) -> None:
        """Have the dialect."""
        self.dialect = type(self).make(PoolingSettings(settings(), 256, 4))

    def parse(self, body: Any, head: Head = HEAD) -> PoolingCall:
        """Read a body."""
        return self.dialect.parse(json.dumps(body).encode(), head)

    def refusal(self, body: Any) -> tuple[int, str | None, str]:
        """Find out why a body is refused: status, parameter and message."""
        error = self.assertRaises(InferenceError, self.parse, body)
        return error.status, error.param, error.message

    def write(self, body: Any, *pooled: Sequence[float]) -> Reply:
        """Write the answer to a body, of inputs of three tokens each."""
        return self.parse(body).write([Pooled(3, [numbers]) for numbers in pooled])

    def written(self, body: Any, *pooled: Sequence[float]) -> bytes:
        """Write the body of an answer in JSON."""
        reply = self.write(body, *pooled)
        self.assertEqual(("application/json", {}), (reply.content_type, reply.headers))
        return b"".join(reply.pieces)
