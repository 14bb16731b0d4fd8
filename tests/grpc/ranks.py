"""Calls of VllmEngine to a whole rank, in memory."""

from typing import Any

from tests.grpc.calling import Called, call
from tests.harness import RankTestCase
from vllmsim.grpc.status import Code

PATH = "/vllm.grpc.engine.VllmEngine/"


class EngineTestCase(RankTestCase):
    """Tests that call the methods of a rank."""

    def ask(self, method: str, answer: Any, request: Any, **metadata: Any) -> Called:
        """Call a method on a connection of its own; let answers come that take no time.

        :param answer: the type of what it answers with.
        """
        return self.wait(call(self.connect_http2(), PATH + method, answer, request, **metadata))

    def wait(self, called: Called, *seconds: float) -> Called:
        """Let time pass."""
        self.clock.pump([0, 0, *seconds])
        called.stream.client.pump()
        return called

    def told(self, called: Called) -> Any:
        """Find the one message of a call that went well."""
        self.assertEqual((Code.OK, ""), (called.code, called.text))
        [message] = called.messages
        return message
