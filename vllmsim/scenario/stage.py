# -*- test-case-name: tests.scenario.test_stage -*-
"""One rank, as scenarios play on it: what they do to it, and how it was before."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from vllmsim.config.describing import masked, written
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.names import find
from vllmsim.config.option import Option
from vllmsim.config.scenario.course import Course
from vllmsim.config.scenario.values import PRESSURE, NewAdapter, Step
from vllmsim.errors import InferenceError
from vllmsim.interfaces import IAdapterRegistry, IHealth, IJournal, IModelCatalogue, IPrefixCache, IRankControl


@define(eq=False)
class Stage:
    """What a scenario can do to one rank beside changing its options, and what it has done.

    :param number: which rank it is.
    :param live: its configuration, which scenarios look at, and others change for them.
    :param begin: has everything random begin again from a seed.
    """

    _log: ClassVar[Logger] = Logger()

    number: int
    live: LiveConfiguration
    _begin: Callable[[int], object]
    _cache: IPrefixCache
    _catalogue: IModelCatalogue
    _registry: IAdapterRegistry
    _health: IHealth
    _control: IRankControl
    _journal: IJournal
    came: int = field(init=False, default=0)
    """How many requests had come when the scenario began."""
    course: Course = field(init=False, factory=Course)
    pressure: float = field(init=False, default=0.0)
    """The share of KV blocks that nobody uses, as it was asked for."""
    _before: dict[str, Any] = field(init=False, factory=dict)
    """By name, what was changed: how it was."""
    _given: dict[str, Any] = field(init=False, factory=dict)
    """By name of an option, the last value that a scenario gave it."""
    _left: dict[str, bool] = field(init=False, factory=dict)
    """Whether a scenario has left the rank paused, and asleep, where it said something of that."""
    _adapters: dict[str, tuple[str | None, str | None]] = field(init=False, factory=dict)
    """By name of an adapter that was to be loaded or unloaded: its path before and since then; None for not served."""

    def begin(self, seed: int) -> None:
        """Be as new: whatever is random begins again, and nothing is cached, or has been loaded."""
        self.came = self._journal.number
        self._begin(seed)
        self._cache.reset(running=True)
        self._control.reset_media_cache()

    def rest(self) -> None:
        """Have ramps go on no more."""
        self.course = Course()

    def starts(self, step: Step) -> dict[str, float]:
        """Tell where ramps begin that do not say it."""
        starts = {}
        for ramp in step.ramps:
            value = self.pressure if ramp.name == PRESSURE else self._value(ramp.name)
            # Somebody may have taken a value away since all was checked.
            starts[ramp.name] = ramp.stop if value is None else value
        return starts

    # Options

    def remember(self, names: Iterable[str]) -> None:
        """Remember how options are that are about to be changed, but for those that were changed before."""
        for name in names:
            self._before.setdefault(name, self._value(name))

    def given(self, names: Iterable[str]) -> None:
        """Remember how options are now that they have been changed."""
        self._given |= {name: self._value(name) for name in names}

    def former_options(self) -> dict[str, object]:
        """List the options that have still the value that a scenario has given them, and what they were before."""
        return {
            name: None if self._before[name] is None else _option(name).kind.to_value(self._before[name])
            for name, value in self._given.items()
            if self._value(name) == value != self._before[name]
        }

    def _value(self, name: str) -> Any:
        return getattr(self.live.current, _option(name).attribute)

    # Everything else

    def press(self, share: float) -> str:
        """Have a share of the KV blocks used by nobody.

        :return: what is not as it was wanted, in a sentence; nothing if all is.
        """
        self._before.setdefault(PRESSURE, self.pressure)
        self.pressure = share
        had = self._cache.occupy(share)
        if had >= share:
            return ""
        return f"kv-pressure is {had:.3f}, as the longest request would find no room with {share:.3f}"

    def act(self, step: Step) -> list[str]:
        """Do all that a step says beside options and ramps.

        :return: what went wrong, or otherwise than it was wanted.
        """
        troubles = []
        if step.kv_pressure is not None:
            troubles.append(self.press(step.kv_pressure))
        troubles += [self._unload(name) for name in step.unload]
        troubles += [self._load(adapter) for adapter in step.load]
        if step.ready is not None:
            self._before.setdefault("ready", self._health.willing)
            self._health.willing = step.ready
        if step.healthy is not None:
            self._before.setdefault("healthy", self._health.healthy)
            self._health.healthy = step.healthy
        if step.reset_prefix_cache:
            self._let(self._control.reset_prefix_cache(reset_running_requests=True, reset_external=False))
        if step.abort:
            self._control.abort(())
        if step.pause is not None or step.resume:
            self._pause(step)
        if step.sleep is not None or step.wake_up is not None:
            self._sleep(step)
        return [trouble for trouble in troubles if trouble]

    def _pause(self, step: Step) -> None:
        control = self._control
        self._before.setdefault("paused", control.paused())
        if step.pause is not None:
            self._let(control.pause(step.pause.mode, step.pause.clear_cache))
        if step.resume:
            control.resume()
        self._left["paused"] = control.paused()

    def _sleep(self, step: Step) -> None:
        control = self._control
        self._before.setdefault("asleep", control.sleeping())
        if step.sleep is not None:
            self._let(control.sleep(step.sleep.level, step.sleep.mode))
        if step.wake_up is not None:
            control.wake_up(step.wake_up)
        self._left["asleep"] = control.sleeping()

    def _load(self, adapter: NewAdapter) -> str:
        name, path = adapter.name, adapter.path
        return self._change_adapter(name, lambda: self._registry.load(name, path, in_place=False))

    def _unload(self, name: str) -> str:
        return self._change_adapter(name, lambda: self._registry.unload(name))

    def _change_adapter(self, name: str, change: Callable[[], object]) -> str:
        """Load or unload an adapter, and remember how it was."""
        before = self._path(name)
        try:
            change()
        except InferenceError as error:
            return error.message
        first, _ = self._adapters.get(name, (before, before))
        self._adapters[name] = first, self._path(name)
        return ""

    def _let(self, done: Deferred[Any]) -> None:
        """Let something come to its end in its own time."""
        done.addErrback(self._complain)

    def _complain(self, reason: Failure) -> None:
        if reason.check(CancelledError) is None:
            self._log.failure("What a scenario has begun went wrong.", reason)

    def restore(self) -> None:
        """Have everything but options be as it was before, and forget what was changed."""
        before, control = self._before, self._control
        if PRESSURE in before:
            self.press(before[PRESSURE])
        for name, (path, left) in self._adapters.items():
            if self._path(name) == left:
                self._bring_back(name, path)
        self._health.willing = before.get("ready", self._health.willing)
        self._health.healthy = before.get("healthy", self._health.healthy)
        if self._is_otherwise("asleep", control.sleeping()):
            if control.sleeping():
                control.wake_up(())
            else:
                self._let(control.sleep(0, "wait"))
        if self._is_otherwise("paused", control.paused()):
            if control.paused():
                control.resume()
            else:
                self._let(control.pause("wait", clear_cache=False))
        self.forget()

    def _is_otherwise(self, name: str, now: bool) -> bool:
        """Tell whether something is still as a scenario has left it, and was not so before."""
        return name in self._left and self._left[name] is now is not self._before[name]

    def _bring_back(self, name: str, path: str | None) -> None:
        served = self._path(name)
        try:
            if served not in {None, path}:
                self._registry.unload(name)
                served = None
            if served is None and path is not None:
                self._registry.load(name, path, in_place=False)
        except InferenceError as error:
            self._log.warn("The adapter {name} cannot be as it was: {error}", name=name, error=error.message)

    def forget(self) -> None:
        """Forget what was changed: it stays."""
        self._before.clear()
        self._given.clear()
        self._left.clear()
        self._adapters.clear()

    def changed(self) -> Mapping[str, Any]:
        """Show what scenarios have changed, as it is now."""
        shown = masked({name: written(_option(name).kind, self._value(name)) for name in self._given})
        others = {
            PRESSURE: self.pressure,
            "ready": self._health.willing,
            "healthy": self._health.healthy,
            "paused": self._control.paused(),
            "asleep": self._control.sleeping(),
        }
        shown |= {name: value for name, value in others.items() if name in self._before}
        if self._adapters:
            shown["adapters"] = {name: self._path(name) for name in self._adapters}
        return shown

    def _path(self, name: str) -> str | None:
        adapter = self._catalogue.adapter(name)
        return None if adapter is None else adapter.path


def _option(name: str) -> Option:
    meaning = find(name)
    assert meaning is not None
    return meaning.option
