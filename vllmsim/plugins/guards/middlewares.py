# -*- test-case-name: tests.plugins.guards.test_middlewares -*-
"""A middleware that comes from a plugin."""

import inspect
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from attrs import define, field
from zope.interface import implementer

from vllmsim.errors import InferenceError
from vllmsim.faults import STATUSES
from vllmsim.interfaces import IDoorkeeper, IExchange, IMiddleware
from vllmsim.plugins.guards.blame import Blame, Nonsense
from vllmsim.plugins.guards.exchanges import GuardedExchange


@implementer(IMiddleware)
@define(eq=False)
class GuardedMiddleware:
    """Looks at what a plugin does with exchanges. Whatever it breaks, that is one exchange alone."""

    _middleware: Any
    _blame: Blame
    _shown: dict[IExchange, GuardedExchange] = field(init=False, factory=dict)
    """What it sees of those whose end it has not seen."""

    def begin(self, exchange: IExchange) -> Awaitable[object] | None:
        """See a request; see :class:`vllmsim.interfaces.IMiddleware`."""
        shown = self._shown[exchange] = GuardedExchange(exchange, self._blame, open=True)
        try:
            waiting = self._blame.call(self._begin, shown)
        except InferenceError as error:
            self._refuse(shown, error)
            return None
        if waiting is None:
            shown.open = False
            return None
        return self._wait(shown, waiting)

    def _begin(self, shown: GuardedExchange) -> Awaitable[object] | None:
        waiting: Awaitable[object] | None = self._middleware.begin(shown)
        if waiting is None or inspect.isawaitable(waiting):
            return waiting
        raise Nonsense(f"it returns a {type(waiting).__name__}, for which nobody can wait")

    async def _wait(self, shown: GuardedExchange, waiting: Awaitable[object]) -> None:
        try:
            await self._blame.wait(lambda: waiting)
        except InferenceError as error:
            self._refuse(shown, error)
        finally:
            shown.open = False

    def _refuse(self, shown: GuardedExchange, error: InferenceError) -> None:
        """Have the client told of an error, if that can be, and it is not answered already."""
        shown.open = False
        if error.status not in STATUSES:
            error = self._blame.tell(Nonsense(f"it refuses with {error.status!r:.20}, which is no status"))
        if not shown.status:
            raise error

    def end(self, exchange: IExchange) -> None:
        """See that it is over; see :class:`vllmsim.interfaces.IMiddleware`."""
        with suppress(InferenceError):
            self._blame.call(self._middleware.end, self._shown.pop(exchange))


@implementer(IDoorkeeper)
class GuardedDoorkeeper(GuardedMiddleware):
    """The same, of one that knows from heads alone whom it will let in."""

    def admits(self, exchange: IExchange) -> bool:
        """Tell whether it will; see :class:`vllmsim.interfaces.IDoorkeeper`. If that breaks, :meth:`begin` decides."""
        try:
            shown = GuardedExchange(exchange, self._blame)
            return self._blame.call(lambda: bool(self._middleware.admits(shown)))  # type: ignore[no-any-return]
        except InferenceError:
            return True


def guard_middleware(made: Any, blame: Blame) -> IMiddleware:
    """Put a guard before what a plugin has made."""
    return (GuardedDoorkeeper if IDoorkeeper.providedBy(made) else GuardedMiddleware)(made, blame)
