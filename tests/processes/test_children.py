"""Ranks as child processes."""

import io
import os
import sys
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.processes.reactor import FakeProcess, ProcessReactor
from vllmsim.logs.relay import Relay
from vllmsim.processes.children import RankProcesses, _Spawner
from vllmsim.processes.wire import Wire


@define(eq=False)
class Observer:
    """Remembers what it is told."""

    calls: list[tuple[str, int]] = field(factory=list)
    messages: list[Any] = field(factory=list)
    wires: dict[int, Wire] = field(factory=dict)

    def begin(self, rank: int) -> tuple[bytes, Wire]:
        """Tell a rank what it is."""
        self.wires[rank] = Wire(self.messages.append)
        return {4: b"four", 5: b"five"}[rank], self.wires[rank]

    def listening(self, rank: int) -> None:
        """Remember."""
        self.calls.append(("listening", rank))

    def ended(self, rank: int, reason: Failure) -> None:
        """Remember."""
        self.calls.append(("ended", rank))


class ProcessesTests(SynchronousTestCase):
    """The life of processes."""

    def setUp(self) -> None:
        """Start two."""
        self.reactor = ProcessReactor()
        self.observer = Observer()
        self.service = RankProcesses(self.reactor, [4, 5], 20.0, self.observer)
        with capturedLogs() as self.events:
            self.service.startService()

    @property
    def processes(self) -> list[FakeProcess]:
        """All that were ever started."""
        return self.reactor.processes

    def texts(self, events: Any) -> list[str]:
        """Write log events."""
        return [event["log_format"].format(**event) for event in events]

    def test_start(self) -> None:
        """Each rank has a process of the same Python, which imports the same, and is told what it needs."""
        first, second = self.processes
        self.assertEqual([sys.executable, "-P", "-m", "vllmsim.scripts.rank", "4"], first.arguments)
        self.assertEqual("5", second.arguments[-1])
        self.assertEqual((b"four", b"five"), (first.told, second.told))
        self.assertEqual((None, os.environ["PATH"]), (first.directory, first.environment["PATH"]))
        paths = first.environment["PYTHONPATH"].split(os.pathsep)
        self.assertEqual([os.path.abspath(path) for path in sys.path], paths)  # noqa: PTH100
        self.assertEqual({0: "w", 1: "r", 2: "r", 3: "r", 4: "r", 5: "w"}, first.descriptors)
        self.assertEqual(["Rank 4 is process 100.", "Rank 5 is process 101."], self.texts(self.events))

    def test_sockets(self) -> None:
        """Sockets that systemd has opened follow, named and meant for the process itself; what it said does not."""
        said = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "LISTEN_FDNAMES": "a", "LISTEN_PID": "1", "OTHER": "x"}
        self.patch(os, "environ", {**os.environ, **said})
        reactor = ProcessReactor()
        sockets = {4: {"http": 17, "admin": 12}}
        RankProcesses(reactor, [4, 5], 20.0, self.observer, sockets).startService()
        first, second = reactor.processes
        self.assertEqual({6: 17, 7: 12}, {to: at for to, at in first.descriptors.items() if to > 5})
        names = "vllmsim-ready:vllmsim-asking:vllmsim-told:http:admin"
        self.assertEqual(("5", names), (first.environment["LISTEN_FDS"], first.environment["LISTEN_FDNAMES"]))
        self.assertEqual(["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "vllmsim", sys.executable], first.arguments[:5])
        self.assertEqual({"OTHER"}, said.keys() & second.environment.keys())
        self.assertEqual((sys.executable, 6), (second.arguments[0], len(second.descriptors)))

    def test_listens(self) -> None:
        """A rank says itself when it listens."""
        self.processes[1].listens()
        self.assertEqual([("listening", 5)], self.observer.calls)

    def test_hang_up(self) -> None:
        """Those that listen are told to read again what they can; others do not know yet what SIGHUP means."""
        self.service.hang_up()
        self.processes[1].listens()
        self.service.hang_up()
        self.assertEqual([[], ["HUP"]], [process.signals for process in self.processes])
        self.processes[1].gone = True
        self.service.hang_up()
        self.processes[1].ends(signal=9)
        self.service.hang_up()
        self.assertEqual(["HUP"], self.processes[1].signals)

    def test_messages(self) -> None:
        """It speaks with the supervisor on descriptors of their own, also when messages come in pieces."""
        self.processes[0].says(b"\0\0\0\x09{", 4)
        self.assertEqual([], self.observer.messages)
        self.processes[0].says(b'"has":1}', 4)
        self.assertEqual([{"has": 1}], self.observer.messages)
        self.observer.wires[5].send(answer=1)
        self.assertEqual([{}, {5: b'\0\0\0\x0d{"answer": 1}'}], [process.heard for process in self.processes])

    def test_nonsense(self) -> None:
        """One that says nothing that has a meaning is killed, so that another takes its place."""
        self.processes[0].says(b"\xff\xff\xff\xff", 4)
        self.assertEqual([["KILL"], []], [process.signals for process in self.processes])

    def test_log(self) -> None:
        """Its lines come out one by one behind its number, whole, and those of standard error too."""
        with capturedLogs() as events:
            self.processes[0].says(b"one\ntw")
            self.processes[1].says(b"other\n")
            self.processes[0].says(b"error\r\n", 2)
            self.processes[0].says(b"o\n\nthree {x}\n")
        expected = [
            "[rank 4] one",
            "[rank 5] other",
            "[rank 4] error",
            "[rank 4] two",
            "[rank 4] ",
            "[rank 4] three {x}",
        ]
        self.assertEqual(expected, self.texts(events))

    def test_events(self) -> None:
        """What it logs is an event with its level, and so is what comes in pieces or behind a line without an end."""
        output = io.StringIO()
        Logger("n", observer=Relay(output, 4)).warn("said {word}", word="x" * 100_000)
        data = b"text" + output.getvalue().encode()
        with capturedLogs() as events:
            for at in range(0, len(data), 65_536):
                self.processes[0].says(data[at : at + 65_536])
            self.processes[0].says(b"\x1enonsense\n")
            self.processes[0].says(b"\x1e{}\n", 2)
        self.assertEqual(
            [
                ("info", "vllmsim.processes", "[rank 4] text"),
                ("warn", "n", "[rank 4] said " + "x" * 100_000),
                ("info", "vllmsim.processes", "[rank 4] \x1enonsense"),
                ("error", "vllmsim.processes", "[rank 4] \x1e{}"),
            ],
            [(event["log_level"].name, event["log_namespace"], formatEvent(event)) for event in events],
        )

    def test_odd_lines(self) -> None:
        """A last line without an end is not lost, nor is a very long one or one that is no text."""
        with capturedLogs() as events:
            self.processes[0].says(b"x" * 100_000 + b"y")
            self.processes[0].says(b"z\n\xff\nlast")
            self.processes[0].says(b"words", 2)
            self.processes[0].ends(1)
        texts = [text.removeprefix("[rank 4] ") for text in self.texts(events)]
        self.assertEqual(["x" * 100_000 + "y", "z", "\\xff", "last", "words"], texts)

    def test_crash(self) -> None:
        """One that has run for a while is started again at once; one that has not waits, each time for longer."""
        self.reactor.advance(60)
        self.processes[0].ends(signal=9)
        self.assertEqual([("ended", 4)], self.observer.calls)
        self.reactor.advance(0)
        self.assertEqual((3, b"four"), (len(self.processes), self.processes[2].told))
        for delay in (1, 2, 4, 8, 16, 30, 30):
            count = len(self.processes)
            self.processes[-1].ends(1)
            self.reactor.advance(delay - 0.5)
            self.assertEqual(count, len(self.processes))
            self.reactor.advance(0.5)
            self.assertEqual(count + 1, len(self.processes))

    def test_stop(self) -> None:
        """All are asked to end at once, none is started again, and the stop is over when the last has ended."""
        stopped = self.service.stopService()
        self.assertEqual([["TERM"], ["TERM"]], [process.signals for process in self.processes])
        self.processes[0].ends()
        self.assertNoResult(stopped)
        self.processes[1].ends(signal=15)
        self.successResultOf(stopped)
        self.reactor.advance(100)
        self.assertEqual(2, len(self.processes))
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_kill(self) -> None:
        """One that does not end in time is killed."""
        stopped = self.service.stopService()
        self.processes[0].ends()
        self.reactor.advance(19.9)
        self.assertEqual(["TERM"], self.processes[1].signals)
        self.reactor.advance(0.1)
        self.assertEqual(["TERM", "KILL"], self.processes[1].signals)
        self.processes[1].ends(signal=9)
        self.successResultOf(stopped)

    def test_stop_between(self) -> None:
        """One that would be started again soon is not when all stop."""
        for process in self.processes:
            process.ends(1)
        self.successResultOf(self.service.stopService())
        self.reactor.advance(100)
        self.assertEqual(2, len(self.processes))

    def test_spawner(self) -> None:
        """The process monitor has a reactor with all that it needs."""
        spawner = _Spawner(self.reactor, lambda protocol: protocol, lambda _: ())
        verifyObject(IReactorProcess, spawner)
        verifyObject(IReactorTime, spawner)
        called: list[int] = []
        call = spawner.callLater(1, called.append, 1)
        self.assertEqual(([call], 0.0), (spawner.getDelayedCalls(), spawner.seconds()))
        self.reactor.advance(1)
        self.assertEqual([1], called)
