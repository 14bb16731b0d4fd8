# -*- test-case-name: tests.config.test_failurerules -*-
"""A rule of the ``failure-rules`` option, and how it is written; :mod:`vllmsim.config.failurerules` reads it."""

from collections.abc import Iterable
from math import inf
from typing import Any, Final, TypeAlias

import attrs
from attrs import frozen

from vllmsim.durations import format_duration
from vllmsim.faults import Damage
from vllmsim.inference import Disturbance

FAILURE_TYPES: Final = (
    "rate_limit", "invalid_api_key", "context_length", "server_error", "invalid_request", "model_not_found",
)  # fmt: skip
FOR_EVER: Final = "forever"
"""What stands in the place of a duration that has no end."""

Patterns: TypeAlias = tuple[str, ...]


@frozen
class FailureRule:
    """One rule.

    :param name: what it is called; no other has this name.
    :param model: patterns of model names, as in file names: ``*`` is any text; none for any. So are the next four.
    :param header: names of headers in lower case, each with a pattern of its value.
    :param stream: whether it means streams, or answers in one piece; None for both.
    :param after: how many of the requests that it means are left alone at first.
    :param first: how many of those that follow may fail; None for all.
    :param every: which of these: each whose number is a multiple.
    :param times: how many fail at most; None for any number.
    :param rate: how many of those that would fail do, by chance, in percent.
    :param type: a type of failure; None where `status` or nothing says what is answered.
    :param status: the status that is answered.
    :param message: what is said with it; None for a sentence of ours. `error_type` and `code` are likewise.
    :param retry_after: seconds after which clients are told to try again; None for not to tell.
    :param reset: whether the connection is reset in the place of an answer.
    :param delay: seconds before the error or the reset.
    :param disturbance: what goes wrong with the time of an answer; None for nothing.
    :param damage: what goes wrong with its bytes; None for nothing.
    """

    name: str
    model: Patterns = ()
    adapter: Patterns = ()
    route: Patterns = ()
    api_key: Patterns = ()
    tenant: Patterns = ()
    header: tuple[tuple[str, str], ...] = ()
    stream: bool | None = None
    after: int = 0
    first: int | None = None
    every: int = 1
    times: int | None = None
    rate: float = 100.0
    type: str | None = None
    status: int | None = None
    message: str | None = None
    error_type: str | None = None
    code: str | int | None = None
    retry_after: float | None = None
    reset: bool = False
    delay: float = 0.0
    disturbance: Disturbance | None = None
    damage: Damage | None = None

    @property
    def refuses(self) -> bool:
        """Whether requests get no answer."""
        return bool(self.type or self.status or self.reset)

    @property
    def kind(self) -> str:
        """How requests fail, in a word for each thing that goes wrong."""
        if self.refuses:
            return self.type or ("reset" if self.reset else f"status-{self.status}")
        disturbance = self.disturbance or Disturbance()
        kinds = [
            *(["first-token"] if disturbance.first_token else []),
            *(["stall"] if disturbance.stall else []),
            *([self.damage.kind] if self.damage else []),
        ]
        return "+".join(kinds)


def write_failure_rules(rules: Iterable[FailureRule]) -> list[dict[str, Any]]:
    """Write the option's value as :func:`vllmsim.config.failurerules.parse_failure_rules` reads it."""
    return [_write_rule(rule) for rule in rules]


_PLAIN: Final = tuple(
    field.name
    for field in attrs.fields(FailureRule)
    if field.name not in {"header", "delay", "retry_after", "disturbance", "damage"}
)
"""The fields whose values are written as they are."""


def _write_rule(rule: FailureRule) -> dict[str, Any]:
    usual = FailureRule("")
    told = {
        name.replace("_", "-"): list(value) if isinstance(value, tuple) else value
        for name in _PLAIN
        if (value := getattr(rule, name)) != getattr(usual, name)
    }
    if rule.header:
        told["header"] = dict(rule.header)
    if rule.delay:
        told["delay"] = format_duration(rule.delay)
    if rule.retry_after is not None:
        told["retry-after"] = format_duration(rule.retry_after)
    return told | _write_disturbance(rule.disturbance) | _write_damage(rule.damage)


def _write_disturbance(disturbance: Disturbance | None) -> dict[str, Any]:
    if disturbance is None:
        return {}
    told: dict[str, Any] = {}
    if disturbance.first_token:
        told["first-token"] = format_duration(disturbance.first_token)
    if disturbance.stall:
        time = FOR_EVER if disturbance.stall == inf else format_duration(disturbance.stall)
        told["stall"] = {"tokens": disturbance.stall_at, "for": time}
    return told


def _write_damage(damage: Damage | None) -> dict[str, Any]:
    if damage is None:
        return {}
    if damage.kind == "truncate":
        return {"truncate": {"tokens": damage.after, "then": "end" if damage.ends else "close"}}
    if damage.kind in ("cut", "malformed"):
        return {damage.kind: damage.after}
    return {"done": "missing" if damage.kind == "done-missing" else "twice"}
