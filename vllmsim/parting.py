# -*- test-case-name: tests.test_service -*-
"""How a rank takes leave: everyone who has come is let in before, and nothing is waited for that does not end."""

from collections.abc import Collection, Coroutine
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vllmsim.turns import when_read
from vllmsim.web.site import Site

_PATIENCE: Final = 5.0
"""Seconds that each thing which a rank has used may take to end."""
_LAST_TURNS: Final = 100
"""Turns of the reactor, at the most, in which connections are still taken when the rank stops."""

_log = Logger()


async def let_in(clock: IReactorTime, sites: Collection[Site]) -> None:
    """Take the connections that the system has accepted already, and read what they have sent.

    It would reset them when the port is closed, and their clients would not know what became of their requests.
    """
    for _ in range(_LAST_TURNS):
        met, read = sum(site.met for site in sites), Deferred[None]()
        when_read(clock, read.callback, None)
        await read
        if met == sum(site.met for site in sites):
            return


async def within(clock: IReactorTime, what: str, ending: Coroutine[Deferred[Any], Any, Any] | Deferred[Any]) -> None:
    """Wait until something has ended, but not for ever: a thread that it needs may hang.

    :param what: names it in the log.
    """
    ended = ending if isinstance(ending, Deferred) else Deferred.fromCoroutine(ending)
    # It is not cancelled: what it does may still come to its end.
    waiting = Deferred[Any]()
    ended.addBoth(lambda result: None if waiting.called else waiting.callback(result))
    try:
        await waiting.addTimeout(_PATIENCE, clock)
    except DeferredTimeoutError:
        _log.warn("{what} has not ended after {seconds} s, and is left.", what=what, seconds=_PATIENCE)
