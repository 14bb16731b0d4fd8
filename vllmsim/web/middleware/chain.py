# -*- test-case-name: tests.web.middleware.test_chain -*-
"""The chain that an exchange goes through on its way in, and back on its way out."""

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, ClassVar

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from vllmsim.interfaces import IDoorkeeper, IMiddleware

if TYPE_CHECKING:
    from vllmsim.web.request import Request


def _tuple(members: Iterable[IMiddleware]) -> tuple[IMiddleware, ...]:
    return tuple(members)


@frozen
class Chain:
    """Middlewares in their order.

    :param members: the outermost first; those that would have nothing to do are better not there.
    """

    _log: ClassVar[Logger] = Logger()

    members: tuple[IMiddleware, ...] = field(default=(), converter=_tuple)

    def admits(self, exchange: "Request") -> bool:
        """Tell whether a request has a chance, before its client is asked for its body."""
        return all(member.admits(exchange) for member in self.members if IDoorkeeper.providedBy(member))

    def enter(self, exchange: "Request") -> Deferred[None] | None:
        """Have an exchange seen by those that have not seen it, until one answers.

        :return: None when that is done; else it fires then, or errbacks with what one of them raises later. Cancelling
            it cancels what one of them waits for, and no other sees the exchange.
        :raises Exception: what one of them raises.
        """
        for member in self.members[exchange.passed :]:
            exchange.passed += 1
            waiting = member.begin(exchange)
            if waiting is not None:
                return Deferred.fromCoroutine(self._enter_later(exchange, waiting))
            if exchange.settled:
                break
        return None

    async def _enter_later(self, exchange: "Request", waiting: Awaitable[object]) -> None:
        await waiting
        if not exchange.settled and (entering := self.enter(exchange)) is not None:
            await entering

    def leave(self, exchange: "Request") -> None:
        """Have those who have seen an exchange see its end, the innermost first. Harmless a second time."""
        members = self.members[: exchange.passed]
        exchange.passed = 0
        for member in reversed(members):
            try:
                member.end(exchange)
            except Exception:  # noqa: BLE001 - who breaks must not keep others from seeing it
                self._log.failure("While a middleware saw the end of {uri}", uri=exchange.uri)
