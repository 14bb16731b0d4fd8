# -*- test-case-name: tests.config.test_failurerules -*-
"""The ``failure-rules`` option: which requests fail, when, and how.

A rule is a map. Some members say which requests it means, some which of those fail, and the others how they do; all of
them are read here, and :mod:`vllmsim.failures` acts on them.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Final

from vllmsim.config.failurerule import FAILURE_TYPES, FOR_EVER, FailureRule, Patterns
from vllmsim.config.fakemetrics import InvalidMembers
from vllmsim.config.members import (
    Members,
    count,
    duration,
    flag,
    integer,
    lasting,
    percent,
    positive,
    read_members,
    seconds,
    text,
)
from vllmsim.faults import STATUSES, Damage
from vllmsim.inference import Disturbance

_MOST_RULES: Final = 256
_MOST_PATTERNS: Final = 16
_LONGEST_PATTERN: Final = 256
_LONGEST_NAME: Final = 128
_REFUSALS: Final = ("type", "status", "reset")
_DAMAGES: Final = ("cut", "truncate", "malformed", "done")
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "message": ("status",),
    "error-type": ("status",),
    "code": ("status",),
    "retry-after": ("type", "status"),
    "delay": _REFUSALS,
}
"""Members that go with one of some others."""


def parse_failure_rules(value: object) -> tuple[FailureRule, ...]:
    """Read the option's value.

    :raises InvalidMembers: naming every member that is wrong, by the number of its rule, from 0, and its own name.
    :raises ValueError: when it is no list at all, or too long a list.
    """
    if not isinstance(value, list):
        raise ValueError("it is not a list")
    if len(value) > _MOST_RULES:
        raise ValueError(f"it has {len(value)} rules, and at most {_MOST_RULES} are allowed")
    rules: list[FailureRule] = []
    faults: list[tuple[str, str]] = []
    names: set[str] = set()
    given = {str(each.get("name")) for each in value if isinstance(each, Mapping)}
    for number, each in enumerate(value):
        if not isinstance(each, Mapping):
            faults.append((str(number), "must be a map"))
            continue
        members = Members(each)
        # A rule without a name has its place's, unless another was given that.
        free = (name for n in range(number + 1, 2 * _MOST_RULES) if (name := f"rule-{n}") not in given | names)
        rule = _read_rule(members, next(free))
        if rule.name in names:
            members.fault("name", f"{rule.name!r} is there twice")
        names.add(rule.name)
        rules.append(rule)
        faults += [(f"{number}.{member}", fault) for member, fault in members.faults]
    if faults:
        raise InvalidMembers(faults)
    return tuple(rules)


def _read_rule(members: Members, name: str) -> FailureRule:
    take = members.take
    late, stall = take("first-token", lasting, 0.0), take("stall", _stall)
    stalled_at, stalled_for = stall or (0, 0.0)
    damages = [damage for each, read in _DAMAGE_READERS.items() if (damage := take(each, read))]
    rule = FailureRule(
        name=take("name", _name, name),
        model=take("model", _patterns, ()),
        adapter=take("adapter", _patterns, ()),
        route=take("route", _patterns, ()),
        api_key=take("api-key", _patterns, ()),
        tenant=take("tenant", _patterns, ()),
        header=take("header", _headers, ()),
        stream=take("stream", flag, True if "done" in members.given else None),
        after=take("after", count, 0),
        first=take("first", positive),
        every=take("every", positive, 1),
        times=take("times", positive),
        rate=take("rate", percent, 100.0),
        type=take("type", _type),
        status=take("status", _status),
        message=take("message", text),
        error_type=take("error-type", text),
        code=take("code", _code),
        retry_after=take("retry-after", seconds),
        reset=take("reset", _yes, False),
        delay=take("delay", duration, 0.0),
        disturbance=Disturbance(late, stalled_for, stalled_at) if late or stall else None,
        damage=damages[0] if damages else None,
    )
    members.finish("is no member of a failure rule")
    _check(members, rule)
    return rule


def _check(members: Members, rule: FailureRule) -> None:
    """Look at members together."""
    given, fault = members.given, members.fault
    refusals = [each for each in _REFUSALS if each in given]
    damages = [each for each in _DAMAGES if each in given]
    spoilt = [each for each in ("first-token", "stall") if each in given] + damages
    if not refusals and not spoilt:
        ways = ", ".join((*_REFUSALS, "first-token", "stall", *_DAMAGES))
        fault("status", f"is missing: a rule says how requests fail, by one of {ways}")
    for extra in refusals[1:]:
        fault(extra, f"goes with no {refusals[0]}")
    for each in spoilt if refusals else ():
        fault(each, f"spoils an answer, and with {refusals[0]} there is none")
    for another in damages[1:]:
        fault(another, f"goes with no {damages[0]}: an answer is damaged in one way")
    for name, others in _NEEDED.items():
        if name in given and not given.intersection(others):
            fault(name, f"goes with {' or '.join(others)}")
    if "done" in given and rule.stream is False:
        fault("done", "is said of streams, and stream is false")


def _name(value: object) -> str:
    name = text(value)
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValueError(f"must be a name of 1 to {_LONGEST_NAME} characters")
    return name


def _patterns(value: object) -> Patterns:
    given = value if isinstance(value, list) else [value]
    if not 0 < len(given) <= _MOST_PATTERNS:
        raise ValueError(f"must be a pattern, or a list of 1 to {_MOST_PATTERNS}")
    return tuple(map(_pattern, given))


def _pattern(value: object) -> str:
    pattern = text(value)
    if len(pattern) > _LONGEST_PATTERN:
        raise ValueError(f"must have at most {_LONGEST_PATTERN} characters")
    return pattern


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, Mapping) or not 0 < len(value) <= _MOST_PATTERNS:
        raise ValueError("must be the name of a header, or a map of names to patterns of values")
    # A name without a pattern stands for any value.
    members = Members({name: "*" if pattern is None else pattern for name, pattern in value.items()})
    read = tuple(sorted((name.lower(), members.take(name, _pattern, "*")) for name in members.given))
    if members.faults:
        raise InvalidMembers(members.faults)
    return read


def _yes(value: object) -> bool:
    if value is not True:
        raise ValueError("must be true, or not be there")
    return True


def _type(value: object) -> str:
    if not isinstance(value, str) or value not in FAILURE_TYPES:
        raise ValueError(f"must be one of {', '.join(FAILURE_TYPES)}")
    return value


def _status(value: object) -> int:
    return integer(value, STATUSES.start, STATUSES.stop - 1)


def _code(value: object) -> str | int:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else text(value)


def _stall(value: object) -> tuple[int, float]:
    def time(given: object) -> float:
        return inf if given == FOR_EVER else lasting(given)

    read = read_members(value, "tokens", tokens=count, **{"for": time})
    return read.get("tokens", 0), read.get("for", inf)


def _truncated(value: object) -> Damage:
    def ends(then: object) -> bool:
        if then not in ("close", "end"):
            raise ValueError("must be close or end")
        return then == "end"

    read = read_members(value, "tokens", tokens=count, then=ends)
    return Damage("truncate", read.get("tokens", 0), read.get("then", False))


def _cut(value: object) -> Damage:
    return Damage("cut", count(value))


def _malformed(value: object) -> Damage:
    return Damage("malformed", count(value))


def _done(value: object) -> Damage:
    if value == "missing":
        return Damage("done-missing")
    if value == "twice":
        return Damage("done-twice")
    raise ValueError("must be missing or twice")


_DAMAGE_READERS: Final[Mapping[str, Callable[[object], Damage]]] = {
    "cut": _cut,
    "truncate": _truncated,
    "malformed": _malformed,
    "done": _done,
}
