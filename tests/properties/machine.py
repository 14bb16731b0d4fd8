"""A rank, or several, with a clock of its own: what can be asked of it, and what is looked at after each step."""

import contextlib
import gc
import json
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, Final
from unittest import mock

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.fakes import in_thread
from tests.folders import make_folder
from tests.harness import RankTestCase
from tests.kvcache.fakes import slowly
from tests.properties.asked import Asked
from tests.properties.books import Books
from tests.properties.callers import Http2Caller, HttpCaller
from tests.properties.figures import Figures
from tests.properties.ledger import Ledger
from tests.properties.listening import Errors
from tests.properties.options import Setting, settings
from tests.properties.stepbooks import StepBooks
from tests.properties.traces import check_trace
from vllmsim.records import RequestRecord
from vllmsim.shifts import Shifts

_GAUGES: Final = (
    "vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:num_requests_waiting_by_reason",
    "vllm:kv_cache_usage_perc", "vllm:lora_requests_info", "vllmsim:lora_adapters",
)  # fmt: skip
_MOST_WAITS: Final = 300
"""How many times time passes, at the end, before whoever still waits waits for ever."""
_MOMENT: Final = 0.2
"""Seconds that something takes in a thread that is slow."""
_A_WHILE: Final = 4.0
"""Seconds by which it does."""


def _running(record: RequestRecord) -> int:
    return record.running


def _waiting(record: RequestRecord) -> int:
    return record.waiting


class RankMachine(RuleBasedStateMachine):
    """What all rules share."""

    ledger: Ledger
    done: ClassVar[Counter[str]] = Counter()
    """How much has been done by all."""

    def __init__(self) -> None:
        super().__init__()
        self.test = RankTestCase()
        self.callers: list[HttpCaller | Http2Caller] = []
        self.ledger = Ledger()
        self.errors = Errors()
        self.books: list[Books] = []
        self.begun = False
        self.sound = False
        """Whether all was right when it was looked at last, and nothing has been done since."""

    @initialize(setting=settings())
    def begin(self, setting: Setting) -> None:
        """Start the ranks."""
        self.errors.__enter__()
        if setting.slow:
            hashing = mock.patch.object(Shifts, "run", slowly)
            hashing.start()
            self.test.addCleanup(hashing.stop)
        self.traces = make_folder(self.test)
        words, threads = setting.words, self.slow_thread if setting.slow else in_thread
        if not setting.slow:
            # No thread can be stopped, and the end of this file is written in one.
            words += ("--engine-trace", str(self.traces / "{rank}"))
        ranks = self.test.make_ranks(*words, threads=threads)
        self.ranks, self.setting = ranks, setting
        self.clock = self.test.clock
        kind = StepBooks if setting.steps else Books
        self.books = [
            kind(rank, number, live) for (number, live), rank in zip(self.test.lives.items(), ranks, strict=True)
        ]
        for rank in ranks:
            rank.journal.observers.append(self.ledger)
        self.begun = True
        self.done["examples"] += 1

    def slow_thread(self, function: Callable[..., Any], *positional: Any, **named: Any) -> Deferred[Any]:
        """Run a function as in a thread that takes its time."""
        return deferLater(self.test.clock, _MOMENT, function, *positional, **named)

    # What rules use

    def ask(self, caller: HttpCaller | Http2Caller, asked: Asked) -> None:
        """Send a request."""
        asked.number = len(self.ledger.asked)
        self.ledger.asked.append(asked)
        self.done["requests"] += asked.remembered
        caller.ask(asked)
        self.settle()

    def operate(self, method: str, path: str, value: Any = None, **headers: str) -> Asked:
        """Do what an operator does, on a connection of its own; what takes time is answered later."""
        caller = HttpCaller(self.ranks[0].site, self.clock, len(self.callers))
        self.callers.append(caller)
        body = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
        asked = Asked(0, "other", method, path, body, {"content-type": "application/json", **headers})
        self.ask(caller, asked)
        return asked

    def connect(self) -> HttpCaller:
        """Open a connection."""
        self.callers.append(caller := HttpCaller(self.ranks[0].site, self.clock, len(self.callers)))
        return caller

    def connect_http2(self, *, reads: bool = True) -> Http2Caller:
        """Open one that speaks HTTP/2."""
        self.callers.append(caller := Http2Caller(self.ranks[0].site, self.clock, len(self.callers), reads))
        return caller

    def settle(self) -> None:
        """Have everything done that takes no time."""
        self.sound = False
        for _ in range(8):
            self.clock.advance(0)
        for caller in self.callers:
            caller.listen()

    def records(self) -> list[RequestRecord]:
        """List what the journals remember."""
        return [record for rank in self.ranks for record in rank.journal.records()]

    # What is looked at

    @invariant()
    def books_are_right(self) -> None:
        """All is counted as it is, and nothing has gone wrong inside."""
        if not self.begun:
            return
        self.done["steps"] += 1
        self.settle()
        assert not self.errors.heard, "\n".join(self.errors.heard)
        for each in self.books:
            each.check()
        records = self.records()
        under_way = [record for record in records if record.outcome is None]
        self.ledger.check(under_way)
        self.check_gauges(under_way)
        self.sound = True

    def check_gauges(self, under_way: list[RequestRecord]) -> None:
        """As many sequences wait and run by the journal as in the ranks, and by the metrics."""
        page = self.scrape(*_GAUGES)
        for books in self.books:
            engine = str(books.number)
            mine = [record for record in under_way if record.rank == books.number]
            waiting, running = sum(each.waiting for each in mine), sum(each.running for each in mine)
            assert (waiting, running) == (len(books.sequences) - books.running, books.running), mine
            served = sum(bool(each.waiting or each.running) for each in mine)
            pooled = sum(each.sampling is None and each.queued is not None for each in mine)
            in_flight = len(books.rank.simulator.requests)
            # What is being hashed is in, and waits for no slot yet.
            assert in_flight == served + pooled or (self.setting.slow and in_flight > served + pooled), mine
            if not self.shows(books):
                continue
            gauges = tuple(page.total(f"num_requests_{name}", engine=engine) for name in ("waiting", "running"))
            assert gauges == (waiting, running)
            by_reason = page.total("num_requests_waiting_by_reason", engine=engine)
            assert by_reason == waiting
            if books.pool is not None:
                usage = page.total("kv_cache_usage_perc", engine=engine)
                assert round(usage, 9) == round(books.pool.used / books.pool.usable, 9)
            self.check_adapters(page, books, mine)

    def shows(self, books: Books) -> bool:
        """Tell whether a rank's figures are on the page of the first port, and true."""
        true = all(each.live.current.fake_metrics is None for each in self.books)
        return true and (books is self.books[0] or self.setting.balances)

    def scrape(self, *names: str) -> Figures:
        """Read some metrics, or all, at the first port."""
        asked = self.operate("GET", "/metrics?" + "&".join(f"name[]={name}" for name in names))
        assert (asked.status, asked.complete) == (200, True), asked
        self.callers.pop().drop()
        return Figures.read(asked.answer.decode())

    def check_adapters(self, page: Figures, books: Books, mine: list[RequestRecord]) -> None:
        """The metrics name the adapters that sequences use, and count those that are on the GPU."""
        if len(self.books) > 1 and self.setting.balances:
            # What one rank tells of adapters has not its number.
            return
        gpu = page.values("vllmsim:lora_adapters", place="gpu")
        slots = books.adapters
        assert gpu in ([], [len(slots._users) + len(slots._idle)]), gpu
        told = page.latest("vllm:lora_requests_info")
        users = [{each.adapter for each in mine if each.adapter and count(each)} for count in (_running, _waiting)]
        if not books.live.current.lora_info_exact:
            users = [users[0] | users[1]] * 2
        expected = {
            "max_lora": str(books.live.current.max_loras),
            "running_lora_adapters": ",".join(sorted(users[0])),
            "waiting_lora_adapters": ",".join(sorted(users[1])),
        }
        assert told == expected, (told, expected)

    def teardown(self) -> None:
        """Everyone comes to an end in time, or is told that there is none, and nothing is left."""
        if not self.begun:
            return
        self.errors.__exit__(None, None, None)
        if not self.sound:
            # What has gone wrong is told already, and what comes of it says nothing more.
            self.give_up()
            return
        with self.errors:
            if self.setting.abrupt:
                self.stop_at_once()
            else:
                self.come_to_an_end()
            self.leave()
            self.test.clean_up()
            del self.callers, self.ranks, self.books
            gc.collect()
            assert not self.errors.heard, "\n".join(self.errors.heard)

    def give_up(self) -> None:
        """Leave nothing to those that come next, as far as that can be had."""
        with contextlib.suppress(Exception):
            for caller in self.callers:
                caller.pipe.drop()
        with contextlib.suppress(Exception):
            self.test.clean_up()
        del self.callers, self.ranks, self.books
        gc.collect()

    def stop_at_once(self) -> None:
        """Have everyone told that the server stops, whatever they wait for."""
        for caller in self.callers:
            caller.read_on()
        for rank in self.ranks:
            rank.lifecycle.drain()
            rank.simulator.requests.dismiss()
            rank.journal.release()
        self.hear_all()
        assert not [record for record in self.records() if record.waiting or record.running]
        assert not any(rank.journal._waiters for rank in self.ranks)

    def come_to_an_end(self) -> None:
        """Have everything that stands in the way go, and wait."""
        for path in ("/admin/scenario/stop", "/resume", "/wake_up"):
            self.operate("POST", path)
        for rank in self.ranks:
            # Somebody may wait behind one who waits for requests that do not come.
            rank.journal.release()
        for caller in self.callers:
            caller.read_on()
        for _ in range(_MOST_WAITS):
            if not any(len(rank.simulator.requests) for rank in self.ranks):
                break
            self.clock.advance(_A_WHILE)
            self.settle()
        # Some were made to wait for ever.
        assert all(record.fault for record in self.records() if record.waiting or record.running)
        self.operate("POST", "/abort_requests", {})
        self.hear_all()

    def hear_all(self) -> None:
        """Let what was said last be read, and find that nobody waits for an answer to what is at its end."""
        for _ in range(_MOST_WAITS):
            waiting = [asked for asked in self.ledger.asked if asked.remembered and not asked.over]
            if not waiting:
                return
            self.clock.advance(_MOMENT)
            self.settle()
        raise AssertionError(f"{waiting} have no answer")

    def leave(self) -> None:
        """Have all clients go, and find nothing left of them."""
        self.books_are_right()
        for books in self.books:
            books.check_rest()
        for caller in [*self.callers]:
            caller.drop()
        if self.setting.slow:
            # No thread can be stopped.
            self.clock.pump([_MOMENT] * 3)
        self.settle()
        self.books_are_right()
        assert not [record for record in self.records() if record.outcome is None]
        assert not self.ledger.unfinished()
        for rank in self.ranks:
            assert not rank.site.channels
            assert not rank.journal._waiters
        for books in self.books:
            if self.shows(books):
                self.ledger.check_totals(self.scrape(), str(books.number), books.number)
            check_trace(self.traces / str(books.number), books.rank, books.number)
