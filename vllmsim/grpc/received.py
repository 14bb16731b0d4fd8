# -*- test-case-name: tests.grpc.test_rpc -*-
"""What is received of a call: one message, or any number that are read as they come.

What is wrong with them is an error of the call, whoever would have answered it: messages that are not complete, too
large, compressed with something unknown, or too many.
"""

from collections.abc import AsyncIterator, Sequence
from io import BytesIO

from twisted.internet.defer import Deferred

from vllmsim.errors import InferenceError
from vllmsim.grpc.compression import IDENTITY, check_encoding, inflated
from vllmsim.grpc.framing import Framed, MessageReader
from vllmsim.grpc.inbox import Inbox
from vllmsim.grpc.status import CallError, Code
from vllmsim.turns import Turn
from vllmsim.web.http2.request import StreamRequest
from vllmsim.web.http2.stream import Stream
from vllmsim.web.received import Refused
from vllmsim.web.site import Routes


class ReceivedCall(StreamRequest):
    """One call, as far as its client has a part in it.

    :param routes: find its method.
    """

    _heard: Framed | None = None
    """Its one message, when that has come."""
    _trouble: InferenceError | None = None
    """What is wrong with its messages."""
    _inbox: Inbox

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

    def begun(self) -> None:
        """Learn that the head is there; a method that reads messages as they come begins now."""
        self.routes.locate(self)
        try:
            check_encoding(self._encoding)
        except CallError as error:
            self._trouble = error
        if self.streams_in:
            self._be_patient()
            self._inbox = Inbox(self._limit)
            if self._trouble is not None:
                self._inbox.end(self._trouble)
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
            inflating.addCallbacks(lambda _: super(ReceivedCall, self).process(), self._end)
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
