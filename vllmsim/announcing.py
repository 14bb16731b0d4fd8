# -*- test-case-name: tests.test_announcing -*-
"""Telling whoever has started the daemon how it is."""

from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen
from twisted.application.service import IServiceCollection
from twisted.internet.defer import Deferred


@frozen
class Load:
    """What a server has to do.

    :param ranks: how many of its ranks listen.
    :param running: sequences that run, on all of them.
    :param waiting: sequences that wait.
    """

    ranks: int = 0
    running: int = 0
    waiting: int = 0


Reload: TypeAlias = Callable[[str], Deferred[bool]]
"""Reads the configuration again, for someone who is named; fires with whether what was read holds now."""


class Announcer:
    """Tells nobody, as nobody listens."""

    interval = 0.0
    """Seconds between two looks at the load; 0 if nobody is told of it."""

    def join(self, services: IServiceCollection) -> None:
        """Start and stop with the daemon."""

    def preparing(self, what: str) -> None:
        """Tell that something must be got before the daemon can serve.

        :param what: what it is, to follow "Getting".
        """

    def ready(self, load: Callable[[], Load]) -> None:
        """Tell that all ranks listen.

        :param load: tells what they have to do.
        """

    def reload(self, reload: Reload, who: str) -> Deferred[bool]:
        """Have the configuration read again, and tell so.

        :param who: who wants it.
        """
        return reload(who)

    def stopping(self, reason: str) -> None:
        """Tell that the daemon stops.

        :param reason: why, to follow "Stopping".
        """
