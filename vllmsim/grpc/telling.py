# -*- test-case-name: tests.grpc.test_telling -*-
"""Which requests are calls: those that say by their content type that they are of gRPC.

Of these, a call is a ``POST`` of protocol buffers. Any other is a mistake of a client that would understand a status
of HTTP rather than one of gRPC: 405 for another method, and 415 for messages of another kind, such as JSON.
"""

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from vllmsim.grpc.rpc import CONTENT_TYPE, Rpc
from vllmsim.web.http2.request import StreamRequest
from vllmsim.web.http2.stream import Stream
from vllmsim.web.request import Request
from vllmsim.web.site import Routes

_OURS: Final = frozenset({CONTENT_TYPE, CONTENT_TYPE + b"+proto"})
_CONTENT_TYPE: Final = b"content-type"


class _Mistakes:
    """The routes of what is no call and should be one."""

    def locate(self, request: Request) -> None:
        """Know of none."""

    def render(self, request: Request) -> None:
        """Say what the mistake is."""
        if request.method == b"POST":
            request.answer(415, b"", None)
        else:
            request.setHeader(b"Allow", b"POST")
            request.answer(405, b"", None)


_MISTAKES: Final = _Mistakes()


@frozen(eq=False)
class CallsOrRequests:
    """Makes an exchange of each stream: a call where it is one, else a request like any other.

    :param calls: find what answers calls.
    """

    _calls: Routes

    def __call__(
        self, stream: Stream, method: bytes, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]
    ) -> StreamRequest:
        """Make one of what stands in the head of a request."""
        said = next((value for name, value in headers if name == _CONTENT_TYPE), b"")
        kind = said.partition(b";")[0].strip().lower()
        if method == b"POST" and kind in _OURS:
            return Rpc(stream, method, target, version, headers, self._calls)
        request = StreamRequest(stream, method, target, version, headers)
        if kind.partition(b"+")[0].partition(b"-")[0] == CONTENT_TYPE:
            request.routes = _MISTAKES
        return request
