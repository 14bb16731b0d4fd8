"""Blocks in a Redis server: what is sent, and what becomes of answers. Redis itself is tried in tests/integration."""

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from tests.kvcache.outside.test_redislink import LinkTestCase
from vllmsim.interfaces import IBlockStore
from vllmsim.kvcache.outside.redisstore import RedisStore, key_prefix

PREFIX = b"ns:"


def digests(count: int, first: int = 0) -> list[bytes]:
    """Make some hashes."""
    return [number.to_bytes(16, "big") for number in range(first, first + count)]


class StoreTestCase(LinkTestCase):
    """Tests of a store that is connected."""

    def setUp(self) -> None:
        """Connect."""
        super().setUp()
        self.store = RedisStore(self.make(), PREFIX, 90.4, 0.05, self.clock, self.metrics)
        self.addCleanup(self._stop_store)
        self.store.start()
        self.sent()
        self.say(0)
        self.metrics.heard.clear()

    def _stop_store(self) -> None:
        stopped = self.store.stop()
        self.server.last.settle()
        self.successResultOf(stopped)

    def say(self, *numbers: int) -> None:
        """Answer commands with numbers."""
        self.server.last.say(*(b":%d" % number for number in numbers))

    def sent(self) -> list[tuple[str, list[bytes]]]:
        """Tell what was asked since the last time: by which command of Redis, and about which hashes."""
        asked = []
        commands = [each for each in self.server.last.commands() if each != [b"PING"]]
        for word, script, keys, prefix, lifetime, size, blob in commands:
            self.assertEqual((b"EVAL", b"0", PREFIX, b"90"), (word, keys, prefix, lifetime))
            name = "lookup" if b"EXPIRE" in script else "store"
            width = int(size)
            asked.append((name, [blob[at : at + width] for at in range(0, len(blob), width)]))
        return asked

    def look(self, hashes: list[bytes]) -> "Deferred[int | None]":
        """Look blocks up."""
        return Deferred.fromCoroutine(self.store.lookup(hashes))


class LookupTests(StoreTestCase):
    """Blocks are looked up."""

    def test_provides(self) -> None:
        """It is a store."""
        verifyObject(IBlockStore, self.store)

    def test_found(self) -> None:
        """One question, one number."""
        looked = self.look(digests(3))
        self.assertEqual([("lookup", digests(3))], self.sent())
        self.clock.advance(0.002)
        self.say(2)
        self.assertEqual(2, self.successResultOf(looked))
        self.assertEqual([("answered", 0.002)], self.metrics.heard)

    def test_long(self) -> None:
        """A long prompt is asked about in pieces that go out together; what counts is the first that is not there."""
        looked = self.look(digests(600))
        self.assertEqual([256, 256, 88], [len(each) for _, each in self.sent()])
        self.say(256, 40)
        self.assertEqual(296, self.successResultOf(looked))
        # The answer to the third is not taken for that of the next question.
        again = self.look(digests(1))
        self.say(88)
        self.assertNoResult(again)
        self.say(1)
        self.assertEqual(1, self.successResultOf(again))

    def test_very_long(self) -> None:
        """Of a very long prompt the next part is asked about when the one before is all there."""
        looked = self.look(digests(5000))
        self.assertEqual(digests(2048), [digest for _, each in self.sent() for digest in each])
        self.say(*[256] * 8)
        self.assertEqual(digests(2048, 2048), [digest for _, each in self.sent() for digest in each])
        self.say(*[256] * 7, 255)
        self.assertEqual(4095, self.successResultOf(looked))
        self.assertEqual([], self.sent())

    def test_time_is_up(self) -> None:
        """When its time is up between two parts, what is found by then counts, and the server did nothing wrong."""
        looked = self.look(digests(5000))
        self.clock.advance(0.03)
        self.say(*[256] * 8)
        self.clock.advance(0.02)
        self.assertEqual(2048, self.successResultOf(looked))
        self.assertTrue(self.server.last.protocol.connected)
        self.assertEqual([], self.metrics.heard)

    def test_late(self) -> None:
        """Whoever waits for a server that does not answer waits no longer than the time-out; the next not at all."""
        first = self.look(digests(1))
        self.clock.advance(0.02)
        second = self.look(digests(600))
        self.clock.advance(0.03)
        self.assertIs(None, self.successResultOf(first))
        self.server.last.settle()
        self.assertIs(None, self.successResultOf(second))
        self.assertIs(None, self.successResultOf(self.look(digests(1))))
        self.assertEqual([("down",), ("failed", "timeout")], self.metrics.heard)

    def test_refused(self) -> None:
        """A server that refuses to look is left until it does not."""
        looked = self.look(digests(1))
        self.server.last.say(b"-READONLY You can't write against a read only replica.")
        self.assertIs(None, self.successResultOf(looked))
        self.server.last.settle()
        self.assertIn("READONLY", self.lines()[-1])

    def test_nonsense(self) -> None:
        """A server that answers what is no answer is left; the request is not harmed."""
        for answer in (b":2", b":-1", b"+OK", b"$-1", b"*0"):
            looked = self.look(digests(1))
            self.server.last.say(answer)
            self.clock.advance(0)
            self.assertIs(None, self.successResultOf(looked), answer)
            self.server.last.settle()
            self.assertIn("no number of 1 blocks", self.lines()[-1])
            self.clock.advance(6)
            self.say(0)

    def test_cancelled(self) -> None:
        """Whoever looks may go away; nothing is left of it."""
        calls = len(self.clock.getDelayedCalls())
        looked = self.look(digests(600))
        looked.cancel()
        self.failureResultOf(looked)
        self.assertEqual(calls, len(self.clock.getDelayedCalls()))
        self.say(256, 256, 88)

    def test_nothing(self) -> None:
        """No blocks, no question."""
        self.assertEqual(0, self.successResultOf(self.look([])))
        self.assertEqual([], self.sent())


class WritingTests(StoreTestCase):
    """Blocks are written."""

    def dropped(self) -> int:
        """Count the blocks that were not written."""
        return sum(each[1] for each in self.metrics.heard if each[0] == "dropped")

    def test_gathered(self) -> None:
        """What is stored in five milliseconds goes out together, whatever is answered meanwhile."""
        self.store.store(digests(2))
        self.clock.advance(0.004)
        self.store.store(digests(3, 2))
        self.assertEqual([], self.sent())
        self.clock.advance(0.001)
        self.assertEqual([("store", digests(5))], self.sent())
        self.store.store(digests(1))
        self.say(1)
        self.assertEqual([], self.sent())
        self.clock.advance(0.005)
        self.assertEqual([("store", digests(1))], self.sent())
        self.say(1)
        self.clock.advance(0.005)
        self.assertEqual([], self.sent())

    def test_window(self) -> None:
        """Few writes are on their way at a time; lookups do not wait for all others."""
        self.store.store(digests(100))
        self.store.store(digests(1900, 100))
        self.clock.advance(0.005)
        sent: list[bytes] = []
        for written, answered in ((4, 2), (2, 4), (2, 2)):
            asked = self.sent()
            self.assertEqual(written, len(asked))
            sent += [digest for _, each in asked for digest in each]
            self.say(*[1] * answered)
        self.assertEqual(digests(2000), sent)
        self.assertEqual(0, self.dropped())

    def test_too_many(self) -> None:
        """A queue that is full takes no more; what it does not take is counted."""
        self.store.store(digests(65000))
        self.store.store(digests(600, 65000))
        self.store.store(digests(1, 70000))
        self.assertEqual(65, self.dropped())

    def test_down(self) -> None:
        """While there is no server blocks are counted and nothing else; what waited when it went is counted too."""
        self.store.store(digests(2000))
        self.clock.advance(0.005)
        self.store.store(digests(1, 3000))
        self.server.last.close()
        self.assertEqual(2001, self.dropped())
        self.store.store(digests(5))
        self.assertEqual(2006, self.dropped())
        self.clock.advance(0.1)
        self.say(0)
        self.store.store(digests(1))
        self.clock.advance(0.005)
        self.assertEqual(("store", digests(1)), self.sent()[-1])
        self.say(1)

    def test_no_answer(self) -> None:
        """A write that is not answered in five seconds ends the connection."""
        self.store.store(digests(1))
        self.clock.advance(0.005)
        self.clock.advance(5)
        self.server.last.settle()
        self.assertEqual([("dropped", 1), ("down",), ("failed", "timeout")], self.metrics.heard)

    def test_full(self) -> None:
        """A full server is asked once in a second whether it has room; the log has a line, and lookups go on."""
        for _ in range(3):
            self.store.store(digests(2))
            self.clock.advance(0.005)
            self.sent()
            self.server.last.say(b"-OOM command not allowed when used memory > 'maxmemory'.")
            self.store.store(digests(3))
            self.clock.advance(0.005)
            self.assertEqual([], self.sent())
            self.clock.advance(1)
        self.assertEqual(15, self.dropped())
        self.assertEqual(3, self.metrics.heard.count(("failed", "full")))
        (line,) = self.lines()[1:]
        self.assertIn("takes no blocks: OOM command not allowed", line)
        looked = self.look(digests(1))
        self.say(1)
        self.assertEqual(1, self.successResultOf(looked))

    def test_room_again(self) -> None:
        """That it takes blocks again is news when it has for a minute; one write now and then is none."""
        self.test_full()
        self.sent()
        for minutes in (0, 1):
            for _ in range(2 * minutes):
                self.clock.advance(30)
                self.server.last.say(b"+PONG")
            self.assertEqual(1, len(self.lines()[1:]))
            self.store.store(digests(2))
            self.clock.advance(0.005)
            self.assertEqual([("store", digests(2))], self.sent())
            self.say(1)
        self.assertEqual(["The cache that servers share takes blocks again."], self.lines()[2:])

    def test_refused(self) -> None:
        """A server that refuses writes for another reason is no full one."""
        self.store.store(digests(1))
        self.clock.advance(0.005)
        self.server.last.say(b"-MISCONF Redis is configured to save RDB snapshots")
        self.assertEqual([("dropped", 1), ("failed", "refused")], self.metrics.heard)
        self.assertIn("takes no blocks: MISCONF", self.lines()[-1])

    def test_stop(self) -> None:
        """When it stops nothing is left, whatever waited."""
        self.store.store(digests(2000))
        self.clock.advance(0.005)
        self.store.store(digests(1))
        stopped = self.store.stop()
        self.server.last.settle()
        self.successResultOf(stopped)
        self.assertEqual([], self.clock.getDelayedCalls())


class ClearingTests(StoreTestCase):
    """Blocks are deleted."""

    def test_pages(self) -> None:
        """Keys are deleted some hundred at a time, until the server has gone through all; no others are."""
        self.store.store(digests(1))
        cleared = self.store.clear()
        ((word, script, keys, pattern, cursor, _),) = self.server.last.commands()
        self.assertEqual((b"EVAL", b"0", b"ns:*", b"0"), (word, keys, pattern, cursor))
        self.assertIn(b"UNLINK", script)
        self.server.last.say(b"$2", b"17")
        self.clock.advance(0)
        self.assertEqual(b"17", self.server.last.commands()[0][4])
        self.assertNoResult(cleared)
        self.server.last.say(b"$1", b"0")
        self.assertTrue(self.successResultOf(cleared))

    def test_pattern(self) -> None:
        """A namespace may have any characters; they stand for themselves."""
        store = RedisStore(self.store._link, b"a*[b]?\\^-c:", 1, 1, self.clock, self.metrics)
        store.clear()
        self.assertEqual(rb"a\*\[b\]\?\\\^\-c:*", self.server.last.commands()[0][3])

    def test_down(self) -> None:
        """What cannot be reached is not cleared."""
        self.server.last.close()
        self.assertFalse(self.successResultOf(self.store.clear()))

    def test_late(self) -> None:
        """A server that does not answer is not cleared."""
        cleared = self.store.clear()
        self.clock.advance(5)
        self.server.last.settle()
        self.assertFalse(self.successResultOf(cleared))


class PrefixTests(LinkTestCase):
    """Servers share what is the same."""

    def test_kind(self) -> None:
        """Whatever differs, the names of keys differ; the namespace is there to be read."""
        kinds = [("m", 16, "sha"), ("m", 16, "other"), ("m", 32, "sha"), ("m1", 6, "sha"), ("n", 16, "sha")]
        prefixes = {key_prefix("ns", *kind) for kind in kinds} | {key_prefix("other", *kinds[0])}
        self.assertEqual(6, len(prefixes))
        self.assertEqual(key_prefix("ns", *kinds[0]), key_prefix("ns", *kinds[0]))
        self.assertRegex(key_prefix("ns", *kinds[0]), rb"^ns:[0-9a-f]{16}:$")
