"""Calls in memory: a client of gRPC on one of HTTP/2, and services to be called."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import RecordingMetrics
from tests.http2client import ClientStream, Http2Client
from vllmsim.api.frames import frame
from vllmsim.grpc.framing import MessageReader
from vllmsim.grpc.root import CallRoot
from vllmsim.grpc.service import Implementation
from vllmsim.grpc.status import Code
from vllmsim.grpc.telling import CallsOrRequests
from vllmsim.interfaces import IJournal, IMiddleware
from vllmsim.web.http2.connection import Http2
from vllmsim.web.middleware.chain import Chain
from vllmsim.web.root import RankResource
from vllmsim.web.site import Limits, Site

KIND = "application/grpc"


@define(eq=False)
class Called:
    """One call, and what came back.

    :param answer: the type of the messages that come.
    """

    stream: ClientStream
    answer: Any

    @property
    def messages(self) -> list[Any]:
        """The messages so far."""
        read = MessageReader(1 << 30).feed(self.stream.body)
        return [self.answer.FromString(each.data) for each in read]

    @property
    def metadata(self) -> dict[str, str]:
        """What came before the first message, or with the status where there is none."""
        return self.stream.headers

    @property
    def code(self) -> Code | None:
        """How it went; None while that is not told."""
        told = {**self.stream.headers, **self.stream.trailers}.get("grpc-status")
        return None if told is None else Code(int(told))

    @property
    def text(self) -> str:
        """Why."""
        return unquote({**self.stream.headers, **self.stream.trailers}.get("grpc-message", ""))

    def send(self, *requests: Any, end: bool = False) -> "Called":
        """Send messages."""
        self.stream.send(b"".join(frame(each.SerializeToString()) for each in requests), end=end)
        return self


def call(client: Http2Client, path: str, answer: Any, *requests: Any, end: bool = True, **metadata: str) -> Called:
    """Call a method.

    :param answer: the type of what it answers with.
    :param requests: messages, or bytes that are sent as they are.
    :param end: whether these are all.
    :param metadata: names have ``_`` for ``-``.
    """
    fields: dict[str, Any] = {"content_type": KIND, "te": "trailers", **metadata}
    stream = client.begin("POST", path, **fields)
    data = b"".join(each if isinstance(each, bytes) else frame(each.SerializeToString()) for each in requests)
    if data or end:
        stream.send(data, end=end)
    return Called(stream, answer)


class CallTestCase(SynchronousTestCase):
    """Tests that call services in memory."""

    def serve(
        self,
        *implementations: Implementation,
        body_bytes: int = 1000,
        chain: Iterable[IMiddleware] = (),
        journal: IJournal | None = None,
    ) -> Site:
        """Make a site that has services, and nothing else; no timer may be left after the test."""
        self.clock, self.metrics = Clock(), RecordingMetrics()
        self.addCleanup(self._check_timers, self.clock)
        self.root = CallRoot(implementations)
        limits = Limits(8000, 50, body_bytes, 5)
        self.site = Site(RankResource([]), self.clock, self.metrics, limits, chain=Chain(chain), journal=journal)
        http2 = Http2(CallsOrRequests(self.root))
        self.site.http2 = lambda: succeed(http2)
        return self.site

    def connect(self, **options: Any) -> Http2Client:
        """Open a connection."""
        client = Http2Client(self.site, **options)
        self.addCleanup(self._leave, client)
        return client

    def _leave(self, client: Http2Client) -> None:
        client.drop()
        self.clock.advance(0)

    def _check_timers(self, clock: Clock) -> None:
        self.assertEqual([], clock.getDelayedCalls())

    def call(self, path: str, answer: Any, *requests: Any, end: bool = True, **metadata: str) -> Called:
        """Call a method on a connection of its own; see :func:`call`."""
        return call(self.connect(), path, answer, *requests, end=end, **metadata)

    def assertFailed(self, code: Code, called: Called, text: str = "") -> None:
        """Find a call to have failed before any message."""
        self.assertEqual((code, 200, []), (called.code, called.stream.status, called.messages))
        self.assertTrue(called.stream.ended)
        self.assertIn(text, called.text)


def forever() -> "Deferred[None]":
    """Wait in vain."""
    return Deferred()
