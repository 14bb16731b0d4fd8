"""What clients stream in."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.errors import InvalidRequest
from vllmsim.grpc.framing import Framed
from vllmsim.grpc.inbox import MOST, Inbox
from vllmsim.grpc.status import CallError, Code, status_of


def message(data: bytes) -> Framed:
    """Make a message."""
    return Framed(compressed=False, data=data)


class InboxTests(SynchronousTestCase):
    """Messages wait to be read."""

    def setUp(self) -> None:
        """Make one."""
        self.inbox = Inbox(100)

    def get(self) -> "Deferred[Framed | None]":
        """Begin to read."""
        return Deferred.fromCoroutine(self.inbox.get())

    def test_order(self) -> None:
        """Messages are read in their order, whether they are there or yet to come; behind the last there is nothing."""
        self.inbox.put(message(b"1"))
        self.inbox.put(message(b"2"))
        self.assertEqual([message(b"1"), message(b"2")], [self.successResultOf(self.get()) for _ in range(2)])
        waiting = self.get()
        self.assertNoResult(waiting)
        self.inbox.put(message(b"3"))
        self.assertEqual(message(b"3"), self.successResultOf(waiting))
        waiting = self.get()
        self.inbox.end()
        self.assertEqual([None, None], [self.successResultOf(each) for each in (waiting, self.get())])

    def test_error(self) -> None:
        """Who reads hears why no more will come, and it is the first reason that counts."""
        waiting = self.get()
        self.inbox.end(InvalidRequest("No."))
        self.inbox.end()
        self.failureResultOf(waiting, InvalidRequest)
        self.failureResultOf(self.get(), InvalidRequest)

    def test_too_many(self) -> None:
        """Only so many messages wait, and only so many bytes of them; one alone may be as large as messages may."""
        for _ in range(MOST):
            self.inbox.put(message(b""))
        with self.assertRaises(CallError) as caught:
            self.inbox.put(message(b""))
        self.assertEqual(Code.RESOURCE_EXHAUSTED, status_of(caught.exception).code)
        self.inbox = Inbox(100)
        self.inbox.put(message(bytes(100)))
        self.assertRaises(CallError, self.inbox.put, message(b"x"))
        self.inbox = Inbox(100)
        for _ in range(3):
            self.inbox.put(message(bytes(100)))
            self.successResultOf(self.get())

    def test_cancelled(self) -> None:
        """Who waits no more takes no message away."""
        waiting = self.get()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.inbox.put(message(b"1"))
        self.assertEqual(message(b"1"), self.successResultOf(self.get()))
