# -*- test-case-name: tests.api.test_journal -*-
"""Reads which requests somebody wants to see: the query string of ``GET /admin/requests``.

A filter that is given several times lets pass what fits any of its values; ``header`` alone must fit with all. Requests
must pass all filters. ``wait_for`` has the answer come when so many of them have ended, or after ``timeout`` seconds.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from attrs import frozen
from pydantic import Field, StringConstraints

from vllmsim.api.body import Body, read_query
from vllmsim.api.records import header_of
from vllmsim.errors import MalformedRequest
from vllmsim.records import Outcome, RequestRecord, State

_MOST_VALUES: Final = 16
_MOST_AWAITED: Final = 10_000
_LONGEST: Final = 600.0
_SHOWN: Final = 64

Wanted = Callable[[RequestRecord], bool]
Texts = Annotated[list[str], Field(max_length=_MOST_VALUES, fail_fast=True)]
Statuses = Annotated[
    list[Annotated[str, StringConstraints(pattern=r"^[1-5](\d\d|xx)$")]], Field(max_length=_MOST_VALUES, fail_fast=True)
]


class JournalQuery(Body):
    """Which requests are shown, and how."""

    id: Texts = []
    model: Texts = []
    adapter: Texts = []
    route: Texts = []
    tenant: Texts = []
    outcome: Annotated[list[Outcome], Field(max_length=_MOST_VALUES, fail_fast=True)] = []
    state: Annotated[list[State], Field(max_length=_MOST_VALUES, fail_fast=True)] = []
    status: Statuses = []
    grpc_status: Texts = []
    header: Texts = []
    stream: bool | None = None
    after: int | None = None
    since: float | None = None
    limit: Annotated[int, Field(ge=0)] | None = None
    order: Literal["asc", "desc"] = "asc"
    bodies: bool = False
    wait_for: Annotated[int, Field(ge=1, le=_MOST_AWAITED)] | None = None
    timeout: Annotated[float, Field(gt=0, le=_LONGEST)] = 10.0


_LISTS: Final = frozenset(
    {"id", "model", "adapter", "route", "tenant", "outcome", "state", "status", "grpc_status", "header"}
)


@frozen(eq=False)
class Listing:
    """Which requests somebody wants to see, and how.

    :param wanted: tells whether a request is one of them.
    :param limit: the most that are shown; None for all.
    :param newest_first: in which order.
    :param bodies: whether what is kept of bodies is shown.
    :param wait_for: how many must have ended before any is shown; None for not to wait.
    :param timeout: seconds to wait for that.
    """

    wanted: Wanted
    limit: int | None
    newest_first: bool
    bodies: bool
    wait_for: int | None
    timeout: float


def read_listing(arguments: Mapping[str, Sequence[str]]) -> Listing:
    """Read a query string.

    :param arguments: by name, the values in their order.
    :raises MalformedRequest: for an argument that is unknown or wrong.
    """
    known = JournalQuery.model_fields
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise MalformedRequest(f"There is no filter {unknown[0][:_SHOWN]!r}; there are {', '.join(known)}.")
    query = read_query(JournalQuery, arguments, _LISTS)
    checks = tuple(_checks(query))
    return Listing(
        lambda record: all(check(record) for check in checks),
        query.limit,
        query.order == "desc",
        query.bodies,
        query.wait_for,
        query.timeout,
    )


def _checks(query: JournalQuery) -> Iterator[Wanted]:
    """Make a check of each filter that is given."""
    if query.id:
        yield lambda record: any(map(record.goes_by, query.id))
    if query.status:
        yield lambda record: _has_status(record, query.status)
    yield from map(_with_header, query.header)
    for filters, member in (
        (query.adapter, lambda record: record.adapter or ""),
        (query.route, lambda record: record.route),
        (query.tenant, lambda record: record.tenant or ""),
        (query.outcome, lambda record: record.outcome),
        (query.grpc_status, lambda record: record.http.grpc_status if record.http else None),
        (query.state, lambda record: record.state),
    ):
        if filters:
            yield _one_of(filters, member)
    yield from _single_checks(query)


def _single_checks(query: JournalQuery) -> Iterator[Wanted]:
    after, since = query.after, query.since
    if query.model:
        yield lambda record: record.model in query.model or record.asked in query.model
    if query.stream is not None:
        yield lambda record: record.stream is query.stream
    if after is not None:
        yield lambda record: record.number > after
    if since is not None:
        yield lambda record: record.arrived >= since


def _one_of(values: Collection[Any], member: Callable[[RequestRecord], Any]) -> Wanted:
    known = frozenset(values)
    return lambda record: member(record) in known


def _has_status(record: RequestRecord, statuses: Sequence[str]) -> bool:
    if record.http is None or not record.http.status:
        return False
    status = str(record.http.status)
    return status in statuses or f"{status[0]}xx" in statuses


def _with_header(wanted: str) -> Wanted:
    """Look for a header, by its name alone or with its value as it is shown."""
    name, colon, value = wanted.partition(":")
    name, value = name.strip().lower(), value.strip()

    def check(record: RequestRecord) -> bool:
        if record.http is None:
            return False
        found = header_of(record.http, name)
        return found is not None and (not colon or found == value)

    return check
