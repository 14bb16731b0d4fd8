# -*- test-case-name: tests.web.middleware.test_httplog -*-
"""The log of whole exchanges: an entry for each request when it has come, and one for its answer when it is over.

As text an entry is what it is about, the headers, one on a line, and behind an empty line the body. In JSON all are
fields. Bodies are cut, those of streams are left out, and secrets are masked.
"""

from collections.abc import Sequence
from itertools import count
from typing import ClassVar, Final

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from vllmsim.interfaces import IExchange, IMiddleware
from vllmsim.web.middleware.masking import Masking, as_text, headers_shown, on_one_line

_MOST_OF_BODY: Final = 512 << 10
_MOST_HEADERS: Final = 100
_LONGEST_VALUE: Final = 4096
_LONGEST_TARGET: Final = 8192
_STREAMED: Final = "<streamed response body not logged>"
_ADMINISTRATION: Final = (b"/admin/config", b"/admin/scenario")
"""What paths begin with on which options are told."""


@frozen
class _Details:
    """What an entry says on further lines."""

    _headers: Sequence[tuple[str, str]]
    _body: str

    def __str__(self) -> str:
        lines = [f"{on_one_line(name)}: {on_one_line(value)}" for name, value in self._headers]
        return "\n".join([*lines, "", on_one_line(self._body)] if self._body else lines)


@frozen
class _Begun:
    number: int
    when: float


@implementer(IMiddleware)
@define(eq=False)
class HttpLog:
    """Logs exchanges.

    :param rank: whose they are.
    :param masking: knows what is secret.
    """

    _log: ClassVar[Logger] = Logger()
    _numbers: ClassVar["count[int]"] = count(1)

    _clock: IReactorTime
    _rank: int
    _masking: Masking
    _begun: dict[IExchange, _Begun] = field(init=False, factory=dict)

    def begin(self, exchange: IExchange) -> None:
        """Log a request."""
        begun = self._begun[exchange] = _Begun(next(self._numbers), self._clock.seconds())
        exchange.keep_answer()
        headers = headers_shown(exchange.received_headers, self._masking, _MOST_HEADERS, _LONGEST_VALUE)
        body = self._shown(exchange, exchange.body)
        method, uri, remote = self._method(exchange), self._target(exchange), exchange.peer
        self._log.info(
            "{summary}\n{details}",
            summary=f"HTTP request {begun.number}: {method} {on_one_line(uri)} from {remote}",
            details=_Details(headers, body),
            exchange=begun.number,
            rank=self._rank,
            method=method,
            uri=uri,
            remote=remote,
            headers=_by_name(headers),
            body=body,
            body_bytes=len(exchange.body),
        )

    def end(self, exchange: IExchange) -> None:
        """Log its answer."""
        begun = self._begun.pop(exchange, None)
        if begun is None:
            return
        duration = self._clock.seconds() - begun.when
        headers = headers_shown(exchange.answered_headers, self._masking, _MOST_HEADERS, _LONGEST_VALUE)
        whole = exchange.answered_body
        body = _STREAMED if whole is None else self._shown(exchange, whole)
        status = exchange.status
        if not status:
            headers, body = [], ""
        outcome = str(status) if status else "none, since the client has left,"
        if exchange.verdict is not None:
            outcome = f"{outcome}, {exchange.verdict},"
        self._log.info(
            "{summary}\n{details}" if status else "{summary}",
            summary=f"HTTP response {begun.number}: {outcome} to {self._method(exchange)}"
            f" {on_one_line(self._target(exchange))} after {duration:.6f} s",
            details=_Details(headers, body),
            exchange=begun.number,
            rank=self._rank,
            status=status,
            verdict=exchange.verdict,
            duration=duration,
            headers=_by_name(headers),
            body=body,
            body_bytes=None if whole is None else len(whole),
        )

    @staticmethod
    def _method(exchange: IExchange) -> str:
        method: bytes = exchange.method
        return on_one_line(method.decode("latin-1"))

    def _target(self, exchange: IExchange) -> str:
        target: bytes = exchange.uri
        shown = self._masking.target(target[:_LONGEST_TARGET].decode("latin-1"))
        return shown if len(target) <= _LONGEST_TARGET else f"{shown}..."

    def _shown(self, exchange: IExchange, body: bytes) -> str:
        path: bytes = exchange.path
        if path.startswith(_ADMINISTRATION):
            # It is not cut before it is masked: half of it would be no JSON.
            body = self._masking.options(body.decode("utf-8", "replace")).encode("utf-8", "replace") if body else b""
        return self._masking.text(as_text(body, _MOST_OF_BODY))


def _by_name(headers: Sequence[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Sort headers by their names; one that is there several times has a list."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
