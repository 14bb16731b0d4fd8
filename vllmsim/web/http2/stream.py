# -*- test-case-name: tests.web.http2.test_stream -*-
"""One stream of a connection: what its request takes for its channel.

What is written goes out at once while the client has given room for it, and the connection has some; what does not,
waits here and goes in turns with what waits in other streams. While something waits, :attr:`Stream.full` says so.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from h2.errors import ErrorCodes
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from vllmsim.web.deadlines import HEADWAY
from vllmsim.web.http2.frames import data_frame
from vllmsim.web.http2.outgoing import LARGEST_FRAME
from vllmsim.web.received import PATIENCE

if TYPE_CHECKING:
    from vllmsim.web.http2.connection import Http2Channel
    from vllmsim.web.http2.request import StreamRequest
    from vllmsim.web.site import Site

Fields = Sequence[tuple[bytes, bytes]]


class Stream:
    """One exchange's part of a connection.

    :param number: what the stream is called in frames.
    :param window: how many bytes of it the client has room for.
    :param head_bytes: how large the head of its request is.
    """

    def __init__(self, connection: "Http2Channel", number: int, window: int, head_bytes: int = 0) -> None:
        self.connection = connection
        self.number = number
        self.window = window
        self.site: Site = connection.site
        self.transport: Any = connection.transport
        self.answered = False
        """Whether something was written."""
        self.queued = False
        """Whether it waits for its turn to send."""
        self.complete = False
        """Whether the answer is complete, and only the client still sends."""
        self._out = connection.out
        self._burden = connection.burden
        self._burden.heads += head_bytes
        self._head_bytes = head_bytes
        self._body_bytes = 0
        self._closed = False
        self._request: StreamRequest | None = None
        self._processed = False
        self._read_all = False
        self._written_all = False
        self._trailers: Fields = ()
        self._breaks_off = False
        self._pending: deque[bytes] = deque()
        self._sent = 0
        """How much of the first that waits is sent."""
        self._room: Deferred[None] | None = None
        self._unacknowledged = self._headway = 0
        self._wasted = 0

    # What comes in

    def begin(self, request: "StreamRequest") -> None:
        """Learn whose stream this is. Its head is there, and its body is to come."""
        self._request = request
        self.site.coming.start(self)
        if request.expects and not request.chain.admits(request):
            request.hopeless = True
        if request.hopeless or request.method == b"CONNECT":
            self._process()
            return
        if request.expects:
            self._out.head(self.number, [(b":status", b"100")])
        request.begun()

    def take(self, piece: bytes, size: int) -> None:
        """Take a piece of the body.

        :param size: how much of the window it has filled.
        """
        self._unacknowledged += size
        request = self._request
        if request is None or (self._processed and request.hopeless):
            self._waste(size)
            return
        self._headway += size
        if self._headway >= HEADWAY:
            self._headway = 0
            self.site.coming.start(self)
        request.take(piece)
        if not request.streams_in:
            self._body_bytes += len(piece)
            self._burden.bodies += len(piece)
            if self._burden.overfull(self.site.limits.body_bytes):
                self._close(ErrorCodes.REFUSED_STREAM)
                return
        if request.hopeless and not self._processed:
            self._process()
        # Who does not read the answers to what it sends is not read from either.
        if not self.full:
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Have the client send more."""
        size, self._unacknowledged = self._unacknowledged, 0
        if size and not self._closed:
            self._out.acknowledge(self.number, size)

    def _waste(self, size: int) -> None:
        """Throw away what comes behind an answer; but who goes on for too long is told to stop."""
        self._wasted += size
        if not self.complete:
            return
        if self._wasted > PATIENCE * self.site.limits.body_bytes:
            self._close(ErrorCodes.NO_ERROR)
        else:
            self._acknowledge()

    def end(self) -> None:
        """Learn that the client has sent everything."""
        self._read_all = True
        self.site.coming.stop(self)
        if self.complete:
            self.connection.forget(self)
        elif not self._processed:
            self._process()

    def _process(self) -> None:
        self._processed = True
        self._lighten()
        self.site.coming.stop(self)
        if self._request is not None:
            self._request.process()

    def _lighten(self) -> None:
        """Learn that the body is complete, or nobody wants it."""
        self._burden.bodies -= self._body_bytes
        self._body_bytes = 0

    # What goes out

    @property
    def full(self) -> bool:
        """Whether the client reads too slowly for more to be written."""
        return self._out.full or bool(self._pending)

    def room(self) -> Deferred[None]:
        """Wait until the client has read enough for more to be written.

        :return: fires then, at once if there is room; never when the stream is closed before.
        """
        if not self.full:
            return succeed(None)
        self._room = Deferred()
        return self._room

    def send_head(self, fields: Fields, *, end: bool = False) -> None:
        """Send the head of an answer.

        :param end: whether that is all.
        """
        if not self._closed:
            self.answered = True
            self._written_all = end
            self._out.head(self.number, fields, end=end)

    def write(self, data: bytes) -> None:
        """Send a piece of a body."""
        size = len(data)
        out = self._out
        if size <= self.window and size <= out.window and size <= LARGEST_FRAME and not (self._pending or out.full):
            if size:
                self.window -= size
                out.window -= size
                out.put(data_frame(self.number, data))
        elif size and not self._closed:
            if not self._pending:
                self.site.sending.start(self)
            self._pending.append(data)
            out.backlog += size
            out.wait(self)

    @property
    def waits(self) -> bool:
        """Whether something waits that the client has room for."""
        return bool(self._pending) and self.window > 0

    def send_some(self, most: int) -> int:
        """Send of what waits what makes one frame.

        :param most: how long that may be.
        :return: how long it is.
        """
        first, sent = self._pending[0], self._sent
        size = min(most, self.window, len(first) - sent)
        self.window -= size
        self._out.window -= size
        self._out.backlog -= size
        self._out.put(data_frame(self.number, first[sent : sent + size]))
        self._sent += size
        if self._sent == len(first):
            self._pending.popleft()
            self._sent = 0
        if self._pending:
            self.site.sending.start(self)
        else:
            self.site.sending.stop(self)
            self._sent_all()
        return size

    def _sent_all(self) -> None:
        """Go on behind what has waited."""
        if self._breaks_off:
            self._close(ErrorCodes.INTERNAL_ERROR)
        elif self._written_all:
            self._finish()
        else:
            self.wake()

    def wake(self) -> None:
        """Have those go on who wait for room, if there is some."""
        if self.full:
            return
        self._acknowledge()
        room, self._room = self._room, None
        if room is not None and not room.called:
            room.callback(None)

    def requestDone(self, request: "StreamRequest") -> None:
        """Learn that an answer is complete."""
        self._request = None
        if self._written_all:
            self._part()
            return
        self._written_all, self._trailers = True, request.trailers
        if not self._pending:
            self._finish()

    def _finish(self) -> None:
        """Send the end of the answer."""
        if self._closed:
            return
        if self._trailers:
            self._out.head(self.number, self._trailers, end=True)
        else:
            self._out.end(self.number)
        self._part()

    # How it ends

    def _part(self) -> None:
        """Be done with the stream. A client who still sends may do so for a while: some look for no answer before."""
        self.complete = True
        if self._read_all:
            self.connection.forget(self)
        elif self.site.closing:
            self._close(ErrorCodes.NO_ERROR)
        else:
            self.site.coming.start(self)
            self._acknowledge()

    def loseConnection(self) -> None:
        """Break the answer off behind all that is written, so that the client knows that it is not complete."""
        self._breaks_off = True
        if not self._pending:
            self._close(ErrorCodes.NO_ERROR if self.complete else ErrorCodes.INTERNAL_ERROR)

    def stalled(self) -> None:
        """Break off an answer that the client has no room for."""
        self._close(ErrorCodes.CANCEL)

    def dismiss(self) -> None:
        """Tell a client who has no answer yet that the server stops."""
        if self._request is None or self.answered:
            return
        if self._processed:
            self._request.dismiss()
        else:
            self._close(ErrorCodes.REFUSED_STREAM)

    def abort(self) -> None:
        """Break the answer off now."""
        self._close(ErrorCodes.INTERNAL_ERROR)

    def _close(self, code: ErrorCodes) -> None:
        """Reset the stream. Who answers hears of it in a turn of its own: it may be what calls."""
        if not self._closed:
            self._out.reset(self.number, code)
            self.connection.forget(self)
            self.site.clock.callLater(0, self.lost, Failure(ConnectionAborted()))

    def close(self) -> None:
        """Send nothing any more. What was not acknowledged yet fills the connection's window no more."""
        self._acknowledge()
        self._lighten()
        self._burden.heads -= self._head_bytes
        self._head_bytes = 0
        self.site.forget(self)
        self._closed = True
        self.window = -1
        self._out.backlog -= sum(map(len, self._pending)) - self._sent
        self._pending, self._sent = deque(), 0

    def lost(self, reason: Failure) -> None:
        """Learn that the stream is closed."""
        request, self._request = self._request, None
        if request is not None:
            request.connectionLost(reason)

    # What requests want to know

    def isSecure(self) -> bool:
        """Tell whether the connection is encrypted."""
        return self.connection.isSecure()

    def getPeer(self) -> IAddress:
        """Name the client's address."""
        return self.connection.getPeer()

    def getHost(self) -> IAddress:
        """Name the address that the client came to."""
        return self.connection.getHost()
