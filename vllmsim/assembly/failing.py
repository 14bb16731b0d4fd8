# -*- test-case-name: tests.assembly.test_failing -*-
"""What fails on purpose: our own failures, and those of plugins behind them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vllmsim.assembly.measuring import Measures
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.failures.injection import FailureInjection
from vllmsim.randomness import Randomness

if TYPE_CHECKING:
    from vllmsim.assembly.keeping import KeptFailures


def make_failures(
    live: LiveConfiguration,
    number: int,
    clock: IReactorTime,
    defer_to_thread: Callable[..., Deferred[Any]],
    randomness: Randomness,
    measures: Measures,
) -> FailureInjection:
    """Make what decides which requests of a rank fail.

    :param number: which rank it is, from 0.
    :raises SystemExit: when that of a plugin cannot be had.
    """
    failures = FailureInjection(live, randomness.number("failures", number), measures.failures)
    randomness.feed(failures.reseed, "failures", number)
    kept: KeptFailures | None = None

    def keep() -> "KeptFailures":
        nonlocal kept
        if kept is None:
            from vllmsim.assembly.keeping import KeptFailures  # noqa: PLC0415 - few servers have plugins

            kept = KeptFailures(failures, number, clock, defer_to_thread, randomness)
        return kept

    def change(before: Configuration, now: Configuration) -> None:
        if before.failure_plugins or now.failure_plugins:
            keep().change(before, now)

    live.watch(change)
    if live.current.failure_plugins:
        keep().start(live.current)
    return failures
