"""A connection that is made again whenever it is lost."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.kvcache.stores import RecordingStoreMetrics, ScriptedServer
from vllmsim.config.backends import Backend
from vllmsim.interfaces import IBlockStoreMetrics
from vllmsim.kvcache.outside.redislink import RedisLink, Trouble


class LinkTestCase(SynchronousTestCase):
    """Tests with a server in memory."""

    def setUp(self) -> None:
        """Have a server, and listen to the log."""
        self.clock, self.server, self.metrics = Clock(), ScriptedServer(), RecordingStoreMetrics()
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.losses = 0

    def make(self, backend: Backend | None = None) -> RedisLink:
        """Make a connection's keeper, which leaves nothing behind."""
        backend = backend or Backend(host="h")
        link = RedisLink(backend, self.server, self.clock, self.metrics, lambda: 0.0)
        self.addCleanup(self.stop, link)
        return link

    def begin(self, backend: Backend | None = None) -> RedisLink:
        """Make one and have it begin."""
        link = self.make(backend)
        link.start(("PROBE",), 0.05, self._lose)
        return link

    def _lose(self) -> None:
        self.losses += 1

    def stop(self, link: RedisLink) -> None:
        """Stop it."""
        stopped = Deferred.fromCoroutine(link.stop())
        for connection in self.server.connections:
            connection.settle()
        self.successResultOf(stopped)
        self.assertEqual([], self.clock.getDelayedCalls())

    def lines(self) -> list[str]:
        """Read what was logged."""
        return [str(event["log_format"]).format(**event) for event in self.log]


class LinkTests(LinkTestCase):
    """Connections come and go."""

    def up(self, backend: Backend | None = None) -> RedisLink:
        """Have a connection."""
        link = self.begin(backend)
        self.server.last.say(b":0")
        self.assertTrue(link.up)
        return link

    def trouble(self, asked: "Deferred[Any]") -> tuple[str, str]:
        """Tell what a command has failed with."""
        trouble = self.failureResultOf(asked, Trouble).value
        return trouble.reason, str(trouble)

    def test_fake(self) -> None:
        """The stand-in hears what the real one does."""
        verifyObject(IBlockStoreMetrics, self.metrics)

    def test_begin(self) -> None:
        """There is a connection when the first command is answered, and the log says so without a password."""
        link = self.begin(Backend(host="h", password="geheim"))
        self.assertEqual([[b"AUTH", b"geheim"]], self.server.last.commands())
        self.server.last.say(b"+OK")
        self.assertEqual([[b"PROBE"]], self.server.last.commands())
        self.assertFalse(link.up)
        self.server.last.say(b":0")
        self.assertTrue(link.up)
        self.assertEqual(["Sharing KV blocks through redis://h:6379/0."], self.lines())
        self.assertEqual([("up",)], self.metrics.heard)

    def test_user_and_database(self) -> None:
        """A user is named before the password, and a database chosen behind it."""
        self.begin(Backend(host="h", user="u", password="p", database=3))
        self.assertEqual([[b"AUTH", b"u", b"p"]], self.server.last.commands())
        self.server.last.say(b"+OK")
        self.assertEqual([[b"SELECT", b"3"]], self.server.last.commands())
        self.server.last.say(b"+OK")
        self.assertEqual([[b"PROBE"]], self.server.last.commands())

    def test_ask(self) -> None:
        """Answers come to who asked, in order."""
        link = self.up()
        first, second = (link.ask("X", n, b"\0\xff", timeout=1) for n in (1, 2))
        self.assertEqual([[b"X", b"1", b"\0\xff"], [b"X", b"2", b"\0\xff"]], self.server.last.commands()[1:])
        self.server.last.say(b":7", b":8")
        self.assertEqual([7, 8], [self.successResultOf(each) for each in (first, second)])

    def test_not_there(self) -> None:
        """Without a connection nothing can be asked."""
        self.server.manner = "refuses"
        link = self.begin()
        self.assertEqual(("connection", "not connected"), self.trouble(link.ask("X", timeout=1)))

    def test_refused(self) -> None:
        """A server that is not there is tried again and again, with longer pauses; the log says it once."""
        self.server.manner = "refuses"
        self.begin()
        seen = [self.server.tries]
        for pause in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
            self.clock.advance(pause - 0.01)
            self.assertEqual(seen[-1], self.server.tries)
            self.clock.advance(0.011)
            seen.append(self.server.tries)
        self.assertEqual([*range(1, 10)], seen)
        (line,) = self.lines()
        self.assertIn("Sharing no KV blocks until redis://h:6379/0 can be used", line)
        self.assertIn("goes on with its own cache: An error occurred while connecting: nobody listens", line)
        self.assertEqual([("failed", "connection")] * 9, self.metrics.heard)

    def test_no_connection_in_time(self) -> None:
        """A server that does not even refuse is left after five seconds."""
        self.server.manner = "hangs"
        self.begin()
        self.clock.advance(5)
        self.assertIn("no connection in 5 s", self.lines()[0])
        self.clock.advance(0.1)
        self.assertEqual(2, self.server.tries)

    def test_lost(self) -> None:
        """When the server goes, who waits is told at once; the log has a line then, and one when it is back."""
        link = self.up()
        asked = link.ask("X", timeout=1)
        self.server.last.close()
        self.assertEqual(("connection", "Lost connection"), self.trouble(asked))
        self.assertFalse(link.up)
        self.assertEqual(1, self.losses)
        self.clock.advance(0.1)
        self.server.last.say(b":0")
        self.assertTrue(link.up)
        self.assertEqual(["Sharing KV", "Sharing no", "Sharing KV"], [line[:10] for line in self.lines()])
        self.assertEqual([("up",), ("down",), ("failed", "connection"), ("up",)], self.metrics.heard)

    def test_late(self) -> None:
        """A command that is not answered in time fails then; ending the connection fails the others at once."""
        link = self.up()
        first, second = link.ask("X", timeout=0.05), link.ask("Y", timeout=0.05)
        self.clock.advance(0.04)
        self.assertNoResult(first)
        third = link.ask("Z", timeout=0.05)
        self.clock.advance(0.011)
        for each in (first, second):
            self.assertEqual(("timeout", "no answer in 0.05 s"), self.trouble(each))
        self.assertNoResult(third)
        link.end(Trouble("timeout", "no answer in 0.05 s"))
        self.assertFalse(link.up)
        self.server.last.settle()
        self.trouble(third)
        self.assertIn("own cache: no answer in 0.05 s", self.lines()[-1])

    def test_busy_ourselves(self) -> None:
        """An answer that lies there to be read, since this server itself was busy, is not late."""
        link = self.up()
        asked = link.ask("X", timeout=0.05)
        last = self.server.last
        # It is how a reactor goes on after a long turn: the timers that are due, then what can be read, then timers.
        self.clock.rightNow += 1.0
        timer = self.clock.calls.pop(0)
        timer.func(*timer.args, **timer.kw)
        last.say(b":7")
        self.assertEqual(7, self.successResultOf(asked))

    def test_late_answer(self) -> None:
        """The answer to a command that nobody waits for any more is not taken for that of the next."""
        link = self.up()
        first = link.ask("X", timeout=0.05)
        self.clock.advance(0.05)
        self.trouble(first)
        second = link.ask("Y", timeout=0.05)
        self.server.last.say(b":1")
        self.assertNoResult(second)
        self.server.last.say(b":2")
        self.assertEqual(2, self.successResultOf(second))

    def test_heartbeat(self) -> None:
        """Every half a minute it is looked whether the other side is there; one that is gone without a word is left."""
        link = self.up()
        self.server.last.commands()
        for _ in range(3):
            self.clock.advance(30)
            self.assertEqual([[b"PING"]], self.server.last.commands())
            self.server.last.say(b"+PONG")
        self.clock.advance(30)
        self.clock.advance(5)
        self.assertFalse(link.up)
        self.assertIn("no answer in 5 s", self.lines()[-1])
        self.server.last.settle()

    def test_cancelled(self) -> None:
        """Who asks may give up."""
        link = self.up()
        asked = link.ask("X", timeout=0.05)
        calls = len(self.clock.getDelayedCalls())
        asked.cancel()
        self.failureResultOf(asked)
        self.assertEqual(calls - 1, len(self.clock.getDelayedCalls()))

    def test_slow_from_the_start(self) -> None:
        """A server that answers too late is not used, however often it does; the log says it once."""
        link = self.begin()
        for _ in range(3):
            self.clock.advance(0.05)
            self.server.last.settle()
            self.clock.advance(5)
        self.assertFalse(link.up)
        self.assertEqual(1, len(self.lines()))
        self.assertIn("no answer in 0.05 s", self.lines()[0])

    def test_wrong_password(self) -> None:
        """A server that does not want us is asked again later; the log tells what it says, once."""
        link = self.begin(Backend(host="h", password="geheim"))
        for _ in range(3):
            self.server.last.say(b"-WRONGPASS invalid username-password pair or user is disabled.")
            self.server.last.settle()
            self.clock.advance(5)
        (line,) = self.lines()
        self.assertIn("WRONGPASS invalid", line)
        self.assertNotIn("geheim", line)
        self.server.last.say(b"+OK", b":0")
        self.assertTrue(link.up)
        self.assertEqual([("failed", "refused")] * 3 + [("up",)], self.metrics.heard)

    def test_refusal_after_loss(self) -> None:
        """A server that is back and does not want us any more is news; one that is still starting is not."""
        self.up()
        self.server.last.close()
        for answer in (b"-LOADING Redis is loading the dataset in memory", b"-NOAUTH Authentication required."):
            for _ in range(2):
                self.clock.advance(5)
                self.server.last.say(answer)
                self.server.last.settle()
        self.assertEqual(3, len(self.lines()))
        self.assertIn("Connection was closed", self.lines()[1])
        self.assertIn("NOAUTH", self.lines()[2])

    def test_refused_on_arrival(self) -> None:
        """A server may refuse before it is asked anything."""
        link = self.make()
        link.start(("PROBE",), 0.05, self._lose)
        self.server.last.say(b"-ERR max number of clients reached")
        self.assertIn("max number of clients reached", self.lines()[0])
        self.server.last.settle()

    def test_no_redis(self) -> None:
        """Something else at that address does no harm."""
        for answer in (b"HTTP/1.1 400 Bad Request", b"\xff\xfe", b"$x", b"*x", b":x", b"*-5", b"$-7"):
            link = self.make()
            link.start(("PROBE",), 0.05, self._lose)
            self.server.last.say(answer)
            self.clock.advance(0.05)
            self.assertFalse(link.up, answer)
            self.stop(link)
        self.assertEqual([], self.flushLoggedErrors())

    def test_steady(self) -> None:
        """After a good while the first pause is the shortest again, and not before."""
        self.server.manner = "refuses"
        link = self.begin()
        self.clock.pump([0.1, 0.2, 0.4])
        self.server.manner = "takes"
        self.clock.advance(0.8)
        self.server.last.say(b":0")
        self.clock.advance(1)
        self.server.last.close()
        self.clock.advance(1.5)
        self.assertEqual(1, len(self.server.connections))
        self.clock.advance(0.1)
        self.server.last.say(b":0")
        self.clock.advance(31)
        self.server.last.close()
        self.clock.advance(0.1)
        self.server.last.say(b":0")
        self.assertTrue(link.up)

    def test_stop_while_connecting(self) -> None:
        """It may be stopped at any time: while it connects, before the first answer, in a pause, and never begun."""
        self.stop(self.make())
        self.server.manner = "hangs"
        self.stop(self.begin())
        self.server.manner = "refuses"
        self.stop(self.begin())
        self.server.manner = "takes"
        self.stop(self.begin())
        self.stop(self.up())
        self.clock.advance(10)
        self.assertEqual(4, self.server.tries)
