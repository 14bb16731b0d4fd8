# -*- test-case-name: tests.config.test_changes -*-
"""How the configuration of running ranks changes: one way, whoever asks for it.

A change is read, the configurations that the ranks would have are checked with all rules, and only if nothing is wrong
with any of them they are swapped. So a change is there whole, for all ranks that it is for, or not at all. Who changed
what is logged, and remembered for a while with what was before, which can be had back.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from attrs import define, evolve, field, frozen
from twisted.logger import Logger
from zope.interface import implementer

from vllmsim.config.describing import describe_configuration, written
from vllmsim.config.edits import Edit, Fault, read_edit
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loading import Loaded
from vllmsim.config.names import all_options
from vllmsim.config.option import Option
from vllmsim.config.schema import Configuration, own_options
from vllmsim.config.wording import VALUES
from vllmsim.errors import Conflict, InvalidRequest
from vllmsim.interfaces import IConfigurations
from vllmsim.secrecy import MASK

REMEMBERED: Final = 100
"""How many changes can be undone, and how many are told of."""
_MOST_SHOWN: Final = 200
_MOST_TOLD: Final = 4000
_MOST_FAULTS: Final = 50


@frozen(eq=False)
class Change:
    """What happened to the configuration.

    :param when: seconds since the epoch.
    :param who: who did it.
    :param what: ``change``, ``undo`` or ``reload``.
    :param before: by rank, what held before it, of the ranks that changed.
    :param after: by rank, what holds since.
    :param step: whether what the same author does next goes on with it.
    """

    when: float
    who: str
    what: str
    before: Mapping[int, Configuration]
    after: Mapping[int, Configuration]
    step: bool = False
    _told: list[list[dict[str, Any]]] = field(init=False, factory=list)

    def differences(self) -> list[dict[str, Any]]:
        """List what changed: each option with its old and new value, and the ranks where these are so."""
        if not self._told:
            self._told.append(self._compare())
        return self._told[0]

    def _compare(self) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for option in own_options():
            for rank, after in self.after.items():
                old, new = getattr(self.before[rank], option.attribute), getattr(after, option.attribute)
                if old is not new and old != new:
                    entry = {"option": option.name, "old": _told(option, old), "new": _told(option, new)}
                    found.setdefault(json.dumps(entry, default=str), entry | {"ranks": []})["ranks"].append(rank)
        return list(found.values())

    def described(self) -> dict[str, Any]:
        """Show it as JSON can."""
        return {"when": self.when, "who": self.who, "what": self.what, "changes": self.differences()}


@implementer(IConfigurations)
@define(eq=False)
class LiveConfigurations:
    """The configurations of all ranks of a server.

    :param ranks: by number, each rank's.
    :param loaded: what the sources of the configuration said when it was read last.
    :param epoch: tells seconds since the epoch.
    :param trial: looks whether a configuration would do in the place of another, beyond its own rules: tells options,
        and what is wrong with each as a sentence without its end.
    """

    _log: ClassVar[Logger] = Logger()

    ranks: Mapping[int, LiveConfiguration]
    _loaded: Loaded
    _epoch: Callable[[], float]
    _trial: Callable[[Configuration, Configuration], Sequence[Fault]] | None = None
    _history: deque[Change] = field(init=False, factory=lambda: deque(maxlen=REMEMBERED))
    _past: deque[Mapping[int, Configuration]] = field(init=False, factory=lambda: deque(maxlen=REMEMBERED))

    async def describe(self, rank: int) -> Mapping[str, Any]:
        """Show a rank's configuration; see :class:`vllmsim.interfaces.IConfigurations`."""
        [number] = self._chosen(rank)
        shown = describe_configuration(self.ranks[number].current)
        for option in all_options():
            if option.name not in shown and option.name in self._loaded.values and not option.secret:
                shown[option.name] = written(option.kind, self._loaded.values[option.name][0])
        return dict(sorted((shown | {"data-parallel-rank": number}).items()))

    async def history(self) -> Sequence[Mapping[str, Any]]:
        """Tell what has changed; see :class:`vllmsim.interfaces.IConfigurations`."""
        return [change.described() for change in reversed(self._history)]

    async def change(
        self, values: Mapping[str, object], rank: int | None, who: str, *, step: bool = False, whole: bool = False
    ) -> None:
        """Change options; see :class:`vllmsim.interfaces.IConfigurations`."""
        chosen = self._chosen(rank)
        self._apply("change", read_edit(values, whole=whole), chosen, who, step=step)

    async def undo(self, who: str) -> None:
        """Have back what was before the latest change; see :class:`vllmsim.interfaces.IConfigurations`."""
        if not self._past:
            raise Conflict("There is no change of the configuration to undo.")
        self._swap(Change(self._epoch(), who, "undo", self._current(), self._past.pop()))

    async def reload(self, loaded: Loaded, who: str) -> None:
        """Take over what the sources of the configuration say now, as far as that is other than before.

        What has been changed in between and is the same in the sources stays as it was changed. What is new there and
        cannot change while the server runs is named in the log, and left.

        :raises InvalidRequest: when that does not go with what has been changed in between; then nothing changes, and
            the next time is as if this one had not been.
        """
        before, after = self._loaded.configuration, loaded.configuration
        changed = [o for o in own_options() if getattr(before, o.attribute) != getattr(after, o.attribute)]
        values = {o.attribute: getattr(after, o.attribute) for o in changed if self._can_become(o, after)}
        self._apply("reload", Edit(values), list(self.ranks), who)
        self._loaded = loaded
        running = next(iter(self.ranks.values())).current
        for option in changed:
            if option.attribute not in values and getattr(running, option.attribute) != getattr(
                after, option.attribute
            ):
                self._log.warn("{option} has changed, which takes a restart to have effect.", option=option.name)

    def _can_become(self, option: Option, configuration: Configuration) -> bool:
        """Tell whether an option may have a new value now. Metrics are real from the start to the end, or fake."""
        fakes = {each.current.fake_metrics is None for each in self.ranks.values()}
        return option.live and (option.name != "fake-metrics" or fakes == {configuration.fake_metrics is None})

    def _chosen(self, rank: int | None) -> list[int]:
        if rank is not None and rank not in self.ranks:
            there = ", ".join(map(str, self.ranks))
            raise InvalidRequest(f"There is no rank {rank} here; this server has {there}.", "rank")
        return list(self.ranks) if rank is None else [rank]

    def _current(self) -> dict[int, Configuration]:
        return {number: live.current for number, live in self.ranks.items()}

    def _apply(self, what: str, edit: Edit, chosen: Sequence[int], who: str, *, step: bool = False) -> None:
        before, faults = self._current(), dict[Fault, None]()
        # Ranks that have the same have the same afterwards, and it is checked once.
        made: dict[int, Configuration] = {}
        for number in chosen:
            if id(before[number]) not in made:
                made[id(before[number])], wrong = edit.applied(before[number], self._loaded.values)
                faults |= dict.fromkeys(wrong or self._tried(before[number], made[id(before[number])]))
        if faults:
            raise _invalid(list(faults))
        after = before | {number: made[id(before[number])] for number in chosen}
        self._swap(Change(self._epoch(), who, what, before, after, step))

    def _tried(self, before: Configuration, now: Configuration) -> list[Fault]:
        faults = () if self._trial is None else self._trial(before, now)
        return [(name, f"{name}: {fault}{_words(name, now)}") for name, fault in faults]

    def _swap(self, change: Change) -> None:
        changed = [number for number, after in change.after.items() if after != change.before[number]]
        if not changed:
            return
        self._remember(change)
        for number in changed:
            self.ranks[number].swap(change.after[number])
        if not change.step:
            told = _summary(change)
            self._log.info("{who} has changed the configuration: {changes}", who=change.who, changes=told)

    def _remember(self, change: Change) -> None:
        last = self._history[-1] if self._history else None
        if last is not None and change.step and last.step and last.who == change.who:
            self._history[-1] = evolve(last, after=change.after)
            if change.after == last.before:
                # All steps together have changed nothing.
                self._history.pop()
                self._past.pop()
            return
        self._history.append(change)
        if change.what != "undo":
            self._past.append(change.before)


def _invalid(faults: Sequence[Fault]) -> InvalidRequest:
    told = [fault for _, fault in faults[:_MOST_FAULTS]]
    if len(faults) > _MOST_FAULTS:
        told.append(f"and {len(faults) - _MOST_FAULTS} more")
    return InvalidRequest("; ".join(told), faults[0][0][:_MOST_SHOWN])


def _words(name: str, configuration: Configuration) -> str:
    """Say what llm-d-inference-sim says of a name that is none."""
    words = VALUES.get(name, "")
    return f" ({words.format(value=getattr(configuration, name.replace('-', '_')))})" if words else ""


def _summary(change: Change) -> str:
    texts = []
    for entry in change.differences():
        old, new = (_short(entry[name]) for name in ("old", "new"))
        where = "" if len(entry["ranks"]) == len(change.after) else f" (rank {', '.join(map(str, entry['ranks']))})"
        texts.append(f"{entry['option']} from {old} to {new}{where}")
    return "; ".join(texts)


def _told(option: Option, value: Any) -> Any:
    return MASK if option.secret else _bounded(written(option.kind, value))


def _bounded(value: Any) -> Any:
    """Leave a value as it is, or the beginning of a long one as text: a hundred changes are remembered."""
    text = json.dumps(value, default=str)
    return value if len(text) <= _MOST_TOLD else text[:_MOST_TOLD] + "..."


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."
