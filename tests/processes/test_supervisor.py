"""The supervisor as a service."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.harness import Exchange
from tests.processes.reactor import ProcessReactor
from tests.tls.authority import Authority
from vllmsim.announcing import Announcer, Load
from vllmsim.config.changes import LiveConfigurations
from vllmsim.config.live import LiveConfiguration
from vllmsim.listening import StartError
from vllmsim.processes.assignment import Assignment
from vllmsim.processes.authority import ConfigurationAuthority
from vllmsim.processes.supervisor import Supervisor


class SupervisorTests(SynchronousTestCase):
    """Ranks, their processes and the port."""

    announcer: Announcer | None = None

    def make(self, words: str = "") -> Supervisor:
        """Make a supervisor of two ranks and start it."""
        self.reactor = ProcessReactor()
        self.left: list[int] = []
        service = self.build("-dp", "2", *words.split())
        service.privilegedStartService()
        service.startService()
        return service

    def build(self, *words: str) -> Supervisor:
        """Make a supervisor."""
        loaded = load_words(["-dpm", *words], {})
        self.configuration = loaded.configuration
        lives = {rank: LiveConfiguration(self.configuration) for rank in self.configuration.ranks}
        self.configurations = LiveConfigurations(lives, loaded, float)
        authority = ConfigurationAuthority(self.configurations, self.reactor)
        return Supervisor(self.configuration, authority, 7, self.reactor, self.left.append, self.announcer)

    def status(self) -> int:
        """Ask how all are."""
        site: Any = self.reactor.tcpServers[0][1]
        exchange = Exchange(site)
        self.addCleanup(exchange.drop)
        return exchange.send("GET", "/health").status

    def answer(self, number: int, status: int = 200) -> None:
        """Answer a probe."""
        factory: Any = self.reactor.tcpClients[number][2]
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)

    def up(self) -> None:
        """Have both ranks listen and be well."""
        for number, process in enumerate(self.reactor.processes):
            process.listens()
            self.answer(number)

    def test_ranks(self) -> None:
        """Each rank's process is told its number, the seed and the configuration."""
        self.make("-dp 4 -dpl 2 -dpr 1")
        told = [Assignment.read(BytesIO(process.told)) for process in self.reactor.processes]
        self.assertEqual([Assignment(rank, 7, self.configuration) for rank in (1, 2)], told)

    def test_announced(self) -> None:
        """Whoever is told how the server is learns when all ranks listen, and from then on what they do."""
        told: list[Callable[[], Load]] = []
        announcer = Announcer()
        self.patch(Announcer, "ready", lambda _, load: told.append(load))
        self.patch(Announcer, "interval", 5.0)
        self.announcer = announcer
        self.make()
        first, second = self.reactor.processes
        self.assertEqual([5.0, 5.0], [Assignment.read(BytesIO(each.told)).report for each in (first, second)])
        first.listens()
        self.assertEqual([], told)
        second.listens()
        self.assertEqual(Load(2, 0, 0), told[0]())
        for process, data in ((first, b'{"load": [3, 1]}'), (second, b'{"load": [2, 0]}')):
            process.says(len(data).to_bytes(4, "big") + data, 4)
        self.assertEqual(Load(2, 5, 1), told[0]())
        self.reactor.advance(60)
        first.ends(signal=9)
        self.assertEqual(Load(1, 2, 0), told[0]())

    def test_reload(self) -> None:
        """Who asks it to read certificates again is heard by the ranks that listen."""
        service = self.make()
        self.reactor.processes[1].listens()
        service.reload("SIGHUP")
        self.assertEqual([[], ["HUP"]], [process.signals for process in self.reactor.processes])

    def test_introduced(self) -> None:
        """Ranks that let nobody in without a certificate are told to believe the supervisor, which has one."""
        folder = Path(mkdtemp())
        authority = Authority()
        certificate, key = authority.issue().write(folder)
        authorities = folder / "authorities.pem"
        authorities.write_bytes(authority.pem)
        files = f"--ssl-certfile {certificate} --ssl-keyfile {key} --ssl-ca-certs {authorities}"
        for required, begin in {"2": b"-----BEGIN CERTIFICATE-----", "1": b""}.items():
            self.make(f"{files} --ssl-cert-reqs {required}")
            told = [Assignment.read(BytesIO(process.told)).trusted for process in self.reactor.processes]
            self.assertEqual(told[0], told[1])
            self.assertEqual(begin, told[0][:27])
            self.reactor.processes[0].listens()
            options: Any = self.reactor.sslClients[0][3]
            self.assertEqual(required == "2", options.certificate is not None)

    def test_started_again(self) -> None:
        """A rank that is started again is told what its configuration is by then."""
        self.make()
        self.up()
        changing = self.configurations.change({"time-to-first-token": "1s"}, 1, "me")
        self.successResultOf(Deferred.fromCoroutine(changing))
        self.reactor.advance(60)
        for process in self.reactor.processes[:2]:
            process.ends(signal=9)
        self.reactor.advance(0)
        told = [Assignment.read(BytesIO(process.told)) for process in self.reactor.processes[2:]]
        self.assertEqual([0.0, 1.0], [each.configuration.time_to_first_token for each in told])
        self.assertEqual([{}, {}], [process.heard for process in self.reactor.processes[2:]])

    def test_port(self) -> None:
        """It listens at its own port alone, and asks ranks at theirs when they listen."""
        self.make("--host 127.0.0.1 --port 9000 --data-parallel-supervisor-port 9100")
        [(port, _, _, host)] = self.reactor.tcpServers
        self.assertEqual((9100, "127.0.0.1"), (port, host))
        self.assertEqual([], self.reactor.tcpClients)
        self.reactor.processes[1].listens()
        self.assertEqual([("127.0.0.1", 9001)], [client[:2] for client in self.reactor.tcpClients])

    def test_port_in_use(self) -> None:
        """A port of its own that is taken is an error of one line, before any rank is started."""
        self.left = []
        reactor = ProcessReactor()

        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(98, "Address already in use")

        reactor.listenTCP = refuse  # type: ignore[method-assign]
        self.reactor = reactor
        service = self.build()
        error = self.assertRaises(StartError, service.privilegedStartService)
        self.assertEqual("vllmsim: cannot listen on 'tcp:9256': Address already in use", str(error))
        self.assertEqual([], reactor.processes)

    def test_start(self) -> None:
        """The status is 503 until all ranks are well; then the log has the words that scripts wait for, once."""
        self.make()
        self.assertEqual(503, self.status())
        with capturedLogs() as events:
            self.up()
        self.assertEqual(200, self.status())
        self.assertEqual(1, len([e for e in events if e["log_format"] == "Application startup complete."]))

    def test_options(self) -> None:
        """Interval, timeout and threshold are the options'."""
        self.make(
            "--dp-supervisor-probe-interval-s 2 --dp-supervisor-probe-timeout-s 0.5"
            " --dp-supervisor-probe-failure-threshold 1"
        )
        self.up()
        self.reactor.advance(2)
        self.assertEqual((4, 200), (len(self.reactor.tcpClients), self.status()))
        self.reactor.advance(0.5)
        self.assertEqual(503, self.status())

    def test_crash(self) -> None:
        """A rank that has listened once is started again when it crashes; until it is well the status is 503."""
        self.make()
        self.up()
        with capturedLogs() as events:
            self.reactor.processes[1].ends(signal=9)
        [event] = [event for event in events if event["log_level"] is LogLevel.warn]
        self.assertEqual("Rank 1 ended by SIGKILL, and is started again.", event["log_format"].format(**event))
        self.assertEqual(503, self.status())
        self.reactor.advance(1)
        self.reactor.processes[2].listens()
        self.answer(2)
        self.assertEqual((200, [], 0), (self.status(), self.left, self.reactor.stopped))

    def test_fails_later(self) -> None:
        """It is started again too when it cannot listen then."""
        self.make()
        self.up()
        for delay in (1, 2, 4):
            self.reactor.processes[-1].ends(1)
            self.reactor.advance(delay)
        self.assertEqual((5, []), (len(self.reactor.processes), self.left))

    def test_fails_at_once(self) -> None:
        """A rank that fails before it has ever listened stops the server, with status 1."""
        self.make()
        with capturedLogs() as events:
            self.reactor.processes[0].says(b"vllmsim: cannot listen\n", 2)
            self.reactor.processes[0].ends(1)
            self.reactor.processes[1].ends(1)
        [event] = [event for event in events if event["log_level"] is LogLevel.critical]
        expected = "Rank 0 ended with status 1 before it could listen. The server stops."
        self.assertEqual(expected, event["log_format"].format(**event))
        self.assertEqual(([1], 1), (self.left, self.reactor.stopped))

    def test_fails_while_stopping(self) -> None:
        """That the server stops already then is no error."""
        self.make()

        def refuse() -> None:
            raise ReactorNotRunning

        self.reactor.stop = refuse  # type: ignore[method-assign]
        self.reactor.processes[0].ends(1)
        self.assertEqual([1], self.left)

    def test_ends_at_once(self) -> None:
        """One that somebody has asked to end before that is started again."""
        self.make()
        self.reactor.processes[0].ends()
        self.reactor.advance(1)
        self.assertEqual((3, []), (len(self.reactor.processes), self.left))

    def test_stop(self) -> None:
        """When it stops the status is 503 until the last rank has ended; then its port is closed."""
        service = self.make("--shutdown-timeout 10")
        self.up()
        stopped = service.stopService()
        self.assertEqual(503, self.status())
        self.assertEqual([["TERM"], ["TERM"]], [process.signals for process in self.reactor.processes])
        self.reactor.processes[0].ends()
        self.reactor.advance(24.9)
        self.assertNoResult(stopped)
        self.assertEqual(["TERM"], self.reactor.processes[1].signals)
        self.reactor.advance(0.1)
        self.assertEqual(["TERM", "KILL"], self.reactor.processes[1].signals)
        self.reactor.processes[1].ends(signal=9)
        self.successResultOf(stopped)
        self.assertEqual([], self.left)
