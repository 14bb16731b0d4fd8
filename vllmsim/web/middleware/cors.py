# -*- test-case-name: tests.web.middleware.test_cors -*-
"""Cross-origin requests: what a browser is told about calls from pages of other origins, as Starlette tells it.

A preflight is an ``OPTIONS`` request with ``Origin`` and ``Access-Control-Request-Method``; it is answered before any
route. A response to any other request that has an ``Origin`` says whether the page may read it, and every response
that it depends on the origin: ``Vary: Origin``.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import field, frozen
from zope.interface import implementer

from vllmsim.interfaces import IExchange, IMiddleware

_ANY: Final = b"*"
_METHODS: Final = (b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"QUERY")
"""What any method means."""
_SAFE_HEADERS: Final = frozenset({b"Accept", b"Accept-Language", b"Content-Language", b"Content-Type"})
"""What browsers may send without asking."""
_MAX_AGE: Final = b"600"
"""Seconds that a browser may remember the answer to a preflight."""

Headers = list[tuple[bytes, bytes]]


def _sent(value: str) -> bytes:
    """Have the bytes of a header as they were sent."""
    return value.encode("latin-1")


def _encoded(texts: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(text.encode("utf-8") for text in texts)


def _methods(texts: Iterable[str]) -> tuple[bytes, ...]:
    named = _encoded(texts)
    return _METHODS if _ANY in named else named


@implementer(IMiddleware)
@frozen
class Cors:
    """What pages of other origins may do; each list may have ``*`` for anything.

    :param origins: the origins that may call.
    :param methods: the methods that they may use.
    :param headers: the headers that they may send.
    :param credentials: whether they may send cookies and the like.
    """

    _origins: tuple[bytes, ...] = field(converter=_encoded, default=())
    _methods: tuple[bytes, ...] = field(converter=_methods, default=("*",))
    _headers: tuple[bytes, ...] = field(converter=_encoded, default=("*",))
    _credentials: bool = False

    def begin(self, exchange: IExchange) -> None:
        """Answer a preflight; let any other request pass, and its answer say what a page may do with it."""
        exchange.setHeader(b"Vary", b"Origin")
        origin = exchange.header("origin")
        if origin is None:
            return
        asked = exchange.header("access-control-request-method")
        if asked is not None and exchange.method == b"OPTIONS":
            wanted = exchange.header("access-control-request-headers")
            status, text, headers = self.preflight(
                _sent(origin), _sent(asked), None if wanted is None else _sent(wanted)
            )
            for name, value in headers.items():
                exchange.setHeader(name, value)
            exchange.answer(status, text, b"text/plain; charset=utf-8")
            return
        for name, value in self.headers_for(_sent(origin), with_cookie=exchange.header("cookie") is not None):
            exchange.setHeader(name, value)

    def end(self, exchange: IExchange) -> None:
        """Have nothing to do."""

    def headers_for(self, origin: bytes, *, with_cookie: bool) -> Headers:
        """Make the headers of a response to a request from an origin.

        :param with_cookie: whether the request has a cookie: then the origin must be named.
        """
        headers: Headers = [(b"Access-Control-Allow-Credentials", b"true")] if self._credentials else []
        if _ANY in self._origins:
            headers.append((b"Access-Control-Allow-Origin", origin if with_cookie else _ANY))
        elif origin in self._origins:
            headers.append((b"Access-Control-Allow-Origin", origin))
        return headers

    def preflight(self, origin: bytes, method: bytes, asked: bytes | None) -> tuple[int, bytes, Mapping[bytes, bytes]]:
        """Answer a preflight.

        :param method: what is to be sent.
        :param asked: the names of the headers that are to be sent with it, if there are any beside the usual.
        :return: status, text and headers.
        """
        any_origin, any_header = _ANY in self._origins, _ANY in self._headers
        allowed = _SAFE_HEADERS.union(self._headers)
        headers = {b"Access-Control-Allow-Methods": b", ".join(self._methods), b"Access-Control-Max-Age": _MAX_AGE}
        if any_header:
            headers |= {} if asked is None else {b"Access-Control-Allow-Headers": asked}
        else:
            headers[b"Access-Control-Allow-Headers"] = b", ".join(sorted(allowed))
        if self._credentials:
            headers[b"Access-Control-Allow-Credentials"] = b"true"
        faults = []
        if any_origin and not self._credentials:
            headers[b"Access-Control-Allow-Origin"] = _ANY
        elif any_origin or origin in self._origins:
            headers[b"Access-Control-Allow-Origin"] = origin
        else:
            faults.append(b"origin")
        if method not in self._methods:
            faults.append(b"method")
        if not any_header and asked is not None:
            known = {name.lower() for name in allowed}
            if not {name.strip().lower() for name in asked.split(b",")} <= known:
                faults.append(b"headers")
        if faults:
            return 400, b"Disallowed CORS " + b", ".join(faults), headers
        return 200, b"OK", headers
