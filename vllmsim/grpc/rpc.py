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
from collections.abc import AsyncIterator, Mapping, Sequence
from io import BytesIO
from typing import Final

from attrs import evolve
from google.protobuf.message import Message
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from vllmsim.api.body import Head
from vllmsim.api.frames import frame
from vllmsim.errors import InferenceError, InjectedFailure
from vllmsim.grpc.compression import ACCEPTED, IDENTITY, check_encoding, inflated
from vllmsim.grpc.framing import Framed, MessageReader
from vllmsim.grpc.inbox import Inbox
from vllmsim.grpc.status import FINE, CallError, Code, Status, status_of, told_in
from vllmsim.turns import Turn
from vllmsim.web.answered import JSON
from vllmsim.web.http2.request import StreamRequest
from vllmsim.web.http2.stream import Stream
from vllmsim.web.received import Refused
from vllmsim.web.site import Routes

CONTENT_TYPE: Final = b"application/grpc"
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS: Final[Mapping[bytes, float]] = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_OK: Final = 200
_NOT_TOLD: Final = frozenset({b"date", b"server", b"vary"})


class Rpc(StreamRequest):
    """One call.

    :param routes: find its method.
    """

    streams_in = False
    """Whether its messages are answered as they come; set when its method is found."""
    _heard: Framed | None = None
    """Its one message, when that has come."""
    _trouble: InferenceError | None = None
    """What is wrong with its messages."""
    _inbox: Inbox
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
        super().__init__(channel, method, target, version, headers)
        # How long its messages are is said by them alone.
        self._oversize = self.hopeless = False
        self.routes = routes
        self._reader = MessageReader(self._limit)
        self.setHeader(b"grpc-accept-encoding", ACCEPTED)

    @property
    def head(self) -> Head:
        """What dialects need of the metadata; unlike a body, no message says which model it is for."""
        return evolve(super().head, model=self.header("model"))

    # What comes in

    def begun(self) -> None:
        """Learn that the head is there; a method that reads messages as they come begins now."""
        seconds = timeout_in(self.getHeader(b"grpc-timeout"))
        if seconds is not None:
            self._timer = self.site.clock.callLater(seconds, self._expire)
        self.routes.locate(self)
        if self.streams_in:
            self._be_patient()
            self._inbox = Inbox(self._limit)
            super().process()

    def _be_patient(self) -> None:
        """Have a client take its time between messages."""
        self.site.coming.stop(self.channel)

    def take(self, piece: bytes) -> None:
        """Read a piece of the body."""
        if self.streams_in:
            self._be_patient()
        if self._trouble is not None:
            return
        self._body_bytes += len(piece)
        try:
            for message in self._reader.feed(piece):
                self._hear(message)
        except CallError as error:
            self._trouble = error
            if self.streams_in:
                self._inbox.end(error)
            else:
                self.hopeless = True

    def _hear(self, message: Framed) -> None:
        if self.streams_in:
            self._inbox.put(message)
        elif self._heard is None:
            self._heard = message
        else:
            raise CallError(Code.INTERNAL, "The method takes one message, and there are several.")

    def process(self) -> None:
        """Learn that the body is complete, and answer, unless that has begun."""
        if self._trouble is None and not self._reader.between:
            self._trouble = CallError(Code.INTERNAL, "The last message is not complete.")
        if self.streams_in:
            self._inbox.end(self._trouble)
        else:
            self._answer_message()

    def _answer_message(self) -> None:
        """Answer the one message that the method takes, as soon as it can be read."""
        message = self._heard
        # What has no chance to be let in is not worth the work.
        if self._trouble is None and message is not None and message.compressed and self.chain.admits(self):
            inflating = Deferred.fromCoroutine(self._inflate(message))
            self._answering = inflating
            inflating.addCallbacks(lambda _: super(Rpc, self).process(), self._end)
        else:
            super().process()

    async def _inflate(self, message: Framed) -> None:
        try:
            self._heard = Framed(compressed=False, data=await self._plain(message))
        except CallError as error:
            self._trouble = error

    async def _plain(self, message: Framed) -> bytes:
        if not message.compressed:
            return message.data
        return await inflated(message.data, self._encoding, self._limit, self.site.clock)

    def _complete(self) -> None:
        """Have the body be the message."""
        if self._trouble is None and self._heard is None and not self.streams_in:
            self._trouble = CallError(Code.INTERNAL, "The method takes a message, and there is none.")
        if self._trouble is None and self._heard is not None:
            self.body = self._heard.data
            self._body_bytes = len(self.body)
        self.content = BytesIO(self.body) if self._trouble is None else Refused(self._trouble)

    async def messages(self) -> AsyncIterator[bytes]:
        """Read the messages of a method that takes any number, as they come.

        :raises CallError: when one is wrong.
        """
        turn = Turn(self.site.clock)
        while (message := await self._inbox.get()) is not None:
            yield await self._plain(message)
            await turn.step()

    @property
    def _encoding(self) -> bytes:
        encoding: bytes = self.getHeader(b"grpc-encoding") or IDENTITY
        return encoding

    def _why_hopeless(self) -> InferenceError:
        return super()._why_hopeless() if self._trouble is None else self._trouble

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

    def _serve(self) -> None:
        """Have the method answer, if its messages can be read."""
        try:
            check_encoding(self._encoding)
        except CallError:
            self._end(Failure())
        else:
            super()._serve()

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
