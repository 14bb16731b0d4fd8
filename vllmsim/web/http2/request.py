# -*- test-case-name: tests.web.http2.test_request -*-
"""One exchange over a stream of HTTP/2."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from twisted.web.http import NO_BODY_CODES

from vllmsim.web.request import Request

if TYPE_CHECKING:
    from vllmsim.web.http2.stream import Stream

_OF_CONNECTIONS: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"})


class StreamRequest(Request):
    """One exchange. Its stream is its channel: what ends that ends no other exchange of the connection."""

    channel: "Stream"  # type: ignore[assignment]

    trailers: Sequence[tuple[bytes, bytes]] = ()
    """Fields that are sent as the end of the answer; they may be set until it is finished."""

    streams_in = False
    """Whether the body is read as it comes, so that little of it is kept."""

    lasting = False
    """Whether the connection is kept for others like this, however long they take to come."""

    def __init__(
        self, channel: "Stream", method: bytes, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        super().__init__(channel, method, target, version, headers)
        # A body that is too large is answered at once, as that ends nothing but this.
        self.hopeless = self._oversize

    def begun(self) -> None:
        """Learn that the head is there. Who wants the body as it comes begins here, and overrides :meth:`take`."""

    def take(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        super().take(piece)
        self.hopeless = self._oversize

    def finish(self) -> None:
        """End the response."""
        self._answer_by_trailers()
        super().finish()

    def end_early(self) -> None:
        """End the response where it stands, as if it were complete; who answers it is cancelled likewise."""
        self._answer_by_trailers()
        super().end_early()

    def _answer_by_trailers(self) -> None:
        """Write a head that is all, if there are trailers and nothing else."""
        if self.trailers and not self.startedWriting and not self.gone and not self._aborted:
            self.startedWriting = 1
            if self.record is not None and self.record.http is not None:
                self.record.http.status = self.code
            self.channel.send_head([*self._head(), *self.trailers], end=True)

    def _begin(self, data: bytes) -> None:
        """Write the head, and the first piece of the body, if the answer has one."""
        self.channel.send_head(self._head())
        if data and not self._bodiless:
            self.channel.write(data)

    def _head(self) -> list[tuple[bytes, bytes]]:
        """List the fields of the head."""
        fields = [(b":status", b"%d" % self.code), *self.site.signature_fields]
        if self.length is not None and self.code not in NO_BODY_CODES:
            fields.append((b"content-length", b"%d" % self.length))
        for name, values in self.responseHeaders.getAllRawHeaders():
            name = name.lower()  # noqa: PLW2901 - it is the same name
            if name not in _OF_CONNECTIONS:
                fields += [(name, value) for value in values]
        return fields
