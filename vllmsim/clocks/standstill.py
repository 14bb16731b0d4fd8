# -*- test-case-name: tests.clocks.test_standstill -*-
"""What goes on in the machine's time and belongs to one moment of simulated time: a virtual clock waits for it."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed


@define(eq=False)
class Standstill:
    """Counts what goes on. Entered with ``with``, also around something that is awaited."""

    count: int = field(init=False, default=0)
    """How much goes on."""
    _over: list[Deferred[None]] = field(init=False, factory=list)

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def over(self) -> Deferred[None]:
        """Wait until nothing goes on.

        :return: fires then, at once if that is now. More may go on again when one who waits hears of it.
        """
        if not self.count:
            return succeed(None)
        over: Deferred[None] = Deferred(self._over.remove)
        self._over.append(over)
        return over

    def counted(self, defer_to_thread: Callable[..., Deferred[Any]]) -> Callable[..., Deferred[Any]]:
        """Have functions in threads be counted.

        :param defer_to_thread: calls a function in a thread.
        """

        def defer(function: Callable[..., Any], *arguments: Any, **more: Any) -> Deferred[Any]:
            self.count += 1
            return defer_to_thread(function, *arguments, **more).addBoth(self._leave_with)

        return defer

    def _leave_with(self, result: Any) -> Any:
        self._leave()
        return result

    def _leave(self) -> None:
        self.count -= 1
        if not self.count:
            waiting, self._over = self._over, []
            for each in waiting:
                each.callback(None)
