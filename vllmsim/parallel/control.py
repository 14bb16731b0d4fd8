# -*- test-case-name: tests.parallel.test_control -*-
"""What an operator does to all ranks that have one port."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

from attrs import define
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure
from zope.interface import implementer

from vllmsim.interfaces import IAdapterRegistry, IHealth, IRankControl, PauseMode

T = TypeVar("T")


@implementer(IRankControl)
@define(eq=False)
class JointControl:
    """Controls several ranks as one."""

    _ranks: Sequence[IRankControl]

    def abort(self, ids: Collection[str]) -> int:
        """End requests on whichever rank they are; see :class:`vllmsim.interfaces.IRankControl`."""
        return sum(rank.abort(ids) for rank in self._ranks)

    def pause(self, mode: PauseMode, clear_cache: bool) -> Deferred[None]:
        """Let no request in; see :class:`vllmsim.interfaces.IRankControl`."""
        return _all(rank.pause(mode, clear_cache) for rank in self._ranks)

    def resume(self) -> None:
        """End the pause."""
        for rank in self._ranks:
            rank.resume()

    def paused(self) -> bool:
        """Tell whether any rank is paused."""
        return any(rank.paused() for rank in self._ranks)

    def sleep(self, level: int, mode: PauseMode) -> Deferred[None]:
        """Fall asleep if that is allowed; see :class:`vllmsim.interfaces.IRankControl`."""
        return _all(rank.sleep(level, mode) for rank in self._ranks)

    def wake_up(self, tags: Collection[str]) -> None:
        """Bring back what sleeps; see :class:`vllmsim.interfaces.IRankControl`."""
        for rank in self._ranks:
            rank.wake_up(tags)

    def sleeping(self) -> bool:
        """Tell whether anything sleeps on any rank."""
        return any(rank.sleeping() for rank in self._ranks)

    def in_flight(self) -> int:
        """Count the requests that are not answered yet."""
        return sum(rank.in_flight() for rank in self._ranks)

    def reset_prefix_cache(self, reset_running_requests: bool, reset_external: bool) -> Deferred[bool]:
        """Forget all prefix caches; see :class:`vllmsim.interfaces.IRankControl`."""
        resets = [rank.reset_prefix_cache(reset_running_requests, reset_external) for rank in self._ranks]
        return _gather(resets).addCallback(all)

    def reset_media_cache(self) -> None:
        """Forget which media were read."""
        for rank in self._ranks:
            rank.reset_media_cache()


@implementer(IHealth)
@define(eq=False)
class JointHealth:
    """How several ranks are: as the worst of them is."""

    _ranks: Sequence[IHealth]

    @property
    def healthy(self) -> bool:
        """Whether all are to be called alive; may be set for all."""
        return all(rank.healthy for rank in self._ranks)

    @healthy.setter
    def healthy(self, healthy: bool) -> None:
        for rank in self._ranks:
            rank.healthy = healthy

    @property
    def willing(self) -> bool:
        """Whether all are to be called ready, if they are; may be set for all."""
        return all(rank.willing for rank in self._ranks)

    @willing.setter
    def willing(self, willing: bool) -> None:
        for rank in self._ranks:
            rank.willing = willing

    def ready(self) -> bool:
        """Tell whether a load balancer should send requests to any of them."""
        return all(rank.ready() for rank in self._ranks)


@implementer(IAdapterRegistry)
@define(eq=False)
class JointAdapters:
    """Loads and unloads adapters on several ranks, all of which have the same."""

    _ranks: Sequence[IAdapterRegistry]

    def load(self, name: str, path: str, in_place: bool, *, found: bool = True) -> float:
        """Serve an adapter; see :class:`vllmsim.interfaces.IAdapterRegistry`."""
        return max(rank.load(name, path, in_place, found=found) for rank in self._ranks)

    def unload(self, name: str) -> None:
        """Serve an adapter no more; see :class:`vllmsim.interfaces.IAdapterRegistry`."""
        for rank in self._ranks:
            rank.unload(name)


def _all(waits: Iterable[Deferred[Any]]) -> Deferred[None]:
    return _gather(waits).addCallback(lambda _: None)


def _gather(waits: Iterable[Deferred[T]]) -> Deferred[list[T]]:
    """Wait for all ranks; what goes wrong on the first, or its cancelling, goes wrong for all."""
    return gatherResults([*waits], consumeErrors=True).addErrback(_unwrap)


def _unwrap(reason: Failure) -> Failure:
    return reason.value.subFailure if isinstance(reason.value, FirstError) else reason
