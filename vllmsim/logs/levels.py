# -*- test-case-name: tests.logs.test_levels -*-
"""Which events are logged, by their level and namespace; it can change while the program runs."""

from collections.abc import Iterable
from typing import Any, Final

from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loglevels import LEVELS
from vllmsim.config.schema import Configuration

_NUMBERS: Final = {name: number for number, name in enumerate(LEVELS)}
_BY_LEVEL: Final[dict[Any, int]] = {LogLevel.lookupByName(name): number for name, number in _NUMBERS.items()}
_INFO: Final = _NUMBERS["info"]
RELAYED: Final = "relayed"
"""The member of an event that another process has let through by its own levels."""


@implementer(ILogObserver)
class LevelGate:
    """Lets those events through that are wanted.

    Ranks of one process have one log. Where they ask for different levels, the one that tells most holds.

    :param observer: gets them.
    :param lives: the configurations that say which.
    """

    def __init__(self, observer: ILogObserver, lives: Iterable[LiveConfiguration]) -> None:
        self._observer = observer
        self._lives = list(lives)
        self._least: dict[object, int] = {}
        for live in self._lives:
            live.watch(self._changed)

    def __call__(self, event: LogEvent) -> None:
        """Take an event."""
        namespace = event.get("log_namespace")
        least = self._least.get(namespace)
        if least is None:
            least = self._least[namespace] = self._find(str(namespace))
        if _BY_LEVEL.get(event.get("log_level"), _INFO) >= least or RELAYED in event:
            self._observer(event)

    def _find(self, namespace: str) -> int:
        return min(_NUMBERS[live.current.log_level.of(namespace)] for live in self._lives)

    def _changed(self, before: Configuration, now: Configuration) -> None:
        if before.log_level != now.log_level:
            self._least.clear()
