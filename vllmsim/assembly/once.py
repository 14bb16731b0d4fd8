# -*- test-case-name: tests.assembly.test_once -*-
"""What takes too long for the reactor, and need be done but once: for the first who asks."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

T = TypeVar("T")


@define(eq=False)
class Once(Generic[T]):
    """Remembers a result. An error is told to those who wait for it, and the next who asks has it tried again.

    :param do: runs a function off the reactor.
    :param make: makes the result.
    """

    _do: Callable[..., Deferred[Any]]
    _make: Callable[[], T]
    _made: list[T] = field(init=False, factory=list)
    _waiting: list[Deferred[T]] = field(init=False, factory=list)
    _making: bool = field(init=False, default=False)

    def __call__(self) -> Deferred[T]:
        """Find the result.

        :return: fires with it. Cancelling it leaves others waiting.
        """
        if self._made:
            return succeed(self._made[0])
        waiting: Deferred[T] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if not self._making:
            self._making = True
            self._do(self._make).addBoth(self._found)
        return waiting

    def _found(self, result: Any) -> None:
        self._making = False
        if not isinstance(result, Failure):
            self._made.append(result)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(result)
