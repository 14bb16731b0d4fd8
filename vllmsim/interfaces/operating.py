# -*- test-case-name: tests.test_interfaces -*-
"""How a rank is operated, changed and looked into while it runs."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from vllmsim.records import HttpFacts, RequestRecord

if TYPE_CHECKING:
    from vllmsim.loads import LoadFigures

PauseMode: TypeAlias = Literal["abort", "wait", "keep"]
"""What happens to sequences that run when a rank stops to generate: they end now, come to their end, or stand still."""


class IRankControl(Interface):
    """One data-parallel rank, seen by who operates it. Nothing here waits for clients."""

    def abort(ids: Collection[str]) -> int:
        """End requests with what they have said.

        :param ids: ids of answers, with or without their prefix; ``cmpl-X-1`` is the second prompt of ``cmpl-X``. An
            empty collection means every request. One whose prompts are still being read is not there yet.
        :return: how many requests were ended, wholly or in part.
        """

    def pause(mode: PauseMode, clear_cache: bool) -> Deferred[None]:
        """Let no request in until :meth:`resume`.

        :param clear_cache: forget what the prefix cache has, once nothing runs.
        :return: fires when nothing runs, or at once if what runs is kept.
        """

    def resume() -> None:
        """Go on after :meth:`pause`: let requests in, and let what was kept continue where it was."""

    def paused() -> bool:
        """Tell whether the rank is paused."""

    def sleep(level: int, mode: PauseMode) -> Deferred[None]:
        """Fall asleep, if the rank may: until :meth:`wake_up` it lets no request in.

        :param level: 0 to keep everything, 1 to move the weights out, 2 to throw them away.
        :return: fires when nothing runs, or at once if what runs is kept.
        """

    def wake_up(tags: Collection[str]) -> None:
        """Bring back some of what sleeps; the rank is awake when nothing does.

        :param tags: what to bring back, of ``weights`` and ``kv_cache``; none for all.
        """

    def sleeping() -> bool:
        """Tell whether the rank is asleep, or still in part."""

    def in_flight() -> int:
        """Count the requests that have come and are not answered yet."""

    def reset_prefix_cache(reset_running_requests: bool, reset_external: bool) -> Deferred[bool]:
        """Forget what the prefix cache has.

        :param reset_running_requests: do so even when sequences use it.
        :param reset_external: have the cache outside this server forget too.
        :return: fires with whether all of that is forgotten; it is not where no cache is outside, and should forget.
        """

    def reset_media_cache() -> None:
        """Forget which media were read."""


class IHealth(Interface):
    """How a rank is, as probes see it. Whatever they see, requests are served."""

    healthy = Attribute("bool: whether it is to be called alive; may be set.")
    willing = Attribute("bool: whether it is to be called ready, if it is; may be set.")

    def ready() -> bool:
        """Tell whether a load balancer should send requests here: the rank is loaded, serving, healthy and willing."""


class ILoads(Interface):
    """How much the ranks have to do that a port leads to, seen by who spreads requests over servers."""

    ranks = Attribute("Sequence[int]: which data-parallel ranks these are, the lowest first.")

    def figures(rank: int) -> "LoadFigures | None":
        """Tell how much a rank has to do now. It may be asked as often as somebody likes.

        :return: None if it is none of `ranks`.
        """


class IConfigurations(Interface):
    """The configurations of all ranks of a server, wherever these run, seen by who changes them while they do.

    Ranks change together unless one is named. A change is there whole or not at all: every configuration that it would
    lead to is checked before any holds. When one has been awaited, all ranks have it.

    Awaiting raises :class:`vllmsim.errors.InvalidRequest` with everything that is wrong, or when there is no such rank,
    and :class:`vllmsim.errors.Unavailable` when a rank or who knows of all does not answer.
    """

    def describe(rank: int) -> Awaitable[Mapping[str, Any]]:
        """Show what holds for a rank.

        :return: by option name, the effective values as a file would have them, sorted; no secrets.
        """

    def change(
        values: Mapping[str, object], rank: int | None, who: str, *, step: bool = False, whole: bool = False
    ) -> Awaitable[None]:
        """Change options.

        :param values: by option name, the new values as a file would have them; None leaves one as it is.
        :param rank: the one to change; None for all.
        :param who: says in the log, and in the history, who did it.
        :param step: whether it goes on with the last change, if that was a step of the same author: then both are
            undone as one, and the log does not tell of each.
        :param whole: whether None takes a value away, and values that could change in part change as a whole.
        """

    def undo(who: str) -> Awaitable[None]:
        """Have all ranks have again what they had before the latest change that is not undone.

        Awaiting raises :class:`vllmsim.errors.Conflict` when there is none.
        """

    def history() -> Awaitable[Sequence[Mapping[str, Any]]]:
        """Tell what has changed.

        :return: the latest first, of each change ``when`` in seconds since the epoch, ``who``, ``what`` was done
            (``change``, ``undo`` or ``reload``), and as ``changes`` each ``option``, its ``old`` and ``new`` value, and
            the ``ranks`` where it changed so.
        """


class IScenarios(Interface):
    """Scenarios, seen by who starts and stops them. One is played at a time."""

    def start(text: bytes, *, json: bool, rank: int | None, replace: bool) -> Awaitable[None]:
        """Read a scenario, check all of it, and begin it.

        Awaiting raises :class:`vllmsim.errors.InvalidRequest` with everything that is wrong with it, and
        :class:`vllmsim.errors.Conflict` when one is played.

        :param json: whether the text is JSON, or else YAML.
        :param rank: the data-parallel rank that it is for; None for what it says itself.
        :param replace: stop the one that is played first.
        """

    def stop() -> Awaitable[bool]:
        """Stop the scenario that is played, and have back what was before, unless it says otherwise.

        Awaiting gives whether there was one.
        """

    def describe() -> Mapping[str, Any]:
        """Tell what is played, or was last: what JSON can say."""


class ITimeControl(Interface):
    """The simulated time of the ranks of a process. Several may move it: they have their turns."""

    def describe() -> Mapping[str, Any]:
        """Tell the time.

        :return: ``clock``, which is real or virtual; ``time_scale``, how many seconds pass in a real one; ``now``, in
            seconds since the start; ``time``, in seconds since the epoch; and how many ``requests`` have come, and how
            many are ``unfinished``.
        """

    def advance(seconds: float, requests: int, timeout: float) -> Awaitable[None]:
        """Have a virtual clock go on, with all that happens meanwhile.

        Awaiting raises :class:`vllmsim.errors.Conflict` when the clock is not virtual, or the time limit is over; time
        stays then where it has come to.

        :param seconds: by how many.
        :param requests: how many must have come first, since the start.
        :param timeout: real seconds that all of it may take.
        """

    def run_until_idle(limit: float, requests: int, timeout: float) -> Awaitable[None]:
        """Have a virtual clock go on until nothing is to come any more that is a request's.

        Awaiting raises what :meth:`advance` raises, and :class:`vllmsim.errors.Conflict` when there is still something
        to come at the limit.

        :param limit: by how many simulated seconds at most.
        :param requests: how many must have come first, since the start.
        :param timeout: real seconds that all of it may take.
        """


class IRequestObserver(Interface):
    """What is told of each request that the journal remembers when that has come to its end."""

    def ended(record: RequestRecord) -> None:
        """Learn of one. Nobody changes its record any more, but for :attr:`RequestRecord.span_trace`.

        It is called for each request, and must neither wait nor raise.
        """


class IJournal(Interface):
    """What remembers the requests of one rank: those that are under way, and so many of those that have ended."""

    dropped = Attribute("int: how many requests that had ended were forgotten to make room for others.")
    number = Attribute("int: how many requests have come.")

    def begin(route: str, http: HttpFacts | None) -> RequestRecord | None:
        """Begin to remember a request.

        :param route: the template of the path that it came on, or the method of another protocol.
        :param http: what it is over HTTP, with its whole body, of which no more is kept than the operator wants.
        :return: its record; None if none is wanted.
        """

    def end(record: RequestRecord, *, gone: bool = False) -> None:
        """Learn that a request has come to its end. Nobody changes its record any more.

        :param gone: whether the client left before its answer was complete.
        """

    def records() -> list[RequestRecord]:
        """List all requests in the order in which they came. Those that are under way go on to change."""

    def find(name: str) -> RequestRecord | None:
        """Find one request; the last of several.

        :param name: the id of its answer, with or without its prefix, or its number.
        """

    def forget() -> int:
        """Forget all that have ended.

        :return: how many they were.
        """

    def ended(wanted: Callable[[RequestRecord], bool], count: int, timeout: float) -> Deferred[None]:
        """Wait until so many of the requests that somebody wants to see have ended.

        :param timeout: seconds after which nobody waits any more.
        :return: fires then, or when the time is over, or the server stops.
        :raises vllmsim.errors.Overloaded: when too many wait already.
        """
