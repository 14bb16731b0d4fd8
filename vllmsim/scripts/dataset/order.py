# -*- test-case-name: tests.scripts.dataset.test_order -*-
"""Work on many things at a time, whose results are taken in the order of the things."""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

T = TypeVar("T")
R = TypeVar("R")

_AHEAD: Final = 8
"""For each thing that is worked on, so many results may wait for one before them."""
_TURN: Final = 0.02
"""Seconds after which other events have their turn, so that an interrupt is noticed."""


async def in_order(
    things: Iterable[T],
    work: Callable[[T], Coroutine[Deferred[Any], Any, R]],
    take: Callable[[R], int],
    wanted: int,
    width: int,
    clock: IReactorTime,
) -> None:
    """Work on things, and take the results in their order.

    Cancelling it, or the first error, cancels all that is worked on.

    :param things: read as they are needed.
    :param take: what becomes of a result; tells how many more are wanted.
    :param wanted: how many are wanted at first.
    :param width: how many are worked on at the same time, at least 1.
    """
    running: deque[Deferred[R]] = deque()
    places = DeferredSemaphore(width)
    turn = clock.seconds()
    try:
        for thing in things:
            running.append(places.run(_begin, work, thing))
            while wanted > 0 and len(running) >= min(wanted, width * _AHEAD):
                wanted = take(await running.popleft())
            if clock.seconds() - turn > _TURN:
                await deferLater(clock, 0)
                turn = clock.seconds()
            if wanted <= 0:
                return
        while running and wanted > 0:
            wanted = take(await running.popleft())
    finally:
        for each in running:
            each.addErrback(lambda _: None)
            each.cancel()


def _begin(work: Callable[[T], Coroutine[Deferred[Any], Any, R]], thing: T) -> Deferred[R]:
    return Deferred.fromCoroutine(work(thing))
