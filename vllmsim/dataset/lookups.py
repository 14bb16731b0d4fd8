# -*- test-case-name: tests.dataset.test_lookups -*-
"""Work for a thread, one piece after the other.

Threads that look something up at the same time are no faster, since only one of them runs at a time, and the reactor's
thread would wait for each of them. So one thread works, and takes several pieces at a time when they have gathered.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, ParamSpec, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")

_TOGETHER: Final = 16
"""How many pieces go to the thread at a time: the first of them waits for the last."""


@define(eq=False)
class _Piece:
    """A piece of work, and what came of it."""

    work: Callable[[], Any]
    outcome: "Deferred[Any]" = field(factory=Deferred)
    result: Any = None
    error: BaseException | None = None


@define(eq=False)
class Lookups:
    """Does things in a thread, in order. What waits is as much as its callers have under way at once.

    :param defer_to_thread: runs a function off the reactor.
    """

    _defer_to_thread: "Callable[..., Deferred[None]]"
    _waiting: deque[_Piece] = field(init=False, factory=deque)
    _busy: bool = field(init=False, default=False)

    def run(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> "Deferred[T]":
        """Do something after all that was asked for before.

        :return: fires with what the function returns; its errback is what it raises. Cancelling it leaves it out, if
            its turn has not come.
        """
        piece = _Piece(lambda: function(*arguments, **named))
        self._waiting.append(piece)
        if not self._busy:
            self._busy = True
            self._go_on()
        return piece.outcome

    def _go_on(self) -> None:
        pieces: list[_Piece] = []
        while self._waiting and len(pieces) < _TOGETHER:
            piece = self._waiting.popleft()
            if not piece.outcome.called:
                pieces.append(piece)
        if pieces:
            self._defer_to_thread(_work, pieces).addBoth(self._done, pieces)
        else:
            self._busy = False

    def _done(self, result: object, pieces: Sequence[_Piece]) -> None:
        # The thread goes on while others hear what it found.
        self._go_on()
        for piece in pieces:
            if piece.outcome.called:
                continue
            if isinstance(result, Failure):
                piece.outcome.errback(result)
            elif piece.error is not None:
                piece.outcome.errback(piece.error)
            else:
                piece.outcome.callback(piece.result)


def _work(pieces: Sequence[_Piece]) -> None:
    """Do several pieces of work, in a thread."""
    for piece in pieces:
        try:
            piece.result = piece.work()
        except BaseException as error:  # noqa: BLE001 - whoever asked hears of it
            piece.error = error
