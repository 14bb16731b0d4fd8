"""Which events come through."""

from typing import Any

from attrs import evolve
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loglevels import parse_levels
from vllmsim.config.schema import Configuration
from vllmsim.logs.levels import LevelGate

ALL = ["debug", "info", "warn", "error", "critical"]


class GateTests(SynchronousTestCase):
    """Levels that hold, and levels that change."""

    def make(self, *levels: Any) -> None:
        """Make a gate for ranks that want levels."""
        self.events: list[dict[str, Any]] = []
        self.lives = [LiveConfiguration(Configuration(log_level=parse_levels(each))) for each in levels]
        observer: Any = self.events.append
        self.gate = LevelGate(observer, self.lives)

    def change(self, rank: int, levels: Any) -> None:
        """Have a rank want others."""
        live = self.lives[rank]
        live.swap(evolve(live.current, log_level=parse_levels(levels)))

    def through(self, namespace: str = "vllmsim.web.site") -> list[str]:
        """Log something at each level, and see what comes through."""
        self.events.clear()
        log = Logger(namespace, observer=self.gate)
        for level in LogLevel.iterconstants():
            log.emit(level, "something")
        return [event["log_level"].name for event in self.events]

    def test_level(self) -> None:
        """What is below the level is left out."""
        for number, level in enumerate(ALL):
            self.make(level)
            self.assertEqual(ALL[number:], self.through())
        self.assertTrue(verifyObject(ILogObserver, self.gate))

    def test_live(self) -> None:
        """A change holds at once, for namespaces that have logged already too."""
        self.make("info")
        self.assertEqual(ALL[1:], self.through())
        self.change(0, "error,vllmsim.web=debug")
        self.assertEqual((ALL, ALL[3:]), (self.through(), self.through("vllmsim.webbed")))
        self.change(0, "info")
        self.assertEqual(ALL[1:], self.through())

    def test_ranks(self) -> None:
        """Of ranks that share a log, the one that wants most decides."""
        self.make("info", "error")
        self.assertEqual(ALL[1:], self.through())
        self.change(1, "debug")
        self.assertEqual(ALL, self.through())

    def test_others(self) -> None:
        """An event without level or namespace counts as information, and one that another process let through does."""
        self.make("info")
        for event in ({}, {"log_format": "x"}, {"log_level": LogLevel.debug, "relayed": {}}):
            self.gate(event)
        self.assertEqual(3, len(self.events))
        self.make("warn")
        self.gate({})
        self.assertEqual([], self.events)
