"""Batches once more."""

from collections.abc import Sequence

from attrs import define, field
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.kvcache.events import replay
from vllmsim.kvcache.events.replay import PeerGone, Replay
from vllmsim.kvcache.events.window import ReplayWindow

END = (b"", b"\xff" * 8, b"")


def numbered(number: int) -> bytes:
    """Write a number as it is on the wire."""
    return number.to_bytes(8, "big")


@define(eq=False)
class Queues:
    """What waits for each subscriber, with room for some messages."""

    room: int = 1 << 30
    gone: set[bytes] = field(factory=set)
    rooms: dict[bytes, int] = field(factory=dict)
    got: dict[bytes, list[tuple[bytes, ...]]] = field(factory=dict)
    order: list[bytes] = field(factory=list)
    tried: int = 0

    def offer(self, frames: Sequence[bytes]) -> bool:
        """Take a message."""
        identity, empty, *answer = frames
        assert empty == b""
        self.tried += 1
        if identity in self.gone:
            raise PeerGone
        got = self.got.setdefault(identity, [])
        if len(got) >= self.rooms.get(identity, self.room):
            return False
        got.append(tuple(answer))
        self.order.append(identity)
        return True

    def numbers(self, identity: bytes) -> list[int]:
        """Tell the numbers that somebody got; -1 for the end."""
        return [-1 if answer == END else int.from_bytes(answer[1], "big") for answer in self.got.get(identity, [])]


class ReplayTests(SynchronousTestCase):
    """Who gets what, and when."""

    def setUp(self) -> None:
        """Keep 10,000 batches."""
        self.clock = Clock()
        self.window = ReplayWindow(10_000)
        self.queues = Queues()
        self.replay = Replay(self.clock, self.window, b"kv@pod@m", self.queues.offer)
        self.addCleanup(lambda: self.assertEqual([], self.clock.getDelayedCalls()))
        self.addCleanup(self.replay.stop)

    def publish(self, count: int, payload: bytes = b"batch %d") -> None:
        """Publish some more batches."""
        for number in range(self.window.end, self.window.end + count):
            self.window.publish(number, payload % number if b"%" in payload else payload, 1)

    def ask(self, start: int, identity: bytes = b"me") -> None:
        """Ask for batches."""
        self.replay.asked([identity, b"", numbered(start)])

    def pump(self, seconds: float = 1.0) -> None:
        """Let time go by, a millisecond at a time."""
        self.clock.pump([0.001] * round(seconds / 0.001))

    def test_answer(self) -> None:
        """Every batch from the one that is asked for on is an answer with topic, number and payload; an end follows."""
        self.publish(4)
        self.ask(2)
        self.assertEqual({}, self.queues.got)
        self.clock.advance(0)
        expected = [(b"kv@pod@m", numbered(2), b"batch 2"), (b"kv@pod@m", numbered(3), b"batch 3"), END]
        self.assertEqual(expected, self.queues.got[b"me"])
        self.assertEqual(0, self.replay.peers)

    def test_nothing(self) -> None:
        """Who asks for what is not there yet, or was never published, gets the end alone."""
        self.ask(0)
        self.clock.advance(0)
        self.publish(3)
        for start in (3, 999_999, 2**64 - 1):
            self.ask(start)
            self.pump(0.01)
        self.assertEqual([END] * 4, self.queues.got[b"me"])

    def test_older(self) -> None:
        """Who asks for more than is kept gets what is kept."""
        self.publish(10_005)
        self.ask(3)
        self.pump()
        self.assertEqual([*range(5, 10_005), -1], self.queues.numbers(b"me"))

    def test_until(self) -> None:
        """What is published after the question is not in the answer, so that there is an end to it."""
        self.publish(500)
        self.ask(0)
        self.clock.advance(0)
        self.publish(500)
        self.pump()
        self.assertEqual([*range(500), -1], self.queues.numbers(b"me"))

    def test_longer_number(self) -> None:
        """Of a longer number the first eight bytes count."""
        self.publish(2)
        self.replay.asked([b"me", b"", numbered(1) + b"x"])
        self.clock.advance(0)
        self.assertEqual([1, -1], self.queues.numbers(b"me"))

    def test_wrong(self) -> None:
        """Messages that are no questions are counted, and nothing else happens."""
        self.publish(2)
        wrong = (
            [b"me"],
            [b"me", numbered(0)],
            [b"me", b"", b""],
            [b"me", b"", b"\0" * 7],
            [b"me", b"x", numbered(0)],
            [b"me", b"", numbered(0), b""],
        )
        for frames in wrong:
            self.replay.asked(frames)
        self.pump(0.01)
        self.assertEqual(({}, len(wrong), 0), (self.queues.got, self.replay.ignored, self.replay.peers))

    def test_several(self) -> None:
        """Several questions of one subscriber are answered one after the other; there is an end to their number."""
        self.publish(300)
        for start in range(290, 290 + replay.MOST_QUESTIONS + 2):
            self.ask(start)
        self.pump()
        expected = [each for start in range(290, 298) for each in (*range(start, 300), -1)]
        self.assertEqual(expected, self.queues.numbers(b"me"))
        self.assertEqual(2, self.replay.ignored)

    def test_slices(self) -> None:
        """A large window goes out in slices, with turns for others in between."""
        self.publish(10_000)
        self.ask(0)
        self.clock.advance(0)
        self.assertEqual(replay.SLICE, len(self.queues.got[b"me"]))
        self.clock.advance(replay.PAUSE / 2)
        self.assertEqual(replay.SLICE, len(self.queues.got[b"me"]))
        self.clock.advance(replay.PAUSE / 2)
        self.assertEqual(2 * replay.SLICE, len(self.queues.got[b"me"]))
        self.pump(0.2)
        self.assertEqual([*range(10_000), -1], self.queues.numbers(b"me"))

    def test_new_questions_wait(self) -> None:
        """Whoever asks between two slices waits for the next, so that questions do not keep the rank busy."""
        self.publish(10_000)
        self.ask(0)
        self.clock.advance(0)
        for number in range(20):
            self.ask(0, b"%d" % number)
            self.clock.advance(0)
        self.assertEqual(replay.SLICE, len(self.queues.order))

    def test_slow_machine(self) -> None:
        """A slice ends early where sending takes long; who had no turn is first in the next one."""

        def slowly(frames: Sequence[bytes]) -> bool:
            self.clock.rightNow += 0.01
            return self.queues.offer(frames)

        self.publish(100)
        slow = Replay(self.clock, self.window, b"", slowly)
        for identity in (b"a", b"b", b"c"):
            slow.asked([identity, b"", numbered(0)])
        self.clock.advance(0)
        self.assertEqual({b"a"}, set(self.queues.order))
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual({b"a", b"b", b"c"}, set(self.queues.order))
        slow.stop()

    def test_bytes(self) -> None:
        """A slice of large batches has few of them, and never less than one."""
        self.publish(10, b"x" * (replay.SLICE_BYTES // 2))
        self.ask(0)
        self.clock.advance(0)
        self.assertEqual(2, len(self.queues.got[b"me"]))
        self.publish(3, b"x" * (replay.SLICE_BYTES * 2))
        self.ask(10, b"other")
        for _ in range(3):
            before = len(self.queues.got.get(b"other", []))
            self.clock.advance(replay.PAUSE)
            self.assertEqual(1, len(self.queues.got[b"other"]) - before)

    def test_fair(self) -> None:
        """Those who ask at the same time get the same share of each slice."""
        self.publish(1000)
        for identity in (b"a", b"b", b"c", b"d"):
            self.ask(0, identity)
        self.clock.advance(0)
        self.assertEqual({16}, {len(got) for got in self.queues.got.values()})
        self.pump()
        for identity in (b"a", b"b", b"c", b"d"):
            self.assertEqual([*range(1000), -1], self.queues.numbers(identity))

    def test_stuck(self) -> None:
        """Who stops reading delays nobody, is asked ever more seldom whether it reads again, and then gets the rest."""
        self.publish(1000)
        self.queues.rooms[b"stuck"] = 100
        self.ask(0, b"stuck")
        self.ask(0, b"other")
        self.pump(0.1)
        self.assertEqual([*range(1000), -1], self.queues.numbers(b"other"))
        self.assertEqual(100, len(self.queues.got[b"stuck"]))
        tried = self.queues.tried
        self.pump(10)
        self.assertLess(self.queues.tried - tried, 110)
        del self.queues.rooms[b"stuck"]
        self.pump(0.5)
        self.assertEqual([*range(1000), -1], self.queues.numbers(b"stuck"))

    def test_moved_on(self) -> None:
        """Who stops reading for so long that its place is lost goes on with the oldest batch there is."""
        self.publish(10_000)
        self.queues.rooms[b"me"] = 100
        self.ask(0)
        self.pump(0.1)
        self.publish(5_000)
        del self.queues.rooms[b"me"]
        self.pump()
        self.assertEqual([*range(100), *range(5_000, 10_000), -1], self.queues.numbers(b"me"))

    def test_moved_beyond(self) -> None:
        """When all that was asked for is lost meanwhile, the end is all that follows."""
        self.publish(200)
        self.queues.rooms[b"me"] = 100
        self.ask(0)
        self.pump(0.1)
        self.publish(20_000)
        del self.queues.rooms[b"me"]
        self.pump(0.2)
        self.assertEqual([*range(100), -1], self.queues.numbers(b"me"))

    def test_log(self) -> None:
        """The log has a line for the first who does not read, and none for more of them or for what is no question."""
        log = EventLoggingObserver()
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)
        self.publish(200)
        self.queues.room = 0
        for number in range(5):
            self.ask(0, b"%d" % number)
            self.replay.asked([b"me", b"", b"?"])
        self.pump(replay.PATIENCE + 1)
        self.assertEqual((5, 5), (self.replay.given_up, self.replay.ignored))
        (event,) = log
        self.assertIn("does not read them", event["log_format"])

    def test_given_up(self) -> None:
        """Who takes nothing for a minute is forgotten, and who takes something now and then is not."""
        self.publish(200)
        self.queues.rooms |= {b"dead": 10, b"slow": 10}
        self.ask(0, b"dead")
        self.ask(0, b"slow")
        for _ in range(10):
            self.pump(replay.PATIENCE / 8)
            self.queues.rooms[b"slow"] += 1
        self.assertEqual((1, 1), (self.replay.given_up, self.replay.peers))
        self.assertEqual(10, len(self.queues.got[b"dead"]))
        self.assertEqual(19, len(self.queues.got[b"slow"]))

    def test_gone(self) -> None:
        """Who is connected no more is forgotten at once, and others get theirs."""
        self.publish(100)
        self.queues.gone.add(b"gone")
        self.ask(0, b"gone")
        self.ask(0, b"other")
        self.pump(0.01)
        self.assertEqual((0, 0), (self.replay.peers, self.replay.given_up))
        self.assertEqual([*range(100), -1], self.queues.numbers(b"other"))

    def test_many(self) -> None:
        """As many subscribers are answered at a time as there is room for; who is stuck makes room for others."""
        self.publish(1000)
        self.queues.room = 1
        for number in range(replay.MOST_PEERS):
            self.ask(0, b"%d" % number)
        self.pump(0.1)
        self.ask(0, b"one more")
        self.assertEqual((replay.MOST_PEERS, 1), (self.replay.peers, self.replay.ignored))
        self.pump(replay.STUCK)
        self.queues.rooms[b"one more"] = 2000
        self.ask(0, b"one more")
        self.assertEqual((replay.MOST_PEERS, 1, 1), (self.replay.peers, self.replay.ignored, self.replay.given_up))
        self.pump(0.1)
        self.assertEqual([*range(1000), -1], self.queues.numbers(b"one more"))

    def test_closed(self) -> None:
        """Before there is a socket nobody is there to be answered."""
        lonely = Replay(self.clock, self.window, b"")
        lonely.asked([b"me", b"", numbered(0)])
        self.clock.advance(0)
        self.assertEqual(0, lonely.peers)

    def test_stop(self) -> None:
        """Nothing goes out after a stop, which is harmless when nobody has asked."""
        self.replay.stop()
        self.publish(100)
        self.ask(0)
        self.replay.stop()
        self.pump(0.01)
        self.assertEqual({}, self.queues.got)
