"""Failures on purpose that come from a plugin."""

import math
from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.plugins.guards.case import GuardTestCase
from vllmsim.errors import Conflict, InferenceError, InvalidRequest
from vllmsim.faults import Damage, Facts, Fault
from vllmsim.inference import Disturbance
from vllmsim.interfaces import IFailure
from vllmsim.plugins.guards.failures import GuardedFailure

FACTS = Facts("/v1/completions", ("m",), None, lambda _: None, None, streamed=False)


class Teapot(InferenceError):
    """No status that a response can have."""

    status = 1418


@implementer(IFailure)
@define(eq=False)
class Failing:
    """Decides as the test says, or raises that."""

    fault: Any
    active: Any = True

    def consider(self) -> Callable[[Facts], Any]:
        """Take nothing."""

        def decide(_facts: Facts) -> Any:
            if isinstance(self.fault, BaseException):
                raise self.fault
            return self.fault

        return decide


class FailureTests(GuardTestCase):
    """Its faults."""

    def decide(self, fault: Any) -> Any:
        """Have it decide about a request."""
        guarded = GuardedFailure(Failing(fault), self.blame)
        self.assertTrue(verifyObject(IFailure, guarded))
        return guarded.consider()(FACTS)

    def test_good(self) -> None:
        """Whatever can go wrong may."""
        for fault in (
            None,
            Fault("x", Conflict("no"), {"Retry-After": "3"}, delay=2),
            Fault("x", reset=True),
            Fault("x", disturbance=Disturbance(1.0, math.inf, 3)),
            Fault("x", damage=Damage("cut", 3)),
        ):
            self.assertIs(fault, self.decide(fault))

    def test_nonsense(self) -> None:
        """What cannot be is a mistake."""
        for fault, text in (
            (True, "it decides on a bool, which is no Fault"),
            (Fault(None), "has no name"),  # type: ignore[arg-type]
            (Fault("x", ValueError("no")), "refuses with what is no error"),  # type: ignore[arg-type]
            (Fault("x", Teapot("no")), "refuses with what is no error"),
            (Fault("x", delay=-1), "waits -1 s"),
            (Fault("x", delay=math.nan), "waits nan s"),
            (Fault("x", delay=math.inf), "waits inf s"),
            (Fault("x", headers={"A": "b\r\nC: d"}), "has a header that is none"),
            (Fault("x", headers={"": "b"}), "has a header that is none"),
            (Fault("x", headers=Deferred()), "has a header that is none"),  # type: ignore[arg-type]
            (Fault("x", disturbance=Disturbance(-1)), "disturbs an answer as none can be"),
            (Fault("x", disturbance=Disturbance(0, 1, -1)), "disturbs an answer as none can be"),
            (Fault("x", disturbance=3), "disturbs an answer as none can be"),  # type: ignore[arg-type]
            (Fault("x", damage=Damage("melt")), "damages an answer as none can be"),  # type: ignore[arg-type]
            (Fault("x", damage=Damage("cut", -1)), "damages an answer as none can be"),
        ):
            with self.subTest(text):
                self.assertBroken(text if fault is True else f"it decides on a fault that {text}", self.decide, fault)

    def test_raises(self) -> None:
        """One that raises is told of; what clients may be told is no mistake."""
        self.assertBroken("KeyError: 1", self.decide, KeyError(1))
        with self.assertRaises(InvalidRequest):
            self.decide(InvalidRequest("no such error"))
        self.assertBlamed()
        broken = GuardedFailure(None, self.blame)  # type: ignore[arg-type]
        self.assertBroken("AttributeError", broken.consider)
        self.assertBroken("AttributeError", lambda: broken.active)

    def test_active(self) -> None:
        """Whether it does anything may change at any time."""
        failing = Failing(None, active=0)
        guarded = GuardedFailure(failing, self.blame)
        self.assertIs(False, guarded.active)
        failing.active = True
        self.assertIs(True, guarded.active)
