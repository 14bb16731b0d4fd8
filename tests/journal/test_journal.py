"""The journal: what it keeps, and for how long."""

from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vllmsim import turns
from vllmsim.clocks.clocks import Clocks
from vllmsim.config.live import LiveConfiguration
from vllmsim.config.schema import Configuration
from vllmsim.errors import InvalidRequest, Overloaded
from vllmsim.interfaces import IJournal
from vllmsim.journal.journal import MOST_WAITERS, Journal
from vllmsim.records import HttpFacts, RequestRecord


def everything(_: RequestRecord) -> bool:
    """Want to see any request."""
    return True


class JournalTestCase(SynchronousTestCase):
    """A journal of three requests."""

    def setUp(self) -> None:
        """Make it."""
        self.make()

    def make(self, **options: Any) -> None:
        """Make another."""
        self.clock = Clock()
        self.live = LiveConfiguration(Configuration(**{"model": "m", "journal_size": 3, **options}))
        self.journal = Journal(self.live, 2, Clocks.same(self.clock, lambda: 1000.0 + self.clock.seconds()))

    def begin(self, body: bytes = b"", **headers: str) -> RequestRecord:
        """Begin a request."""
        given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        record = self.journal.begin("/route", HttpFacts("POST", "/route", given, body, len(body)))
        assert record is not None
        return record

    def numbers(self) -> list[int]:
        """List the requests that are remembered."""
        return [record.number for record in self.journal.records()]


class KeepingTests(JournalTestCase):
    """What is remembered."""

    def test_interface(self) -> None:
        """It is what delivery knows it for."""
        verifyObject(IJournal, self.journal)

    def test_bounded(self) -> None:
        """So many that have ended are kept, those that ended first go first, and none that is under way."""
        first, *others = [self.begin() for _ in range(6)]
        for record in others:
            self.journal.end(record)
        self.assertEqual(([1, 4, 5, 6], 2), (self.numbers(), self.journal.dropped))
        self.journal.end(first)
        self.assertEqual(([1, 5, 6], 3), (self.numbers(), self.journal.dropped))

    def test_arrival(self) -> None:
        """A record says when and where its request came, and when it ended."""
        self.clock.advance(5)
        record = self.begin()
        self.clock.advance(2)
        self.journal.end(record)
        self.assertEqual(
            (1, 2, "m", 1005.0, 5.0), (record.number, record.rank, record.base, record.arrived, record.began)
        )
        self.assertEqual((7.0, "completed"), (record.finished, record.outcome))

    def test_gone(self) -> None:
        """A client that leaves is known."""
        record = self.begin()
        self.journal.end(record, gone=True)
        self.assertEqual("disconnected", record.outcome)

    def test_once(self) -> None:
        """A request ends once, whoever says so again."""
        record = self.begin()
        for gone in (False, True):
            self.journal.end(record, gone=gone)
        self.assertEqual(([1], "completed"), (self.numbers(), record.outcome))

    def test_off(self) -> None:
        """Without a size nothing is remembered, and no record made."""
        self.make(journal_size=0)
        self.assertIs(None, self.journal.begin("/route", None))

    def test_live(self) -> None:
        """The size may change at any time, and so may what is kept of bodies."""
        for _ in range(3):
            self.journal.end(self.begin(b"12345"))
        self.live.swap(evolve(self.live.current, journal_size=1, journal_body_bytes=2))
        self.journal.end(self.begin(b"12345"))
        [record] = self.journal.records()
        assert record.http is not None
        self.assertEqual((4, b"12", 5), (record.number, record.http.body, record.http.body_bytes))
        self.live.swap(evolve(self.live.current, journal_size=0))
        self.assertEqual(([], None), (self.numbers(), self.journal.begin("/route", None)))

    def test_forget(self) -> None:
        """What has ended can be forgotten, which drops nothing."""
        records = [self.begin() for _ in range(3)]
        self.journal.end(records[1])
        self.assertEqual((1, [1, 3], 0), (self.journal.forget(), self.numbers(), self.journal.dropped))

    def test_find(self) -> None:
        """A request is found by an id, the last of several, or by its number if no id is like that."""
        for answer_id, request_id in (("chatcmpl-x", "x"), ("cmpl-3", "3"), ("chatcmpl-x", "x")):
            self.begin().asks(None, "m", answer_id, request_id)
        found = {name: getattr(self.journal.find(name), "number", None) for name in ("x", "chatcmpl-x", "3", "2", "y")}
        self.assertEqual({"x": 3, "chatcmpl-x": 3, "3": 2, "2": 2, "y": None}, found)


class SizeTests(JournalTestCase):
    """No request makes the journal large."""

    def test_headers(self) -> None:
        """Of many or long headers some are kept, and no more of them than can be read."""
        record = self.begin(b"", **{f"h{number}": "v" * 1000 for number in range(100)})
        assert record.http is not None
        self.assertEqual((64, {512}), (len(record.http.headers), set(map(len, record.http.headers.values()))))

    def test_trace_headers(self) -> None:
        """Of many headers those that say which trace a request is part of are kept, whole or not at all."""
        many = {f"h{number}": "v" for number in range(100)}
        traced = {"traceparent": "p" * 512, "tracestate": "s" * 513}
        for headers in ({**many, **traced}, {**traced, **many}):
            record = self.begin(b"", **headers)
            assert record.http is not None
            self.assertEqual(b"p" * 512, record.http.headers[b"traceparent"])
            self.assertNotIn(b"tracestate", record.http.headers)
            self.assertLessEqual(len(record.http.headers), 65)

    def test_observers(self) -> None:
        """Who observes hears of each request that has ended, also if none is kept."""

        class Observer:
            """Keeps numbers."""

            def __init__(self) -> None:
                self.numbers: list[int] = []

            def ended(self, record: RequestRecord) -> None:
                """Keep one."""
                self.numbers.append(record.number)

        observer: Any = Observer()
        self.make(journal_size=0)
        self.journal.observers.append(observer)
        first, _ = self.begin(), self.begin()
        self.journal.end(first)
        self.assertEqual([1], observer.numbers)
        self.journal.stop()
        self.assertEqual([1, 2], observer.numbers)

    def test_names_of_headers(self) -> None:
        """Long names of headers are cut like long values."""
        record = self.begin(b"", **{"h" * 60_000: "v"})
        assert record.http is not None
        self.assertEqual([b"h" * 512], list(record.http.headers))

    def test_path(self) -> None:
        """A long path is cut."""
        record = self.journal.begin("/route", HttpFacts("POST", "/" * 5000, {}))
        assert record is not None
        assert record.http is not None
        self.assertEqual(1024, len(record.http.path))


class ModelTests(JournalTestCase):
    """The model that a request asks for."""

    def test_refused(self) -> None:
        """It is found in bodies that were refused, or that name it for nothing but tokens."""
        cases: tuple[tuple[bytes, str | None], ...] = (
            (b'{"model": "x", "messages": 1}', "x"), (b'{"model": 1}', None), (b"[1]", None), (b"no", None),
            (b"{}", None), (b'{"model": "' + b"x" * 3000 + b'"}', "x" * 256),
            (b'{"model": "' + b"x" * 5000 + b'"}', None),
        )  # fmt: skip
        for body, asked in cases:
            record = self.begin(body)
            record.fails(InvalidRequest("no"))
            self.journal.end(record)
            self.assertEqual(asked, record.asked)

    def test_known(self) -> None:
        """Who has read it says it better."""
        record = self.begin(b'{"model": "x"}')
        record.asks(None, "m", "chatcmpl-1", "1")
        self.journal.end(record)
        self.assertIs(None, record.asked)


class WaitingTests(JournalTestCase):
    """Who waits for requests to end."""

    def test_at_once(self) -> None:
        """Nobody waits for what has ended."""
        self.journal.end(self.begin())
        self.successResultOf(self.journal.ended(everything, 1, 5.0))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_end(self) -> None:
        """Who waits for two of a kind goes on when the second has ended."""
        waiting = self.journal.ended(lambda record: record.number != 2, 2, 5.0)
        for _ in range(3):
            self.assertNoResult(waiting)
            self.journal.end(self.begin())
        self.successResultOf(waiting)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_timeout(self) -> None:
        """Nobody waits longer than they want to."""
        waiting = self.journal.ended(everything, 1, 5.0)
        self.clock.advance(4.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.successResultOf(waiting)
        self.journal.end(self.begin())

    def test_cancel(self) -> None:
        """Who leaves waits no more."""
        self.journal.ended(everything, 1, 5.0).addErrback(lambda _: None).cancel()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.journal.end(self.begin())

    def test_turns(self) -> None:
        """While what has ended is counted others have their turns, and who leaves meanwhile is not counted for."""
        for _ in range(3):
            self.journal.end(self.begin())
        self.patch(turns, "TURN", -1.0)
        waiting = self.journal.ended(everything, 3, 5.0)
        leaving = self.journal.ended(everything, 3, 5.0).addErrback(lambda _: None)
        leaving.cancel()
        self.assertNoResult(waiting)
        self.clock.advance(0)
        self.successResultOf(waiting)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_many(self) -> None:
        """Only so many may wait."""
        waiting = [self.journal.ended(everything, 1, 5.0) for _ in range(MOST_WAITERS)]
        self.assertRaises(Overloaded, self.journal.ended, everything, 1, 5.0)
        self.journal.end(self.begin())
        for each in waiting:
            self.successResultOf(each)


class StopTests(JournalTestCase):
    """The end of the rank."""

    def test_release(self) -> None:
        """When the server is to stop nobody waits any more."""
        waiting = self.journal.ended(everything, 9, 5.0)
        self.journal.release()
        self.successResultOf(waiting)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stop(self) -> None:
        """Requests that are under way end unfinished, and nobody waits any more."""
        waiting = self.journal.ended(everything, 9, 5.0)
        records = [self.begin() for _ in range(2)]
        self.journal.stop()
        self.successResultOf(waiting)
        self.assertEqual(["unfinished"] * 2, [record.outcome for record in records])
        self.journal.end(records[0])
        self.assertEqual([1, 2], self.numbers())
