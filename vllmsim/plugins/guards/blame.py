# -*- test-case-name: tests.plugins.guards.test_blame -*-
"""What becomes of a plugin's mistakes: a line in the log with its name, and an error for the client that says no more.

The first mistake of each kind comes with its traceback. What a plugin raises on purpose, an error that clients may be
told of, is none.
"""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.errors import InferenceError
from vllmsim.plugins.registry import tell

MISTAKES: Final = BaseException
"""What is a mistake, if it is no error that a client may be told of. Nothing that a plugin raises ends the program."""
_MOST_KINDS: Final = 100
CLOSING: Final = 5.0
"""Seconds that something may take to close; then nobody waits any more."""

T = TypeVar("T")


class Nonsense(ValueError):
    """A plugin gives what cannot be; the text says what is wrong with it."""


def _endurable(result: Any) -> Any:
    """Have the one error that ends whoever waits be another."""
    if isinstance(result, Failure) and result.check(GeneratorExit):
        return Failure(Nonsense("GeneratorExit"))
    return result


@define(eq=False)
class Blame:
    """Tells of the mistakes of one plugin.

    :param kind: what it is.
    """

    _log: ClassVar[Logger] = Logger()

    kind: str
    name: str
    _told: set[str] = field(init=False, factory=set)

    def tell(self, error: BaseException) -> InferenceError:
        """Log a mistake; to be called while it is handled.

        :return: what the client is told.
        """
        text = str(error) if isinstance(error, Nonsense) else tell(error)
        if isinstance(error, Nonsense) or text in self._told or len(self._told) >= _MOST_KINDS:
            self._log.error("The {kind} {name} breaks: {text}", kind=self.kind, name=self.name, text=text)
        else:
            self._told.add(text)
            self._log.failure("The {kind} {name} breaks: {text}", kind=self.kind, name=self.name, text=text)
        return InferenceError("Internal server error")

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method of the plugin.

        :raises InferenceError: when that is a mistake, or the plugin says so.
        """
        try:
            return function(*arguments)
        except InferenceError:
            raise
        except MISTAKES as error:
            raise self.tell(error) from error

    async def wait(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Call a method of the plugin that may take time, and wait for it.

        Cancelling it ends it at once, whether the plugin takes notice or not.

        :raises InferenceError: when that is a mistake, or the plugin says so.
        """
        given_up = False

        def give_up(_: "Deferred[T]") -> None:
            nonlocal given_up
            given_up = True
            working.cancel()

        async def work() -> T:
            result = await function(*arguments)
            if isinstance(result, Deferred):
                raise Nonsense("what it gives at last is something to wait for")
            return result

        # What the plugin cancels for itself is its mistake, and looks the same.
        waiting: Deferred[T] = Deferred(give_up)
        working = Deferred.fromCoroutine(work())
        working.addBoth(lambda result: None if given_up else waiting.callback(_endurable(result)))
        try:
            return await waiting
        except (InferenceError, GeneratorExit):
            raise
        except MISTAKES as error:
            if given_up and isinstance(error, CancelledError):
                raise
            raise self.tell(error) from error

    async def close(self, function: Callable[[], Awaitable[None]], clock: IReactorTime) -> None:
        """Have something of the plugin's close. Nothing that goes wrong with it keeps the program from ending.

        :param function: closes it; nobody waits for that any longer than :data:`CLOSING` seconds.
        """
        try:
            await Deferred.fromCoroutine(self.wait(function)).addTimeout(CLOSING, clock)
        except DeferredTimeoutError:
            self.tell(Nonsense(f"it takes more than {CLOSING:g} s to close"))
        except InferenceError:
            pass
