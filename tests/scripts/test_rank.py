"""The process of one rank. Its whole life is tried in :mod:`tests.integration.test_processes`."""

import io
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

from twisted.application.service import MultiService
from twisted.internet import reactor, stdio
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, formatEvent, globalLogBeginner
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.announcing import Load
from vllmsim.config.live import LiveConfiguration
from vllmsim.logs.relay import SEPARATOR, read_event
from vllmsim.processes.assignment import Assignment
from vllmsim.scripts import rank


class MainTests(SynchronousTestCase):
    """What it runs."""

    def setUp(self) -> None:
        """Keep this process as it is."""
        self.patch(reactor, "seconds", time.time)
        self.patch(rank, "Thread", lambda **facts: SimpleNamespace(start=lambda: self.ran.append(facts["target"])))
        self.patch(globalLogBeginner, "beginLoggingTo", lambda observers, **_: self.observers.extend(observers))
        self.patch(reactor, "run", lambda: self.ran.append("reactor"))
        self.patch(reactor, "callWhenRunning", lambda function, *_: self.ran.append(function))
        self.patch(reactor, "addSystemEventTrigger", lambda *words: self.ran.append(words[:2]))
        self.ran: list[Any] = []
        self.observers: list[ILogObserver] = []

    def run_with(self, told: bytes) -> None:
        """Run it with something on standard input."""
        self.patch(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(told)))
        rank.main()

    def test_rank(self) -> None:
        """It serves the rank that it is told to, watches its supervisor, and says that it listens when it does."""
        served: list[Any] = []
        tree = MultiService()

        def serve(*arguments: Any, **facts: Any) -> MultiService:
            served.append((*arguments, facts))
            return tree

        self.patch(rank, "serve", serve)
        self.patch(stdio, "StandardIO", lambda *ends: self.ran.append(ends))
        configuration = load_words(["-dp", "2"], {}).configuration
        self.run_with(Assignment(1, 7, configuration, trusted=b"pem").to_bytes())
        [(lives, configurations, seed, more)] = served
        self.assertEqual({1: configuration}, {number: live.current for number, live in lives.items()})
        self.assertEqual((7, {"leave": None, "trusted": b"pem"}), (seed, more))
        self.assertTrue(tree.running)
        said, watches = rank._say_that_it_listens, rank._leave_with_supervisor
        wired = (configurations.wire, 5, 4, reactor)
        self.assertEqual([watches, wired, ("before", "shutdown"), said, "reactor"], self.ran)

    def test_log(self) -> None:
        """Its events are for the supervisor, as far as its configuration wants them; what it is told changes that."""
        lives: list[LiveConfiguration] = []

        def serve(given: Any, *_: Any, **__: Any) -> MultiService:
            lives.extend(given.values())
            return MultiService()

        self.patch(rank, "serve", serve)
        self.patch(stdio, "StandardIO", lambda *_: None)
        output = io.StringIO()
        self.patch(sys, "stdout", output)
        configuration = load_words(["--log-level", "warn"], {}).configuration
        self.run_with(Assignment(1, 7, configuration).to_bytes())
        [observer] = self.observers
        log = Logger("n", observer=observer)
        log.info("nothing")
        lives[0].swap(load_words([], {}).configuration)
        log.info("something")
        event = read_event(output.getvalue().encode().removeprefix(SEPARATOR), 1) or {}
        self.assertEqual("[rank 1] something", formatEvent(event))

    def test_load(self) -> None:
        """It says what it has to do where somebody wants to know, when that is something else."""
        tree, clock, said = MultiService(), Clock(), []
        loads = iter([Load(1, 2, 3), Load(1, 2, 3), Load(1, 0, 0)])
        ranks: Any = MultiService()
        ranks.load = lambda: next(loads)
        ranks.setName("ranks")
        ranks.setServiceParent(tree)
        wire: Any = SimpleNamespace(send=lambda **message: said.append(message))
        rank._report(tree, wire, 0.0, clock)
        self.assertEqual([], clock.getDelayedCalls())
        rank._report(tree, wire, 5.0, clock)
        clock.pump([5.0] * 3)
        self.assertEqual([{"load": [2, 3]}, {"load": [0, 0]}], said)

    def test_alone(self) -> None:
        """It cannot be started by itself, and says so."""
        error = self.assertRaises(SystemExit, self.run_with, b"")
        self.assertEqual("vllmsim: this is a part of it; start it as `vllmsim --data-parallel-processes`", error.code)
        self.assertEqual([], self.ran)

    def test_supervisor_gone(self) -> None:
        """It ends when the other end of its standard input is closed."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.close(writing)
        left: list[int] = []
        rank._leave_with_supervisor(reading, left.append)
        self.assertEqual([1], left)

    def test_listens(self) -> None:
        """It says so with a newline and nothing more."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        rank._say_that_it_listens(writing)
        self.assertEqual([b"\n", b""], [os.read(reading, 10) for _ in range(2)])
