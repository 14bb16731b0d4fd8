"""Starting and stopping ranks."""

import socket
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.harness import Exchange
from tests.tls.client import Client, believing
from vllmsim.assembly import joining
from vllmsim.config.changes import LiveConfigurations
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.loading import Loaded
from vllmsim.config.schema import Configuration
from vllmsim.service import LogError, RankService, RankServices, rank_services


def configured(words: str = "") -> Configuration:
    """Read a command line."""
    return load_words(words.split(), {}).configuration


class Reactor(MemoryReactorClock):
    """A reactor in memory, with a thread pool that is never used."""

    def getThreadPool(self) -> ThreadPool:
        """Return a pool."""
        return ThreadPool(0, 1)

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        """Call at once."""
        function(*arguments)


class ServiceTests(SynchronousTestCase):
    """The life of the services."""

    def setUp(self) -> None:
        """Have a reactor."""
        self.reactor = Reactor()

    def services(self, words: str = "") -> list[RankService]:
        """Make the services and start them."""
        services = self.make(words)
        services.privilegedStartService()
        services.startService()
        self.reactor.advance(0)
        return list(services)

    def make(self, words: str = "", ranks: Collection[int] | None = None) -> RankServices:
        """Make the services of some ranks, or of all."""
        configuration = configured(words)
        lives = {number: LiveConfiguration(configuration) for number in ranks or configuration.ranks}
        return rank_services(lives, LiveConfigurations(lives, Loaded(configuration), float), 1, self.reactor)

    def exchange(self, number: int = 0) -> Exchange:
        """Connect to a listening rank."""
        site: Any = self.reactor.tcpServers[number][1]
        return Exchange(site)

    def chat(self, number: int = 0, rank: int | None = None) -> Exchange:
        """Ask a listening rank, or another through it."""
        exchange, named = self.exchange(number), {} if rank is None else {"X_data_parallel_rank": str(rank)}
        body = b'{"prompt":"a","max_tokens":3}'
        exchange.send("POST", "/v1/completions", body, Content_Type="application/json", **named)
        self.reactor.advance(0)
        return exchange

    def stop(self, service: RankService) -> Deferred[None]:
        """Stop a rank, and let in whoever has come already."""
        stopped = service.stopService()
        self.reactor.advance(0)
        return stopped

    def test_ranks(self) -> None:
        """Each rank has a port and metrics of its own."""
        self.services("--data-parallel-size 3 --port 9000")
        self.assertEqual([9000, 9001, 9002], [server[0] for server in self.reactor.tcpServers])
        self.assertEqual(200, self.chat(1).status)
        for number, tokens in enumerate((b"0.0", b"1.0", b"0.0")):
            body = self.exchange(number).send("GET", "/metrics").body
            self.assertIn(b'prompt_tokens_total{engine="%d",model_name="Qwen/Qwen3-0.6B"} %s' % (number, tokens), body)

    def test_one_rank_of_many(self) -> None:
        """A server that is one rank of many has that rank's number and the first port."""
        self.services("--data-parallel-size 3 --data-parallel-rank 2 --port 9000")
        self.assertEqual([9000], [server[0] for server in self.reactor.tcpServers])
        self.assertIn(b'engine="2"', self.exchange().send("GET", "/metrics").body)

    def test_ranks_of_the_machine(self) -> None:
        """The ranks of one machine of several have their own numbers, and its ports from the first."""
        self.services("--data-parallel-size 16 -dpl 2 -dpr 8 --port 9000")
        self.assertEqual([9000, 9001], [server[0] for server in self.reactor.tcpServers])
        self.assertIn(b'engine="9"', self.exchange(1).send("GET", "/metrics").body)

    def test_ranks_of_the_process(self) -> None:
        """A process that has some of the ranks gives them the ports and numbers that they have in one process."""
        [service] = self.make("--data-parallel-size 3 --port 9000", [1])
        service.privilegedStartService()
        self.assertEqual([9001], [server[0] for server in self.reactor.tcpServers])
        self.assertIn(b'engine="1"', self.exchange().send("GET", "/metrics").body)

    def test_tls(self) -> None:
        """Ranks and administrators have one certificate, which is read again for all of them together."""
        services = self.make("--self-signed-certs --data-parallel-size 2 --port 9000 --admin-endpoint 9100")
        services.privilegedStartService()
        services.startService()
        self.assertEqual([9000, 9100, 9001, 9101], [server[0] for server in self.reactor.tcpServers])
        clients = [Client(server[1], believing()) for server in self.reactor.tcpServers]
        self.assertEqual([True] * 4, [client.shake() for client in clients])
        self.assertEqual(1, len({client.serial for client in clients}))
        clients[0].send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"200 OK", clients[0].receive())
        services.reload("SIGHUP")
        self.make().reload("SIGHUP")

    def test_one_port(self) -> None:
        """Ranks that the server balances among have one port, and all serve."""
        self.services("--data-parallel-size 3 --data-parallel-internal-lb --port 9000")
        self.assertEqual([9000], [server[0] for server in self.reactor.tcpServers])
        self.assertEqual([200] * 3, [self.chat().status for _ in range(3)])
        page = self.exchange().send("GET", "/metrics").body
        for number in range(3):
            self.assertIn(b'vllm:prompt_tokens_total{engine="%d",model_name="Qwen/Qwen3-0.6B"} 1.0' % number, page)

    def test_one_port_for_administrators(self) -> None:
        """Those ranks have one port for administrators too, who reach all."""
        services = self.services("-dp 2 -dph --port 9000 --admin-endpoint 9100")
        self.assertEqual([9000, 9100], [server[0] for server in self.reactor.tcpServers])
        exchange = self.exchange(1).send("GET", "/admin/config?rank=1")
        self.assertEqual(1, exchange.json()["data-parallel-rank"])
        exchange.drop()
        for stopped in [self.stop(each) for each in services]:
            self.successResultOf(stopped)

    def test_told(self) -> None:
        """The log says which ranks there are, and how to have them as vLLM would; of one rank it says nothing."""
        told: list[str] = []

        def observe(event: LogEvent) -> None:
            told.append(formatEvent(event))

        observer = cast("ILogObserver", observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for words in ("-dp 2", "-dp 6 -dpl 3 -dpr 3 -dph", "-dp 2 -dpn 1"):
            self.services(words)
        self.assertEqual(
            [
                "Ranks 0 to 1 have a port each; with data-parallel-internal-lb they have one, as vLLM's have.",
                "Ranks 3 to 5 have one port, and each request goes to the rank with the least to do.",
            ],
            [line for line in told if line.startswith("Rank")],
        )

    def test_alone(self) -> None:
        """A rank that is alone has its port for itself: nothing comes between them."""
        self.patch(joining, "RankGroup", None)
        for words in ("", "-dp 2 -dpn 1", "-dp 4 -dpl 1 -dph"):
            self.services(words)
        self.assertEqual(200, self.chat(2).status)

    def test_stop_with_requests_elsewhere(self) -> None:
        """A port is closed when what came there has ended, also where another rank served it."""
        for words in ("-dp 2", "-dp 2 -dph"):
            self.reactor = Reactor()
            services = self.services(f"{words} --time-to-first-token 20s")
            exchange = self.chat(rank=1)
            stopped = [each.stopService() for each in services]
            self.reactor.pump([1] * 19)
            self.assertEqual((0, False), (exchange.status, exchange.transport.disconnected))
            self.reactor.advance(1)
            self.assertEqual((200, True), (exchange.status, exchange.complete))
            exchange.drop()
            for each in stopped:
                self.successResultOf(each)
            self.assertEqual([], self.reactor.getDelayedCalls())

    def test_stop(self) -> None:
        """A rank that is idle stops at once and leaves no timer."""
        [service] = self.services()
        exchange = self.chat()
        stopped = self.stop(service)
        self.assertNoResult(stopped)
        self.assertTrue(exchange.transport.disconnecting)
        exchange.drop()
        self.successResultOf(stopped)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_stop_in_front_of_a_queue(self) -> None:
        """Whoever the system has let in when a rank stops, and sends what it wants, is told that it stops."""
        [service] = self.services()
        stopped = service.stopService()
        late = [self.chat() for _ in range(3)]
        self.reactor.advance(0)
        for exchange in late:
            self.assertEqual((503, True), (exchange.status, exchange.transport.disconnecting))
            exchange.drop()
        self.successResultOf(stopped)

    def test_stop_while_clients_never_cease_to_come(self) -> None:
        """A rank stops also when there are new connections in every moment."""
        [service] = self.services()
        stopped, came = service.stopService(), [self.chat()]
        while not came[-1].transport.disconnecting:
            came.append(self.chat())
        self.assertLess(len(came), 200)
        for exchange in came:
            exchange.drop()
        self.reactor.advance(0)
        self.successResultOf(stopped)

    def test_stop_with_requests(self) -> None:
        """A rank finishes what it has, and closes its connections then."""
        [service] = self.services("--time-to-first-token 1s")
        exchange, idle = self.chat(), self.exchange()
        stopped = self.stop(service)
        self.assertNoResult(stopped)
        self.assertEqual((True, False), (idle.transport.disconnecting, exchange.transport.disconnecting))
        idle.drop()
        self.reactor.advance(1)
        self.assertEqual((200, True), (exchange.status, exchange.complete))
        self.assertTrue(exchange.transport.disconnecting)
        exchange.drop()
        self.successResultOf(stopped)

    def test_stop_with_readers(self) -> None:
        """Who waits for requests to end is answered when the server is to stop."""
        [service] = self.services()
        exchange = self.exchange().send("GET", "/admin/requests?wait_for=5&timeout=60")
        self.assertEqual(0, exchange.status)
        stopped = self.stop(service)
        self.assertEqual((200, True), (exchange.status, exchange.transport.disconnecting))
        exchange.drop()
        self.successResultOf(stopped)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_no_request_log(self) -> None:
        """A request log that cannot be written stops the start, and the message says why."""
        services = self.make(f"--request-log {self.mktemp()}/nowhere/log")
        services.privilegedStartService()
        error = self.assertRaises(LogError, services.startService)
        self.assertRegex(str(error), r"^vllmsim: cannot write to the request log '.*': No such file or directory$")

    def test_stop_while_it_stands_still(self) -> None:
        """A rank that is paused or asleep goes on, so that what it has kept comes to its end."""
        for path in ("/pause?mode=keep", "/sleep?mode=keep"):
            self.reactor = Reactor()
            [service] = self.services("--time-to-first-token 1s --enable-sleep-mode")
            exchange, operator = self.chat(), self.exchange()
            self.assertEqual(200, operator.send("POST", path, b"").status)
            operator.drop()
            self.reactor.advance(5)
            self.assertEqual(0, exchange.status)
            stopped = self.stop(service)
            self.reactor.advance(1)
            self.assertEqual((200, True), (exchange.status, exchange.complete))
            exchange.drop()
            self.successResultOf(stopped)

    def test_stop_that_takes_too_long(self) -> None:
        """A rank that cannot finish in time tells its clients, and cuts off who does not read."""
        [service] = self.services("--time-to-first-token 1h --shutdown-timeout 2")
        exchange = self.chat()
        stopped = self.stop(service)
        self.reactor.advance(2)
        self.assertEqual(503, exchange.status)
        self.assertNoResult(stopped)
        self.reactor.advance(5)
        self.assertTrue(exchange.transport.disconnected)
        self.successResultOf(stopped)
        exchange.drop()
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_stop_without_an_end(self) -> None:
        """What a rank has used, and what does not end, is left after a while, and the log names it."""
        [service] = self.services(f"--request-log {self.mktemp()}")
        exchange = self.chat()
        said: list[str] = []
        observer = cast("ILogObserver", lambda event: said.append(formatEvent(event)))
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        stopped = self.stop(service)
        exchange.drop()
        self.reactor.pump([1] * 4)
        self.assertNoResult(stopped)
        self.reactor.advance(1)
        self.successResultOf(stopped)
        self.assertIn("The request log has not ended after 5.0 s, and is left.", said)

    def test_grpc_port(self) -> None:
        """There may be one more port for each rank, which leads where the first does."""
        self.services("--data-parallel-size 2 --port 9000 --grpc-port 9100")
        self.assertEqual([9000, 9100, 9001, 9101], [server[0] for server in self.reactor.tcpServers])
        pages = [self.exchange(number).send("GET", "/metrics").body for number in range(4)]
        self.assertEqual([0, 0, 1, 1], [int(b'engine="1"' in page) for page in pages])

    def test_admin_endpoint(self) -> None:
        """Routes for administrators may be at ports of their own, and then nowhere else; the other way round too."""
        services = self.services("--data-parallel-size 2 --port 9000 --admin-endpoint 9100")
        self.assertEqual([9000, 9100, 9001, 9101], [server[0] for server in self.reactor.tcpServers])
        paths = ("/admin/config", "/v1/models", "/openapi.json", "/docs")
        statuses = [[self.exchange(n).send("GET", path).status for path in paths] for n in range(2)]
        self.assertEqual([[404, 200], [200, 404]], [each[:2] for each in statuses])
        self.assertEqual([200, 200], [each[3] for each in statuses])
        changing = self.exchange(3).send("POST", "/admin/config?rank=0", b'{"inter-token-latency": 7}')
        self.assertEqual("7ms", changing.json()["inter-token-latency"])
        shown = [self.exchange(n).send("GET", "/admin/config").json()["inter-token-latency"] for n in (1, 3)]
        self.assertEqual(["7ms", "0s"], shown)
        self.assertEqual(2, len(services))

    def test_admin_endpoint_stops(self) -> None:
        """Administrators' connections end with the others."""
        [service] = self.services("--port 9000 --admin-endpoint 9100")
        idle = self.exchange(1)
        stopped = self.stop(service)
        self.assertTrue(idle.transport.disconnecting)
        self.assertNoResult(stopped)
        idle.drop()
        self.successResultOf(stopped)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_taken_endpoint(self) -> None:
        """An endpoint for KV events that somebody has stops the start, with one line that says so."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            # One with a star would be bound beside it.
            endpoint = f"tcp://[::ffff:127.0.0.1]:{other.getsockname()[1]}"
            error = self.assertRaises(SystemExit, self.services, f"--enable-kvcache --zmq-endpoint {endpoint}")
        self.assertEqual(f"vllmsim: cannot listen on {endpoint!r}: Address already in use", str(error))

    def test_no_dataset(self) -> None:
        """A dataset that cannot be used stops the start, with one line that says which and why."""
        error = self.assertRaises(SystemExit, self.services, "--dataset-path /none/such")
        expected = "vllmsim: dataset initialization error: database file does not exist: /none/such"
        self.assertEqual(expected, str(error))

    def ask(self, path: str, number: int = 0) -> Exchange:
        """Ask a listening rank for something, and hang up."""
        exchange = self.exchange(number).send("GET", path)
        exchange.drop()
        return exchange

    def test_scenario(self) -> None:
        """A scenario begins when all ranks serve, and ends, with all as it was, before they stop."""
        path = Path(self.mktemp())
        path.write_text("{name: x, steps: [{at: 0s, ready: false}, {at: 9s, ready: true}]}", "utf-8")
        services = self.make(f"--data-parallel-size 2 --scenario {path}")
        services.privilegedStartService()
        self.assertEqual([200, 200], [self.ask("/ready", number).status for number in range(2)])
        services.startService()
        self.reactor.advance(0)
        self.assertEqual([503, 503], [self.ask("/ready", number).status for number in range(2)])
        told = self.ask("/admin/scenario").json()
        self.assertEqual((True, "x", [0, 1]), (told["running"], told["scenario"]["name"], told["scenario"]["ranks"]))
        stopped = services.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual([], [call for call in self.reactor.getDelayedCalls() if call.active()])

    def test_scenario_elsewhere(self) -> None:
        """In a process that has not the rank that a scenario is for, nothing is played."""
        path = Path(self.mktemp())
        path.write_text("{name: x, rank: 1, steps: [{at: 0s, ready: false}]}", "utf-8")
        for number, playing in ((0, None), (1, "x")):
            self.reactor = Reactor()
            services = self.make(f"--data-parallel-size 2 --scenario {path}", [number])
            services.privilegedStartService()
            services.startService()
            self.reactor.advance(0)
            told = self.ask("/admin/scenario").json()["scenario"]
            self.assertEqual(playing, told and told["name"])
            stopped = services.stopService()
            self.reactor.advance(0)
            self.successResultOf(stopped)
