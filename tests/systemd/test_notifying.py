"""What systemd is told."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.announcing import Load
from vllmsim.config.schema import Configuration
from vllmsim.systemd.notifying import NotifySocket, SystemdService, announcer

SERVING = "STATUS=Serving Qwen/Qwen3-0.6B on 1 rank: 0 requests running, 0 waiting"


class Ear:
    """The socket of a service manager.

    :param address: as the environment names it.
    """

    def __init__(self, case: SynchronousTestCase, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        case.addCleanup(self._socket.close)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        """Take what was said: the lines of each message."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(1 << 16).decode().split("\n"))
            except BlockingIOError:
                return messages


class EarTestCase(SynchronousTestCase):
    """Tests with a service manager."""

    def setUp(self) -> None:
        """Have a place for sockets."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.address = str(Path(folder.name, "notify"))
        self.ear = Ear(self, self.address)

    def open(self, address: str) -> NotifySocket:
        """Find a socket."""
        out = NotifySocket(address)
        self.addCleanup(out.close)
        return out


class SocketTests(EarTestCase):
    """How it is told."""

    def test_send(self) -> None:
        """The lines of a moment are one message, to a path or to an abstract name."""
        abstract = f"@vllmsim-test-{os.getpid()}-\u00e4"
        for address, ear in ((self.address, self.ear), (abstract, Ear(self, abstract))):
            out = self.open(address)
            out.send("A=1", "B=\u00e4\udc80")
            out.send("C=2")
            self.assertEqual([["A=1", "B=\u00e4\\udc80"], ["C=2"]], ear.heard())

    def test_full(self) -> None:
        """What there is no room for is sent later, in order, and the daemon does not wait."""
        out = self.open(self.address)
        buffer = self.open(self.address)
        count = 0
        with capturedLogs() as events:
            while not buffer._unsent:
                buffer.send("X=1")
                count += 1
            out.send("A=1")
            out.send("B=1")
            self.assertEqual(count - 1, len(self.ear.heard()))
            out.send()
        self.assertEqual(([["A=1"], ["B=1"]], []), (self.ear.heard(), events))

    def test_nobody(self) -> None:
        """Where nobody listens, or where no address is, there is one warning and no more."""
        for address, why in (
            (f"{self.address}-gone", "No such file or directory"),
            (f"/{'x' * 200}", "AF_UNIX path too long"),
            ("vsock:2:1234", "it is neither a path nor an abstract name"),
            ("", "it is neither a path nor an abstract name"),
        ):
            out = self.open(address)
            with capturedLogs() as events:
                out.send("A=1")
                out.send("B=1")
            texts = [event["log_format"].format(**event) for event in events]
            self.assertEqual([f"Nobody can be told how the server is at {address}: {why}"], texts)


class ServiceTests(EarTestCase):
    """When it is told what."""

    def start(self, *, environ: dict[str, str] | None = None, getting: str = "", **options: Any) -> SystemdService:
        """Make the service, and start it."""
        self.reactor = MemoryReactorClock()
        self.load = Load(1)
        environ = {"NOTIFY_SOCKET": self.address, **(environ or {})}
        service = announcer(environ, Configuration(**options), self.reactor)
        self.addCleanup(self.stop, service)
        if getting:
            service.preparing(getting)
        top = MultiService()
        service.join(top)
        top.startService()
        return service

    def stop(self, service: SystemdService) -> None:
        """End it: no timer is left, and a second time is harmless."""
        service.end()
        service.end()
        self.assertEqual([], self.reactor.getDelayedCalls())

    def look(self) -> Load:
        """Tell what there is to do."""
        return self.load

    def heard(self, seconds: float = 0.0) -> list[list[str]]:
        """Let time pass, and take what was said."""
        self.reactor.pump([0.5] * int(seconds * 2))
        return self.ear.heard()

    def test_ready(self) -> None:
        """Nothing is said before all ranks listen, and then that, once."""
        service = self.start()
        self.assertEqual([], self.heard(60))
        service.ready(self.look)
        service.ready(self.look)
        self.assertEqual([["READY=1", SERVING]], self.heard(60))

    def test_status(self) -> None:
        """What people read is of now, and said only when it is another."""
        service = self.start(data_parallel_size=3, served_model_name=("a\nREADY=1", "b"))
        self.load = Load(3, 2, 1)
        service.ready(self.look)
        self.heard()
        self.load = Load(2, 4, 0)
        expected = "STATUS=Serving a READY=1 on 2 of 3 ranks: 4 requests running, 0 waiting"
        self.assertEqual([], self.heard(4.5))
        self.assertEqual([[expected]], self.heard(10))

    def test_preparing(self) -> None:
        """While something is got, systemd is asked to wait, again and again until that is there."""
        service = self.start(getting="the tokenizer of a/b")
        message = ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=Getting the tokenizer of a/b"]
        self.assertEqual([message] * 3, self.heard(10))
        service.ready(self.look)
        self.assertEqual([["READY=1", SERVING]], self.heard(60))

    def test_alive(self) -> None:
        """Signs of life come twice in the time that systemd believes them, from the start until all has stopped."""
        service = self.start(environ={"WATCHDOG_USEC": "4000000"})
        self.assertEqual([["WATCHDOG=1"]] * 4, self.heard(6))
        service.stopping("after SIGTERM")
        self.assertEqual([["WATCHDOG=1"]] * 2, [each for each in self.heard(4) if each[0] == "WATCHDOG=1"])
        self.end_reactor("during")
        self.assertEqual([], self.heard(60))

    def test_not_asked(self) -> None:
        """There are none where nobody wants them, or where another process was meant."""
        usecs = ("x", "", "0", "000", "-1", "\u0663", "9" * 400, "9" * 5000)
        for environ in (
            *({"WATCHDOG_USEC": each} for each in usecs),
            {"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"},
        ):
            self.start(environ=environ)
            self.assertEqual([], self.heard(60))
        self.start(environ={"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())})
        self.assertEqual([["WATCHDOG=1"]], self.heard())

    def test_hurried(self) -> None:
        """Who wants more signs of life than there can be gets a hundred a second, and the server has time to serve."""
        self.start(environ={"WATCHDOG_USEC": "1"})
        self.heard()
        self.reactor.pump([0.001] * 105)
        self.assertEqual([["WATCHDOG=1"]] * 10, self.ear.heard())

    def end_reactor(self, phase: str) -> None:
        """Have the reactor come to a phase of its end."""
        for function, words, _ in self.reactor.triggers[phase]["shutdown"]:
            function(*words)

    def test_stop(self) -> None:
        """That it stops is said first, and why; what still runs is said until the end, which may take its time."""
        service = self.start(shutdown_timeout=600.0)
        service.ready(self.look)
        self.heard()
        self.load = Load(1, 2, 1)
        service.stopping("after SIGTERM")
        self.end_reactor("before")
        status = "STATUS=Stopping after SIGTERM: 2 requests running, 1 waiting"
        self.assertEqual([["STOPPING=1", "EXTEND_TIMEOUT_USEC=625000000", status]], self.heard())
        self.load = Load(1, 0, 0)
        self.assertEqual([[status.replace("2", "0").replace("1 w", "0 w")]], self.heard(20))

    def test_stops_by_itself(self) -> None:
        """A daemon that no signal stops says so too, also before it was ready, and is not ready afterwards."""
        service = self.start()
        self.end_reactor("before")
        status = "STATUS=Stopping by itself: 0 requests running, 0 waiting"
        self.assertEqual([["STOPPING=1", "EXTEND_TIMEOUT_USEC=55000000", status]], self.heard())
        service.ready(self.look)
        self.assertEqual([], self.heard())

    def reload(self, service: SystemdService, result: Any = None) -> Deferred[bool]:
        """Have the configuration read."""
        waiting: Deferred[bool] = result or Deferred()
        self.asked = ""

        def read(who: str) -> Deferred[bool]:
            self.asked = who
            return waiting

        service.reload(read, "SIGHUP")
        self.assertEqual("SIGHUP", self.asked)
        return waiting

    def test_reload(self) -> None:
        """While the configuration is read again it is not ready, by the clock that systemd looks at."""
        service = self.start()
        service.ready(self.look)
        self.heard(10)
        waiting = self.reload(service)
        reading = ["RELOADING=1", "MONOTONIC_USEC=10000000", "STATUS=Reading the configuration again"]
        self.assertEqual([reading], self.heard(60))
        waiting.callback(True)
        self.assertEqual([["READY=1", SERVING]], self.heard(60))

    def test_reloads(self) -> None:
        """Of several it is ready after the last; people read that one was refused, until one is not."""
        service = self.start()
        service.ready(self.look)
        first, second = self.reload(service), self.reload(service)
        self.heard()
        first.callback(True)
        self.assertEqual([], self.heard())
        second.callback(False)
        refused = f"{SERVING}; the configuration was read again and refused, see the log"
        self.assertEqual([["READY=1", refused]], self.heard())
        self.reload(service).callback(True)
        self.assertEqual(["READY=1", SERVING], self.heard()[-1])
        error = fail(RuntimeError())
        self.reload(service, error)
        self.failureResultOf(error, RuntimeError)
        self.assertEqual(["READY=1", refused], self.heard()[-1])

    def test_reload_at_the_ends(self) -> None:
        """Before it is ready, and when it stops, nobody is told of that; it does not become ready by it."""
        service = self.start()
        self.reload(service).callback(True)
        self.assertEqual([], self.heard())
        service.ready(self.look)
        waiting = self.reload(service)
        service.stopping("after SIGTERM")
        self.heard()
        waiting.callback(True)
        self.reload(service).callback(True)
        self.assertEqual([], self.heard())

    def test_broken(self) -> None:
        """A status that cannot be found is logged, and signs of life go on."""
        service = self.start(environ={"WATCHDOG_USEC": "2000000"})
        broken: Callable[[], Load] = dict[str, Any]().popitem  # type: ignore[assignment]
        self.assertRaises(KeyError, service.ready, broken)
        self.reactor.advance(5)
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        self.heard()
        self.assertEqual([["WATCHDOG=1"]] * 5, self.heard(5))
