# -*- test-case-name: tests.grpc.test_rpc -*-
"""One call of gRPC: a request over HTTP/2 whose body is messages, answered with messages and a status behind them.

The request is a ``POST`` of ``application/grpc`` to the path of a method; :mod:`vllmsim.grpc.telling` tells such from
others. ``grpc-timeout`` says how long its client waits, ``grpc-encoding`` with what messages are compressed, and all
other headers are the caller's own. The answer's status over HTTP is 200 whatever became of the call; what did is in
trailers, or, where there is no message at all, in the head, which then is everything.

So a call that fails has no body: whatever error its client is to be told of, by a middleware, its method or what
answers for that, comes by :meth:`Rpc.remember` and goes into the status.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import evolve
from google.protobuf.message import Message
from twisted.internet.interfaces import IDelayedCall

from vllmsim.api.body import Head
from vllmsim.api.frames import frame
from vllmsim.errors import InferenceError, InjectedFailure
from vllmsim.grpc.compression import ACCEPTED
from vllmsim.grpc.received import ReceivedCall
from vllmsim.grpc.status import FINE, CallError, Code, Status, status_of, told_in
from vllmsim.web.answered import JSON
from vllmsim.web.http2.stream import Stream
from vllmsim.web.site import Routes

CONTENT_TYPE: Final = b"application/grpc"
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS: Final[Mapping[bytes, float]] = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_OK: Final = 200
_NOT_TOLD: Final = frozenset({b"date", b"server", b"vary"})


class Rpc(ReceivedCall):
    """One call."""

    _told: Status | None = None
    """How it went, when that is not well."""
    _foreign: InferenceError | None = None
    """What a middleware has answered in the place of its method."""
    _timer: IDelayedCall | None = None

    def __init__(
        self,
        channel: Stream,
        method: bytes,
        target: bytes,
        version: str,
        headers: Sequence[tuple[bytes, bytes]],
        routes: Routes,
    ) -> None:
        super().__init__(channel, method, target, version, headers, routes)
        self.setHeader(b"grpc-accept-encoding", ACCEPTED)

    @property
    def head(self) -> Head:
        """What dialects need of the metadata; unlike a body, no message says which model it is for."""
        return evolve(super().head, model=self.header("model"))

    def begun(self) -> None:
        """Learn that the head is there, and how long the client waits."""
        seconds = timeout_in(self.getHeader(b"grpc-timeout"))
        if seconds is not None:
            self._timer = self.site.clock.callLater(seconds, self._expire)
        super().begun()

    # How it is let in

    @property
    def settled(self) -> bool:
        """Whether it has an answer, or needs none any more."""
        return self._told is not None or super().settled

    @property
    def status(self) -> int:
        """The status of the answer over HTTP; 0 as long as there is none."""
        return self.code if self.startedWriting or self._told is not None or self.verdict is not None else 0

    def _enter(self, _: object = None) -> None:
        if self._foreign is not None and not self.gone:
            self._turned_away()
        else:
            super()._enter()

    def _turned_away(self) -> None:
        if self.worth_a_record:
            self.begin_record()
        if self.record is not None and self._foreign is not None:
            self.record.fails(self._foreign)
        self._end(None)

    # What goes out

    def answer(self, status: int, body: bytes, content_type: bytes | None = JSON) -> None:
        """Answer with a message in its frame. What has any status but 200, or comes from a middleware, is a failure."""
        if status == _OK and self._arrived is not None:
            super().answer(status, body, CONTENT_TYPE)
            return
        text = told_in(body) or f"The answer has the HTTP status {status}."
        self._foreign = InjectedFailure(status, "Middleware", text)
        self.remember(self._foreign)

    def answer_with(self, message: Message) -> None:
        """Answer with a message."""
        self.answer(_OK, frame(message.SerializeToString()))

    def send(self, message: Message) -> None:
        """Write a message, one of any number."""
        self.write(frame(message.SerializeToString()))

    def _head(self) -> list[tuple[bytes, bytes]]:
        """List the fields of the head; servers of gRPC tell neither time nor name, and have no caches before them."""
        return [field for field in super()._head() if field[0] not in _NOT_TOLD]

    def _begin(self, data: bytes) -> None:
        # What streams events says so, which here are messages; and how long these are is in their frames.
        self.setHeader(b"Content-Type", CONTENT_TYPE)
        self.length = None
        super()._begin(data)

    def remember(self, error: InferenceError) -> None:
        """Have the client, and the journal, know what went wrong; the client is told of the first thing alone."""
        super().remember(error)
        if self._told is None:
            self._told = status_of(error)

    def fail(self, error: InferenceError) -> None:
        """Have the status be an error's; it is told when the request is finished."""
        self.remember(error)

    def _seal(self) -> None:
        """Settle what the trailers say."""
        status = self._told or FINE
        self.verdict = status.code.name
        self.trailers = status.trailers
        if self.record is not None and self.record.http is not None:
            self.record.http.grpc_status = self.verdict
        if not self.startedWriting:
            self.setHeader(b"Content-Type", CONTENT_TYPE)

    def finish(self) -> None:
        """End the response: with its status."""
        self._seal()
        super().finish()

    def _expire(self) -> None:
        """End a call for whose answer its client waits no more."""
        self.remember(CallError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded", 504))
        self.end_early()
        # It is not who answers that calls, and nothing of the answer may come in this turn any more.
        self._part()

    def hang_up(self, *, reset: bool = False) -> None:
        """End the call as its client would see it end with the connection, which others have calls on, too."""
        if not self.gone:
            self._told = Status(Code.UNAVAILABLE, "The connection is reset." if reset else "The connection is closed.")
            self.end_early()

    def end_early(self) -> None:
        """End the call where it stands, with its status so far."""
        self._seal()
        super().end_early()

    def _count(self) -> None:
        """Count nothing, as vLLM has no metrics of calls. But this is the end, however it has come."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def timeout_in(header: bytes | None) -> float | None:
    """Read ``grpc-timeout``.

    :return: seconds; None where there is none, or nothing that means one: such headers are passed over.
    """
    match = None if header is None else _TIMEOUT.fullmatch(header)
    return None if match is None else int(match[1]) * _UNITS[match[2]]
