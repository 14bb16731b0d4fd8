# -*- test-case-name: tests.plugins.guards.test_events -*-
"""A publisher of KV events that comes from a plugin."""

from collections.abc import Mapping

from attrs import define
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from vllmsim.interfaces import IBlockEventOutlet, ICacheMetrics
from vllmsim.plugins.guards.blame import MISTAKES, Blame
from vllmsim.plugins.guards.tokens import checked_description
from vllmsim.plugins.registry import tell


@implementer(IBlockEventOutlet)
@define(eq=False)
class GuardedOutlet:
    """Has events that a publisher breaks on be dropped, and counted.

    :param metrics: hears of them.
    """

    _outlet: IBlockEventOutlet
    _blame: Blame
    _clock: IReactorTime
    _metrics: ICacheMetrics

    def open(self) -> None:
        """Open it; see :class:`vllmsim.interfaces.IBlockEventOutlet`."""
        try:
            self._outlet.open()
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), error.filename or self._blame.name) from error
        except MISTAKES as error:
            raise OSError(0, tell(error), self._blame.name) from error

    def publish(self, sequence: int, payload: bytes, events: int) -> None:
        """Publish a batch."""
        try:
            self._outlet.publish(sequence, payload, events)
        except MISTAKES as error:
            self._blame.tell(error)
            self._metrics.events_dropped(events)

    def describe(self) -> Mapping[str, object]:
        """Tell where it is, as far as it says what JSON can say."""
        try:
            return checked_description(self._outlet.describe())
        except MISTAKES as error:
            self._blame.tell(error)
            return {}

    async def close(self) -> None:
        """Close it. Nothing that goes wrong with it keeps the program from ending."""
        await self._blame.close(self._outlet.close, self._clock)
