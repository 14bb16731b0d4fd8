"""Starting and stopping ranks."""

from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.harness import Exchange
from vllmsim.config.schema import Configuration
from vllmsim.service import RankService, StartError, rank_services


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
        services = rank_services(configured(words), 1, self.reactor)
        for service in services:
            service.privilegedStartService()
            service.startService()
        self.reactor.advance(0)
        return services

    def exchange(self, number: int = 0) -> Exchange:
        """Connect to a listening rank."""
        site: Any = self.reactor.tcpServers[number][1]
        return Exchange(site)

    def chat(self, number: int = 0) -> Exchange:
        """Ask a listening rank."""
        exchange = self.exchange(number)
        exchange.send("POST", "/v1/completions", b'{"prompt":"a","max_tokens":3}', Content_Type="application/json")
        self.reactor.advance(0)
        return exchange

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

    def test_stop(self) -> None:
        """A rank that is idle stops at once and leaves no timer."""
        [service] = self.services()
        exchange = self.chat()
        stopped = service.stopService()
        self.assertNoResult(stopped)
        self.assertTrue(exchange.transport.disconnecting)
        exchange.drop()
        self.successResultOf(stopped)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_stop_with_requests(self) -> None:
        """A rank finishes what it has, and closes its connections then."""
        [service] = self.services("--time-to-first-token 1s")
        exchange, idle = self.chat(), self.exchange()
        stopped = service.stopService()
        self.assertNoResult(stopped)
        self.assertEqual((True, False), (idle.transport.disconnecting, exchange.transport.disconnecting))
        idle.drop()
        self.reactor.advance(1)
        self.assertEqual((200, True), (exchange.status, exchange.complete))
        self.assertTrue(exchange.transport.disconnecting)
        exchange.drop()
        self.successResultOf(stopped)

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
            stopped = service.stopService()
            self.reactor.advance(1)
            self.assertEqual((200, True), (exchange.status, exchange.complete))
            exchange.drop()
            self.successResultOf(stopped)

    def test_stop_that_takes_too_long(self) -> None:
        """A rank that cannot finish in time tells its clients, and cuts off who does not read."""
        [service] = self.services("--time-to-first-token 1h --shutdown-timeout 2")
        exchange = self.chat()
        stopped = service.stopService()
        self.reactor.advance(2)
        self.assertEqual(503, exchange.status)
        self.assertNoResult(stopped)
        self.reactor.advance(5)
        self.assertTrue(exchange.transport.disconnected)
        self.successResultOf(stopped)
        exchange.drop()
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_cannot_listen(self) -> None:
        """A port that is taken is an error of one line."""

        def refuse(*_: Any, **__: Any) -> None:
            raise CannotListenError("", 8000, OSError(98, "Address already in use"))

        self.reactor.listenTCP = refuse  # type: ignore[method-assign]
        error = self.assertRaises(StartError, self.services)
        self.assertEqual("vllmsim: cannot listen on 'tcp:8000': Address already in use", str(error))

    def test_no_folder(self) -> None:
        """A unix socket in a folder that is not there is an error of one line."""

        def refuse(*_: Any, **__: Any) -> None:
            raise FileNotFoundError(2, "No such file or directory", "/no/such/x.lock")

        self.reactor.listenUNIX = refuse  # type: ignore[method-assign]
        error = self.assertRaises(StartError, self.services, "--uds /no/such/x")
        self.assertEqual("vllmsim: cannot listen on 'unix:/no/such/x': No such file or directory", str(error))

    def test_no_endpoint(self) -> None:
        """An endpoint that is none is an error of one line."""
        error = self.assertRaises(StartError, self.services, "--listen carrier-pigeon:8000")
        self.assertIn("cannot listen on 'carrier-pigeon:8000'", str(error))
