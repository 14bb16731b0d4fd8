# -*- test-case-name: tests.web.middleware.test_apikeys -*-
"""API keys, as vLLM asks for them, and the tenants that they are of.

Paths below ``/v1``, ``/v2``, ``/inference`` and ``/cohere`` want ``Authorization: Bearer KEY``, whether there is such a
path or not, and so do calls of vLLM's services over gRPC, where a vLLM has no keys; the scheme is written in any case,
there is one blank behind it, and of several such headers the first counts. All others are open, and so is ``OPTIONS``
everywhere. Who has no key is answered 401, and ``{"error":"Unauthorized"}`` in any dialect. As in vLLM a key's
characters are those that its bytes are in Latin-1.
"""

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from attrs import field, frozen
from zope.interface import implementer

from vllmsim.errors import UnknownKey
from vllmsim.interfaces import IDoorkeeper, IExchange

_GUARDED: Final = (b"/v1", b"/v2", b"/inference", b"/cohere", b"/vllm.")
_LONGEST: Final = 4096
"""No key is longer, and what is need not be hashed."""


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8")).digest()


def _digests(keys: Iterable[tuple[str, str | None]]) -> tuple[tuple[bytes, str | None], ...]:
    return tuple((_digest(key), tenant) for key, tenant in keys)


@implementer(IDoorkeeper)
@frozen
class ApiKeys:
    """Lets pass who has a key, and tells whose tenant they are.

    :param keys: each with its tenant's name; None for one that is no tenant's.
    """

    _keys: tuple[tuple[bytes, str | None], ...] = field(converter=_digests, repr=False)

    def begin(self, exchange: IExchange) -> None:
        """Look at a request's key."""
        said = exchange.headers("authorization")
        known = False
        if said:
            known, exchange.tenant = self._look_up(said[0])
        if not known and self._guards(exchange):
            raise UnknownKey

    def admits(self, exchange: IExchange) -> bool:
        """Tell whether a request will pass, which its head alone says."""
        said = exchange.headers("authorization")
        return bool(said and self._look_up(said[0])[0]) or not self._guards(exchange)

    def _look_up(self, said: str) -> tuple[bool, str | None]:
        """Find out whether somebody has a key, and whose it is; that takes as long whichever it is."""
        scheme, _, key = said.partition(" ")
        if scheme.lower() != "bearer" or len(key) > _LONGEST:
            return False, None
        digest, known, whose = _digest(key), False, None
        for each, tenant in self._keys:
            if compare_digest(each, digest):
                known, whose = True, tenant
        return known, whose

    @staticmethod
    def _guards(exchange: IExchange) -> bool:
        path: bytes = exchange.path
        return path.startswith(_GUARDED) and exchange.method != b"OPTIONS"

    def end(self, exchange: IExchange) -> None:
        """Have nothing to do."""
