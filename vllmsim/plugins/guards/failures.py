# -*- test-case-name: tests.plugins.guards.test_failures -*-
"""Failures on purpose that come from a plugin."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final, get_args

from attrs import define
from zope.interface import implementer

from vllmsim.errors import InferenceError
from vllmsim.faults import STATUSES, Damage, DamageKind, Facts, Fault
from vllmsim.inference import Disturbance
from vllmsim.interfaces import IFailure
from vllmsim.plugins.guards.blame import Blame, Nonsense

LONGEST: Final = 1e6
"""The most seconds before a request is refused."""


@implementer(IFailure)
@define(eq=False)
class GuardedFailure:
    """Looks at the faults that a plugin decides on."""

    _failure: IFailure
    _blame: Blame

    @property
    def active(self) -> bool:
        """Whether any request may fail."""
        return self._blame.call(lambda: bool(self._failure.active))  # type: ignore[no-any-return]

    def consider(self) -> Callable[[Facts], Fault | None]:
        """Take what decides now; see :class:`vllmsim.interfaces.IFailure`."""
        decide = self._blame.call(lambda: self._failure.consider())  # noqa: PLW0108 - looking it up may break too
        return lambda facts: self._blame.call(lambda: _checked(decide(facts)))


def _checked(fault: Any) -> Fault | None:
    """Check a fault.

    :raises Nonsense: when it cannot be.
    """
    if fault is None:
        return None
    if not isinstance(fault, Fault):
        raise Nonsense(f"it decides on a {type(fault).__name__}, which is no Fault")
    headers = fault.headers.items() if isinstance(fault.headers, Mapping) else [(None, None)]
    for wrong, what in (
        (not isinstance(fault.name, str), "has no name"),
        (not _is_refusal(fault.refusal), "refuses with what is no error that a client can be told"),
        (not _is_time(fault.delay, LONGEST), f"waits {fault.delay!r:.60} s"),
        (not all(_is_header(*header) for header in headers), "has a header that is none"),
        (not _is_disturbance(fault.disturbance), "disturbs an answer as none can be"),
        (not _is_damage(fault.damage), "damages an answer as none can be"),
    ):
        if wrong:
            raise Nonsense(f"it decides on a fault that {what}")
    return fault


def _is_refusal(refusal: Any) -> bool:
    return refusal is None or (isinstance(refusal, InferenceError) and refusal.status in STATUSES)


def _is_time(seconds: Any, most: float) -> bool:
    return isinstance(seconds, int | float) and 0 <= seconds <= most


def _is_header(name: Any, value: Any) -> bool:
    return all(isinstance(each, str) and each.isascii() and each.isprintable() for each in (name, value)) and bool(name)


def _is_disturbance(disturbance: Any) -> bool:
    if disturbance is None:
        return True
    return (
        isinstance(disturbance, Disturbance)
        and all(_is_time(each, LONGEST) or each == inf for each in (disturbance.first_token, disturbance.stall))
        and isinstance(disturbance.stall_at, int)
        and disturbance.stall_at >= 0
    )


def _is_damage(damage: Any) -> bool:
    if damage is None:
        return True
    return (
        isinstance(damage, Damage)
        and damage.kind in get_args(DamageKind)
        and isinstance(damage.after, int)
        and damage.after >= 0
    )
