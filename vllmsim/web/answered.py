# -*- test-case-name: tests.web.test_request -*-
"""What is answered in an exchange over HTTP: a head, and a body in one piece or in many."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.web.http import NO_BODY_CODES

from vllmsim.records import RequestRecord
from vllmsim.web.received import ReceivedRequest
from vllmsim.web.sending import Write

JSON: Final = b"application/json"
_STATUS_LINES: Final[Mapping[int, bytes]] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_LAST_CHUNK: Final = b"0\r\n\r\n"


def _status_line(status: int) -> bytes:
    """Begin a response whose status has no name."""
    return b"HTTP/1.1 %d Unknown\r\n" % status


class AnsweredRequest(ReceivedRequest):
    """One request, and what is written in answer to it."""

    gone = False
    """Whether the client has left."""
    record: RequestRecord | None = None
    """What the journal remembers of it, if it does."""
    length: int | None = None
    """How many bytes the body of the answer has. While that is not known, it is written in chunks."""
    answered_body: bytes | None = None
    """The body of the answer, where somebody wants to see it and it does not come in pieces."""
    _keeps_answer = False
    _bodiless = False

    @property
    def settled(self) -> bool:
        """Whether it has an answer, or needs none any more."""
        return bool(self.startedWriting) or self.gone

    @property
    def status(self) -> int:
        """The status of the answer; 0 as long as nothing is written."""
        return self.code if self.startedWriting else 0

    @property
    def request_id(self) -> str | None:
        """What the answer is called, or the request."""
        named = self.responseHeaders.getRawHeaders(b"x-request-id")
        return named[-1].decode("latin-1") if named else self._text(b"x-request-id")

    @property
    def answered_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the answer that are its own."""
        return [(name, value) for name, values in self.responseHeaders.getAllRawHeaders() for value in values]

    def keep_answer(self) -> None:
        """Have the body of the answer kept."""
        self._keeps_answer = True

    def answer(self, status: int, body: bytes, content_type: bytes | None = JSON) -> None:
        """Write a whole response. Whoever was asked to render finishes the request.

        :param content_type: None for a response that does not say.
        """
        self.begin(status, len(body), content_type)
        self.write(body)

    def begin(self, status: int, length: int, content_type: bytes | None) -> None:
        """Settle what the head says of a whole response; it is written with the first piece of the body."""
        self.code = status
        self.length = length
        if content_type is not None:
            self.setHeader(b"Content-Type", content_type)

    def write(self, data: bytes) -> None:
        """Write a piece of the body, and the head before the first. Harmless when the client is gone."""
        if self.gone:
            return
        if not self.startedWriting:
            self.startedWriting = 1
            if self._keeps_answer and self.length is not None:
                self.answered_body = data
            if self.record is not None and self.record.http is not None:
                self.record.http.status = self.code
            self._bodiless = self.method == b"HEAD" or self.code in NO_BODY_CODES
            self._begin(data)
        elif data and not self._bodiless:
            self.channel.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def piece_writer(self) -> Write:
        """Find the shortest way for pieces of the body, once the first is written."""
        write = self.channel.write
        if self._bodiless:
            return lambda _: None
        if not self.chunked:
            return write

        def write_chunk(data: bytes) -> None:
            if data:
                write(b"%x\r\n%b\r\n" % (len(data), data))

        return write_chunk

    def write_last(self, data: bytes) -> None:
        """Write the last piece of the body; the request is yet to be finished."""
        if self.chunked and data and not self.gone:
            self.chunked = 0
            self.channel.write(b"%x\r\n%b\r\n%b" % (len(data), data, _LAST_CHUNK))
        else:
            self.write(data)

    def room(self) -> Deferred[None]:
        """Wait until more may be written.

        :return: fires then, at once if it may; a client that leaves has the route cancelled, which waits here.
        """
        return succeed(None) if self.gone else self.channel.room()

    def _begin(self, data: bytes) -> None:
        """Write the head, and the first piece of the body with it, if the answer has one."""
        lines = [_STATUS_LINES.get(self.code) or _status_line(self.code), self.site.signature]
        if self.length is not None and self.code not in NO_BODY_CODES:
            lines.append(b"content-length: %d\r\n" % self.length)
        elif self.clientproto == b"HTTP/1.1" and not self._bodiless:
            self.chunked = 1
            lines.append(b"transfer-encoding: chunked\r\n")
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        else:
            # Clients of HTTP/1.0 learn the end by the connection's.
            self.persistent = self.persistent and self._bodiless
        if self._bodiless:
            data = b""
        for name, values in self.responseHeaders.getAllRawHeaders():
            lines += [b"%b: %b\r\n" % (name.lower(), value) for value in values]
        self.persistent = self.persistent and not self.channel.closing
        if not self.persistent:
            lines.append(b"connection: close\r\n")
        elif self.clientproto != b"HTTP/1.1":
            lines.append(b"connection: keep-alive\r\n")
        self.channel.write(b"%b\r\n%b" % (b"".join(lines), data))
