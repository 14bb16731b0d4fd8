# -*- test-case-name: tests.plugins.guards.test_exchanges -*-
"""What a middleware that comes from a plugin sees of an exchange: all that there is to see, and nothing to break."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from attrs import define
from zope.interface import implementer

from vllmsim.errors import InferenceError
from vllmsim.faults import STATUSES
from vllmsim.interfaces import IExchange
from vllmsim.plugins.guards.blame import Blame, Nonsense

_JSON: Final = b"application/json"
_LONGEST_TENANT: Final = 64


def _seen(name: str) -> Any:
    return property(lambda self: getattr(self._exchange, name))


@implementer(IExchange)
@define(eq=False)
class GuardedExchange:
    """Shows an exchange. What would spoil the connection for others raises :class:`Nonsense`.

    :param open: whether it may be answered: only as long as the plugin's ``begin`` has not come to its end.
    """

    _exchange: IExchange
    _blame: Blame
    open: bool = False

    method = _seen("method")
    uri = _seen("uri")
    path = _seen("path")
    route = _seen("route")
    peer = _seen("peer")
    version = _seen("version")
    body = _seen("body")
    dialect = _seen("dialect")
    inference = _seen("inference")
    request_id = _seen("request_id")
    received_headers = _seen("received_headers")
    answered_headers = _seen("answered_headers")
    answered_body = _seen("answered_body")
    gone = _seen("gone")
    status = _seen("status")
    verdict = _seen("verdict")

    @property
    def tenant(self) -> str | None:
        """Whose client it is."""
        told: str | None = self._exchange.tenant
        return told

    @tenant.setter
    def tenant(self, name: object) -> None:
        """Say whose."""
        if name is not None and not (isinstance(name, str) and name.isprintable() and len(name) <= _LONGEST_TENANT):
            raise Nonsense(f"it finds the tenant {name!r:.80}, which no tenant can be called")
        self._exchange.tenant = name

    def header(self, name: str) -> str | None:
        """Look up a header of the request."""
        return self._exchange.header(name)

    def headers(self, name: str) -> list[str]:
        """List the headers of the request that have a name."""
        return self._exchange.headers(name)

    def when_used(self, callback: Callable[[int], object]) -> None:
        """Have somebody told how much was computed."""

        def tell(used: int) -> None:
            with suppress(InferenceError):
                self._blame.call(callback, used)

        self._exchange.when_used(tell)

    def keep_answer(self) -> None:
        """Have the answer's body kept."""
        self._exchange.keep_answer()

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Set a header of the answer."""
        self._exchange.setHeader(name, value)

    def answer(self, status: int, body: bytes, content_type: bytes | None = _JSON) -> None:
        """Answer once."""
        if not self.open or self._exchange.status:
            raise Nonsense("it answers what is answered already, or no longer its own to answer")
        if status not in STATUSES:
            raise Nonsense(f"it answers with {status!r:.20}, which is no status")
        if not isinstance(body, bytes) or not isinstance(content_type, bytes | None):
            raise Nonsense("it answers with what is not bytes")
        self._exchange.answer(status, body, content_type)
