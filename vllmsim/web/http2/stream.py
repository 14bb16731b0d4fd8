# -*- test-case-name: tests.web.http2.test_stream -*-
"""One stream of a connection: what its request takes for its channel.

What is written goes out at once while the client has given room for it, and the connection has some; what does not,
waits here and goes in turns with what waits in other streams. While something waits, :attr:`Stream.full` says so.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from h2.errors import ErrorCodes
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from vllmsim.web.http2.frames import data_frame

if TYPE_CHECKING:
    from vllmsim.web.http2.connection import Http2Channel
    from vllmsim.web.http2.request import StreamRequest
    from vllmsim.web.site import Site

Fields = Sequence[tuple[bytes, bytes]]

_PATIENCE: Final = 16
"""How many times the body limit is read and thrown away behind an answer that did not wait for it."""


class Stream:
    """One exchange's part of a connection.

    :param number: what the stream is called in frames.
    :param window: how many bytes the client has room for.
    """

    def __init__(self, connection: "Http2Channel", number: int, window: int) -> None:
        self.connection = connection
        self.number = number
        self.window = window
        self.site: Site = connection.site
        self.transport: Any = connection.transport
        self.closed = False
        """Whether nothing can be sent any more."""
        self.request: StreamRequest | None = None
        self.read_all = False
        """Whether the client has sent everything."""
        self._processed = False
        self._pending: deque[bytes] = deque()
        self._ended = False
        self._trailers: Fields = ()
        self._reset = False
        """Whether the stream is reset when all that waits is sent."""
        self._room: Deferred[None] | None = None
        self._wasted = 0
        self._unacknowledged = 0

    # What comes in

    def begin(self, request: "StreamRequest") -> None:
        """Learn whose stream this is, and that its head is there."""
        self.request = request
        if request.expects and not request.chain.admits(request):
            request.hopeless = True
        if request.hopeless:
            self._process()
            return
        if request.expects:
            self.connection.send_head(self, [(b":status", b"100")])
        request.begun()

    def take(self, piece: bytes, size: int) -> None:
        """Take a piece of the body.

        :param size: by how much it has filled the window that the client was given.
        """
        self._unacknowledged += size
        request = self.request
        if request is None or self._processed:
            self._waste(size)
            return
        self.site.coming.start(self)
        request.take(piece)
        if request.hopeless and not self._processed:
            self._process()
        if not self.full:
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Have the client send more."""
        size, self._unacknowledged = self._unacknowledged, 0
        if size:
            self.connection.acknowledge(self, size)

    def _waste(self, size: int) -> None:
        """Throw away what comes behind an answer; but who goes on for too long is told to stop."""
        self._wasted += size
        if self._wasted > _PATIENCE * self.site.limits.body_bytes:
            self._close(ErrorCodes.NO_ERROR)
        else:
            self._acknowledge()

    def end(self) -> None:
        """Learn that the client has sent everything."""
        self.read_all = True
        self.site.coming.stop(self)
        if self.request is not None and not self._processed:
            self._process()

    def _process(self) -> None:
        self._processed = True
        self.site.coming.stop(self)
        if self.request is not None:
            self.request.process()

    # What goes out

    @property
    def full(self) -> bool:
        """Whether the client reads too slowly for more to be written."""
        return self.connection.full or bool(self._pending)

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
        if not self.closed:
            self._ended = end
            self.connection.send_head(self, fields, end=end)

    def write(self, data: bytes) -> None:
        """Send a piece of a body."""
        if self.closed or not data:
            return
        connection = self.connection
        size = len(data)
        if self._pending or size > self.window or not connection.may_send(size):
            self._pending.append(data)
            connection.wait(self)
            return
        self.window -= size
        connection.window -= size
        connection.put(data_frame(self.number, data))

    @property
    def waits(self) -> bool:
        """Whether something waits that the client has room for."""
        return bool(self._pending) and self.window > 0

    def send_some(self, most: int) -> None:
        """Send of what waits what makes one frame.

        :param most: how long that may be.
        """
        first = self._pending.popleft()
        size = min(most, self.window, len(first))
        if size < len(first):
            self._pending.appendleft(first[size:])
        self.window -= size
        self.connection.window -= size
        self.connection.put(data_frame(self.number, first[:size]))
        if self._pending:
            self.site.sending.start(self)
        else:
            self.site.sending.stop(self)
            self._sent_all()

    def _sent_all(self) -> None:
        """Go on behind what has waited."""
        if self._reset:
            self._close(ErrorCodes.INTERNAL_ERROR)
        elif self._ended:
            self._finish()
        elif not self.connection.full:
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
        self.request = None
        self._processed = True
        if self._ended:
            self._over()
            return
        self._ended, self._trailers = True, request.trailers
        if not self._pending:
            self._finish()

    def _finish(self) -> None:
        """Send the end of the answer."""
        if self._trailers:
            self.connection.send_head(self, self._trailers, end=True)
        else:
            self.connection.send_end(self)
        self._over()

    def _over(self) -> None:
        """Part with the stream; a client who still sends may do so for a while, as some look for no answer before."""
        if self.read_all:
            self.connection.forget(self)
        else:
            self.site.coming.start(self)
            self._acknowledge()

    def loseConnection(self) -> None:
        """Break the answer off behind all that is written; the client is told that it is not complete."""
        self._reset = True
        if not self._pending:
            self._close(ErrorCodes.NO_ERROR if self._ended else ErrorCodes.INTERNAL_ERROR)

    def stalled(self) -> None:
        """Break off an answer that the client has no room for."""
        self._close(ErrorCodes.CANCEL)

    def abort(self) -> None:
        """Break the answer off now."""
        self._close(ErrorCodes.INTERNAL_ERROR)

    def _close(self, code: ErrorCodes) -> None:
        """Reset the stream. Who answers hears of it in a turn of its own: it may be what calls."""
        if not self.closed:
            self.connection.reset(self.number, code)
            self.connection.forget(self)
            self.site.clock.callLater(0, self.lost, Failure(ConnectionAborted()))

    def lost(self, reason: Failure) -> None:
        """Learn that the stream is closed."""
        self._pending.clear()
        request, self.request = self.request, None
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
