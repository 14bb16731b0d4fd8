# -*- test-case-name: tests.config.test_live -*-
"""The configuration of a rank while it runs: one whole value, which is swapped for another in one step.

Who needs an option that may change keeps the :class:`LiveConfiguration` and looks at :attr:`LiveConfiguration.current`
when it needs it, or has what it makes of the configuration kept up to date by :meth:`LiveConfiguration.follow`.
"""

from collections.abc import Callable
from typing import ClassVar, Generic, TypeAlias, TypeVar

from attrs import define, field
from twisted.logger import Logger

from vllmsim.config.schema import Configuration

T = TypeVar("T")

Observer: TypeAlias = Callable[[Configuration, Configuration], object]
"""Hears of a swap: the configuration before it, and the one from now on. It must not raise."""


@define(eq=False)
class LiveConfiguration:
    """What holds for one rank now.

    :param current: all options; complete and checked.
    """

    _log: ClassVar[Logger] = Logger()

    current: Configuration
    _observers: list[Observer] = field(init=False, factory=list)

    def watch(self, observer: Observer) -> None:
        """Have someone hear of each swap, after it; in the order in which they came."""
        self._observers.append(observer)

    def follow(self, make: Callable[[Configuration], T]) -> "Following[T]":
        """Keep something that is made of the configuration.

        :param make: makes it. It is called at once, and for each swap.
        :return: gives, when it is called, the latest.
        """
        following = Following(make, make(self.current))
        self.watch(following.swapped)
        return following

    def swap(self, configuration: Configuration) -> None:
        """Have another configuration hold from now on.

        :param configuration: complete and checked.
        """
        before, self.current = self.current, configuration
        for observer in self._observers:
            try:
                observer(before, configuration)
            except Exception:  # noqa: BLE001 - who breaks must not keep others from hearing
                self._log.failure("Someone could not take the new configuration.")


@define(eq=False)
class Following(Generic[T]):
    """Something that is made of the configuration, and made anew when that changes."""

    _make: Callable[[Configuration], T]
    _latest: T

    def __call__(self) -> T:
        """Give what goes with the configuration of now."""
        return self._latest

    def swapped(self, _: Configuration, configuration: Configuration) -> None:
        """Make it anew."""
        self._latest = self._make(configuration)
