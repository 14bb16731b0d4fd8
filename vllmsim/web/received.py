# -*- test-case-name: tests.web.test_request -*-
"""What is received of an exchange over HTTP: its head, and its body as far as that is not too large."""

import re
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.web import server
from twisted.web.http import parse_qs
from twisted.web.http_headers import Headers

from vllmsim.api.body import Head
from vllmsim.errors import BodyTooLarge, InferenceError

if TYPE_CHECKING:
    from vllmsim.web.channel import Channel
    from vllmsim.web.http2.stream import Stream
    from vllmsim.web.site import Site

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_ADDRESS: Final = re.compile(rb"https?://[^/?]*", re.IGNORECASE)
"""What stands before the path of a target that is a whole address, as clients of proxies write it."""
_LONGEST_NUMBER: Final = 20
"""How many digits of a length are read: more mean the same, and Python does not read any number of them."""
PATIENCE: Final = 16
"""How many times the body limit is read and thrown away, so that the client may finish and see the error."""


class Refused(BytesIO):
    """Stands for a body that was thrown away: who reads it hears why."""

    def __init__(self, reason: InferenceError) -> None:
        super().__init__()
        self._reason = reason

    def read(self, size: int | None = -1) -> bytes:
        """Refuse."""
        raise self._reason


class ReceivedRequest(server.Request):
    """One request. Of a body above the site's limit nothing is kept, and who reads it hears that.

    :param headers: names, in whatever case they were sent, and values.
    """

    channel: "Channel"  # type: ignore[assignment]
    site: "Site"  # type: ignore[assignment]
    content: BytesIO
    target: bytes
    """What was asked for: a path as it was sent, and a query."""
    path: bytes
    """Its path, without what is written in percent signs."""
    body = b""
    """The body; empty for one that is thrown away."""
    persistent = False
    """Whether another request may follow on the connection."""
    hopeless = False
    """Whether the body is not read to its end: it is far too large, or was not wanted. No route may answer then."""
    _body_bytes = 0
    _oversize = False

    def __init__(
        self,
        channel: "Channel | Stream",
        method: bytes,
        target: bytes,
        version: str,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> None:
        super().__init__(channel, parsePOSTFormSubmission=False)
        # The base class parts with the channel when the connection is lost.
        self._connection = channel
        self.site = channel.site
        self.method, self.uri, self.clientproto = method, target, b"HTTP/" + version.encode()
        self.target = _ADDRESS.sub(b"", target, 1)
        path, _, query = self.target.partition(b"?")
        self.path = unquote_to_bytes(path) if b"%" in path else path
        if self.site.root_path:
            self.path = _below(self.site.root_path, self.path)
        self.args = parse_qs(query, 1) if query else {}
        self._headers = headers
        self._received = {name.lower(): value for name, value in headers}
        self._pieces: list[bytes] = []
        if length_of(self._received.get(b"content-length")) > self._limit:
            self._oversize = True
            self.hopeless = self.expects

    @property
    def requestHeaders(self) -> Headers:
        """All headers. Routes that want one do better with :meth:`getHeader`, which needs no collection of them."""
        headers = Headers()
        for name, value in self._headers:
            headers.addRawHeader(name, value)
        return headers

    @requestHeaders.setter
    def requestHeaders(self, headers: Headers) -> None:
        """Let the base class begin with none."""

    @property
    def received_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """All headers, as they were sent."""
        return self._headers

    @property
    def expects(self) -> bool:
        """Whether the client asks before it sends its body; then one that is too large is refused at once."""
        return self._received.get(b"expect", b"").lower() == b"100-continue"

    def headers(self, name: str) -> list[str]:
        """List the headers of a name, in any case, in their order."""
        wanted = name.lower().encode("latin-1", "replace")
        if wanted not in self._received:
            return []
        return [value.decode("latin-1") for each, value in self._headers if each.lower() == wanted]

    def getHeader(self, key: Any) -> Any:
        """Look up a header; the last of several."""
        if isinstance(key, bytes):
            return self._received.get(key.lower())
        return super().getHeader(key)

    def take(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        self._body_bytes += len(piece)
        if self._body_bytes <= self._limit and not self._oversize:
            self._pieces.append(piece)
            return
        self._oversize = True
        if self._body_bytes > PATIENCE * self._limit:
            self.hopeless = True

    def _complete(self) -> None:
        """Have the body be what was taken."""
        if self._oversize:
            self.content = Refused(self._too_large())
        else:
            self.body = b"".join(self._pieces)
            self.content = BytesIO(self.body)
        self._pieces.clear()

    @property
    def version(self) -> str:
        """The version of HTTP that the client speaks."""
        return self.clientproto.decode()

    @property
    def peer(self) -> str:
        """Where the client is: address and port."""
        address = self._connection.getPeer()
        if not isinstance(address, IPv4Address | IPv6Address):
            return "unix"
        # A socket for both families has such addresses for clients of the older one.
        return f"{address.host.removeprefix('::ffff:')}:{address.port}"

    @property
    def head(self) -> Head:
        """What dialects need of the headers."""
        text = self._text
        return Head(
            text(b"content-type"),
            text(b"x-request-id"),
            text(b"x-data-parallel-rank"),
            send_image=text(b"x-send-image") in _TRUE,
            cache_threshold=text(b"x-cache-threshold-finish-reason"),
            priority=text(b"x-vllm-priority"),
            extent=self.site.limits.extent,
        )

    @property
    def arguments(self) -> dict[str, list[str]]:
        """The query string's arguments."""
        return {_utf8(name): list(map(_utf8, values)) for name, values in self.args.items()}

    def _text(self, name: bytes) -> str | None:
        value = self._received.get(name)
        return None if value is None else value.decode("latin-1")

    def header(self, name: str) -> str | None:
        """Look up a header by its name in any case; the last of several."""
        return self._text(name.lower().encode("latin-1", "replace"))

    @property
    def _limit(self) -> int:
        return self.site.limits.body_bytes

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request body is larger than {self._limit} bytes.")


def _below(root: bytes, path: bytes) -> bytes:
    """Take a root path from a path, if it begins with that."""
    rest = path[len(root) :]
    return rest if path.startswith(root) and rest[:1] in {b"", b"/"} else path


def _utf8(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def length_of(header: bytes | None) -> int:
    """Read the header that tells a body's length; 0 where it does not."""
    return int(header.lstrip(b"0")[:_LONGEST_NUMBER] or b"0") if header is not None and header.isdigit() else 0
