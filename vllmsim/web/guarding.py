# -*- test-case-name: tests.web.test_guarding -*-
"""Who may use the routes by which a server is administered and operated: anyone, or who has the key.

In no case may a page of another origin, which has the browser of whoever looks at it send what needs no answer: a form,
or a text. That takes no leave of the server's, and reaches what listens for one machine alone.
"""

from collections.abc import Callable, Collection
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from attrs import field, frozen

from vllmsim.errors import PermissionDenied, Unauthorized
from vllmsim.web.request import Request

_SCHEME: Final = b"bearer "
_READING: Final = frozenset({b"GET", b"HEAD"})
_NEAR: Final = frozenset({b"same-origin", b"none"})
"""What browsers say of requests from a server's own pages, and of those that their users have typed."""


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()


@frozen
class Guard:
    """Lets through who says the key: ``Authorization: Bearer KEY``.

    :param key: UTF-8 text, and not empty.
    """

    _key: bytes = field(converter=_digest, repr=False)

    def check(self, request: Request) -> None:
        """Look at a request before its route does.

        :raises Unauthorized: when it has not the key. The answer says how it could have.
        """
        said = request.getHeader(b"authorization") or b""
        scheme, key = said[: len(_SCHEME)], said[len(_SCHEME) :].strip()
        # Digests have one length, so that the comparison tells nothing of the key's.
        if scheme.lower() == _SCHEME and compare_digest(_digest(key), self._key):
            return
        request.setHeader(b"WWW-Authenticate", b"Bearer")
        raise Unauthorized("This route needs the administrator's key: Authorization: Bearer KEY.")


@frozen
class PageGuard:
    """Lets through what no page of another origin has sent.

    :param origins: tells those whose pages may call; ``*`` for all.
    """

    _origins: Callable[[], Collection[str]]

    def check(self, request: Request) -> None:
        """Look at a request before its route does.

        :raises PermissionDenied: when a page has sent it that may not.
        """
        if request.method in _READING or not _is_foreign(request):
            return
        allowed = self._origins()
        if "*" not in allowed and (request.getHeader(b"origin") or b"").decode("latin-1") not in allowed:
            raise PermissionDenied("Pages of other origins may not do this; see allowed-origins.")


def _is_foreign(request: Request) -> bool:
    """Tell whether a browser has sent this for a page of another origin. Who is no browser says nothing of origins."""
    site = request.getHeader(b"sec-fetch-site")
    if site is not None:
        return site not in _NEAR
    # Browsers say the above only to servers that they trust: over TLS, or on their own machine.
    origin = request.getHeader(b"origin")
    return origin is not None and origin.partition(b"://")[2] != request.getHeader(b"host")
