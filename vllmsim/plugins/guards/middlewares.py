# -*- test-case-name: tests.plugins.guards.test_middlewares -*-
"""A middleware that comes from a plugin."""

import inspect
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from attrs import define
from zope.interface import implementer

from vllmsim.errors import InferenceError
from vllmsim.faults import STATUSES
from vllmsim.interfaces import IDoorkeeper, IExchange, IMiddleware
from vllmsim.plugins.guards.blame import Blame, Nonsense


@implementer(IMiddleware)
@define(eq=False)
class GuardedMiddleware:
    """Looks at what a plugin does with exchanges. Whatever it breaks, that is one exchange alone."""

    _middleware: Any
    _blame: Blame

    def begin(self, exchange: IExchange) -> Awaitable[object] | None:
        """See a request; see :class:`vllmsim.interfaces.IMiddleware`."""
        try:
            waiting = self._blame.call(lambda: self._middleware.begin(exchange))
        except InferenceError as error:
            raise self._refusal(error) from error
        if waiting is None:
            return None
        if not inspect.isawaitable(waiting):
            raise self._blame.tell(Nonsense(f"it returns a {type(waiting).__name__}, for which nobody can wait"))
        return self._wait(waiting)

    async def _wait(self, waiting: Awaitable[object]) -> None:
        try:
            await self._blame.wait(lambda: waiting)
        except InferenceError as error:
            raise self._refusal(error) from error

    def end(self, exchange: IExchange) -> None:
        """See that it is over; see :class:`vllmsim.interfaces.IMiddleware`."""
        with suppress(InferenceError):
            self._blame.call(lambda: self._middleware.end(exchange))

    def _refusal(self, error: InferenceError) -> InferenceError:
        """Make sure that what a client is told is an answer that can be."""
        if error.status in STATUSES:
            return error
        return self._blame.tell(Nonsense(f"it refuses with {error.status!r:.20}, which is no status"))


@implementer(IDoorkeeper)
class GuardedDoorkeeper(GuardedMiddleware):
    """The same, of one that knows from heads alone whom it will let in."""

    def admits(self, exchange: IExchange) -> bool:
        """Tell whether it will; see :class:`vllmsim.interfaces.IDoorkeeper`. If that breaks, :meth:`begin` decides."""
        try:
            return bool(self._blame.call(lambda: self._middleware.admits(exchange)))
        except InferenceError:
            return True


def guard_middleware(made: Any, blame: Blame) -> IMiddleware:
    """Put a guard before what a plugin has made."""
    return (GuardedDoorkeeper if IDoorkeeper.providedBy(made) else GuardedMiddleware)(made, blame)
