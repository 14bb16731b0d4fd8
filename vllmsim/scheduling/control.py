# -*- test-case-name: tests.scheduling.test_control -*-
"""What an operator may do to a rank: abort requests, pause, put it to sleep.

A rank is held by a pause, by sleep, or by both; as long as one of them holds it no request is let in. Each says for
itself whether what runs is kept, and as long as one keeps it the pacer is frozen.
"""

from collections.abc import Callable, Collection
from typing import Final, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from vllmsim.interfaces import IBlockStore, IPrefixCache, IRankControl, IRankMetrics, PauseMode
from vllmsim.scheduling.mediacache import MediaCache
from vllmsim.scheduling.pacing import TokenPacer
from vllmsim.scheduling.simulator import RankSimulator

T = TypeVar("T")

SLEEPERS: Final = frozenset({"weights", "kv_cache"})
"""What sleeps when a rank does."""


@implementer(IRankControl)
@define(eq=False)
class RankControl:
    """Controls one rank.

    :param may_sleep: whether it may be put to sleep at all.
    :param store: the cache outside this server, if there is one.
    :param media: remembers media, if anything does.
    """

    _simulator: RankSimulator
    _pacer: TokenPacer
    _cache: IPrefixCache
    _metrics: IRankMetrics
    _may_sleep: bool
    _store: IBlockStore | None = None
    _media: MediaCache | None = None
    _holders: dict[str, PauseMode] = field(init=False, factory=dict)
    _asleep: frozenset[str] = field(init=False, default=frozenset())

    def abort(self, ids: Collection[str]) -> int:
        """End some requests, or all; see :class:`vllmsim.interfaces.IRankControl`."""
        return self._simulator.abort(frozenset(ids) if ids else None)

    def pause(self, mode: PauseMode, clear_cache: bool) -> Deferred[None]:
        """Let no request in; see :class:`vllmsim.interfaces.IRankControl`."""
        halted = self._hold("pause", mode)
        return halted.addCallback(self._clear_cache) if clear_cache else halted

    def resume(self) -> None:
        """End the pause."""
        self._release("pause")

    def paused(self) -> bool:
        """Tell whether there is a pause."""
        return "pause" in self._holders

    def sleep(self, level: int, mode: PauseMode) -> Deferred[None]:
        """Fall asleep if that is allowed; see :class:`vllmsim.interfaces.IRankControl`."""
        ended = self._metrics.operation_began("sleep")
        return self._fall_asleep(level, mode).addBoth(_passing(ended))

    def _fall_asleep(self, level: int, mode: PauseMode) -> Deferred[None]:
        if not self._may_sleep:
            return succeed(None)
        self._asleep = SLEEPERS
        self._metrics.sleep_level_changed(level)
        held = self._hold("sleep", mode)
        return held.addCallback(self._clear_cache) if level else held

    def wake_up(self, tags: Collection[str]) -> None:
        """Bring back what sleeps; see :class:`vllmsim.interfaces.IRankControl`."""
        ended = self._metrics.operation_began("wake")
        self._asleep -= frozenset(tags or SLEEPERS)
        if not self._asleep:
            self._metrics.sleep_level_changed(None)
            self._release("sleep")
        ended()

    def sleeping(self) -> bool:
        """Tell whether anything sleeps."""
        return bool(self._asleep)

    def in_flight(self) -> int:
        """Count the requests that are not answered yet."""
        return len(self._simulator.requests)

    def reset_prefix_cache(self, reset_running_requests: bool, reset_external: bool) -> Deferred[bool]:
        """Forget the prefix cache; see :class:`vllmsim.interfaces.IRankControl`."""
        forgotten = self._cache.reset(reset_running_requests)
        if not reset_external:
            return succeed(forgotten)
        if self._store is None:
            return succeed(False)
        return self._store.clear().addCallback(lambda cleared: cleared and forgotten)

    def reset_media_cache(self) -> None:
        """Forget which media were read."""
        if self._media is not None:
            self._media.clear()

    def _clear_cache(self, _: None) -> None:
        self._cache.reset(True)

    def _hold(self, holder: str, mode: PauseMode) -> Deferred[None]:
        self._holders[holder] = mode
        self._settle()
        if mode == "abort":
            self._simulator.abort(None)
        return self._simulator.requests.drain() if mode == "wait" else succeed(None)

    def _release(self, holder: str) -> None:
        self._holders.pop(holder, None)
        self._settle()

    def _settle(self) -> None:
        self._simulator.paused = bool(self._holders)
        if "keep" in self._holders.values():
            self._pacer.freeze()
        else:
            self._pacer.thaw()


def _passing(do: Callable[[], object]) -> Callable[[T], T]:
    """Make a callback that does something and passes on what it is given."""

    def callback(result: T) -> T:
        do()
        return result

    return callback
