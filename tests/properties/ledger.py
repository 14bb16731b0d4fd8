"""What must be true of requests: each comes to its end once, and journal, metrics and clients tell the same of it."""

from collections import Counter
from itertools import pairwise
from typing import Final

from attrs import define, field
from zope.interface import implementer

from tests.properties.answers import read_answer
from tests.properties.asked import PROBE, Asked
from tests.properties.figures import Figures
from vllmsim.interfaces import IRequestObserver
from vllmsim.records import RequestRecord
from vllmsim.web.request import NO_ROUTE

_OK: Final = 200
_NOWHERE: Final = 404
_REFUSED: Final = (429, 503)
_CUT_SHORT: Final = ("abort", None)
"""What is told of choices that came to no end of their own."""
_GRAIN: Final = 1e-6
"""Seconds that count as none."""


@implementer(IRequestObserver)
@define(eq=False)
class Ledger:
    """Remembers all that was asked, and all that has ended."""

    asked: list[Asked] = field(factory=list)
    records: list[RequestRecord] = field(factory=list)
    """Those that have ended, in that order."""
    troubles: list[str] = field(factory=list)
    _checked: set[Asked] = field(init=False, factory=set)

    def ended(self, record: RequestRecord) -> None:
        """Learn that a request has ended."""
        self.records.append(record)
        assert record.http is not None
        number = int(record.http.headers.get(PROBE.encode(), b"-1"))
        asked = self.asked[number]
        if number < 0 or not asked.remembered:
            self.troubles.append(f"{record} is of no request")
        elif asked.record is not None:
            self.troubles.append(f"{asked} has ended twice")
        asked.record = record

    def check(self, open_records: list[RequestRecord]) -> None:
        """Look at what has ended since this was called last.

        :param open_records: what has not.
        """
        assert not self.troubles, self.troubles
        for record in open_records:
            assert record.outcome is None, record
            assert record.waiting >= 0, record
            assert record.running >= 0, record
        for asked in self.asked:
            if asked not in self._checked and asked.over and (asked.record is not None or not asked.remembered):
                self._checked.add(asked)
                if asked.record is not None:
                    check_record(asked.record)
                    check_asked(asked, asked.record)

    def check_totals(self, page: Figures, engine: str, number: int) -> None:
        """Hold a rank's counters against its requests, when none is under way.

        :param number: the rank's.
        """
        mine = [each for each in self.records if each.rank == number and each.sampling is not None]
        told = Counter(reason for each in mine for _, reason in each.choices.values() if reason not in _CUT_SHORT)
        for reason, count in told.items():
            shown = page.total("request_success_total", engine=engine, finished_reason=str(reason))
            assert shown == count, (reason, shown, told)
        total = page.total("request_success_total", engine=engine)
        assert total == told.total(), (total, told)
        for name in ("e2e_request_latency_seconds", "request_prompt_tokens", "request_generation_tokens"):
            assert page.total(f"{name}_count", engine=engine) == total, name
        generated = page.total("generation_tokens_total", engine=engine)
        assert generated == sum(each.generated_tokens for each in mine), (generated, mine)
        sources = page.total("prompt_tokens_by_source_total", engine=engine)
        assert page.total("prompt_tokens_total", engine=engine) == sources
        found = page.total("prompt_tokens_cached_total", engine=engine)
        assert found == sources - page.total("prompt_tokens_by_source_total", engine=engine, source="local_compute")
        computed = page.total("prompt_tokens_by_source_total", engine=engine, source="local_compute")
        steps = page.total("iteration_tokens_total_sum", engine=engine)
        assert steps == computed + generated, (steps, computed, generated)
        sure = [each for each in mine if each.outcome == "completed" and not each.refusals]
        most = [each for each in mine if each.first_token is not None]
        least, greatest = (sum(_read(each) for each in some) for some in (sure, most))
        assert least <= sources <= greatest, (least, sources, greatest)
        hits, queries = (page.total(f"prefix_cache_{name}_total", engine=engine) for name in ("hits", "queries"))
        assert hits <= queries, (hits, queries)

    def unfinished(self) -> list[Asked]:
        """List what the journal should know and does not, though it came to the server and is over."""
        return [each for each in self.asked if each.remembered and each.complete and each.record is None]


def _read(record: RequestRecord) -> int:
    """Count the tokens of a request's prompts as often as they are read: for each of its choices."""
    return record.prompt_tokens * (record.sampling.n if record.sampling else 1)


def check_record(record: RequestRecord) -> None:
    """Find that what is told of a request fits together."""
    assert record.outcome is not None
    assert (record.waiting, record.running) == (0, 0), record
    times = [record.began, record.queued, record.started, record.first_token, record.last_token, record.finished]
    known = [time for time in times if time is not None]
    assert record.finished is not None
    assert all(later >= earlier - _GRAIN for earlier, later in pairwise(known)), (times, record)
    assert record.queued is not None or record.started is None, record
    assert record.started is not None or record.first_token is None, record
    assert record.first_token is not None or not record.generated_tokens or record.refusals, record
    if record.sampling is not None:
        assert sum(tokens for tokens, _ in record.choices.values()) == record.generated_tokens, record
        if record.outcome == "completed":
            assert len(record.choices) == record.prompts * record.sampling.n, record
            assert {reason for _, reason in record.choices.values()} <= {"stop", "length", "cache_threshold"}, record


def check_asked(asked: Asked, record: RequestRecord) -> None:
    """Find that a client has seen what the journal tells."""
    if record.outcome == "injected" or asked.left or not asked.complete:
        return
    if record.route == NO_ROUTE and asked.status == _NOWHERE:
        assert record.outcome == "completed", record
    elif asked.status != _OK:
        expected = {"refused", "failed", "disconnected"} if asked.status in _REFUSED else {"invalid"}
        assert record.outcome in expected, (asked.status, asked.answer, record)
    elif {**asked.fields, **asked.trailers}.get("grpc-status", "0") == "0":
        _check_answer(asked, record)


def _check_answer(asked: Asked, record: RequestRecord) -> None:
    told = read_answer(asked)
    if told.queued:
        return
    if told.failed:
        assert record.outcome in {"failed", "refused", "aborted"}, (asked.answer, record)
        return
    assert record.outcome in {"completed", "aborted", "refused"}, record
    if asked.choices is not None:
        assert told.endings == Counter(range(asked.choices)), (asked.answer, told)
    if told.completion_tokens is not None:
        assert told.completion_tokens == record.generated_tokens, (asked.answer, told, record)
    if told.prompt_tokens is not None:
        assert told.prompt_tokens == record.prompt_tokens, (asked.answer, told, record)
