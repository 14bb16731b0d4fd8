# -*- test-case-name: tests.web.test_guarding -*-
"""Who may use the routes by which a server is administered: anyone, or who has the key."""

import hmac
from hashlib import sha256
from typing import Final

from attrs import field, frozen

from vllmsim.errors import Unauthorized
from vllmsim.web.request import Request

_SCHEME: Final = b"bearer "


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
        if scheme.lower() == _SCHEME and hmac.compare_digest(_digest(key), self._key):
            return
        request.setHeader(b"WWW-Authenticate", b"Bearer")
        raise Unauthorized("This route needs the administrator's key: Authorization: Bearer KEY.")
