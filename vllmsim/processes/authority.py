# -*- test-case-name: tests.processes.test_authority -*-
"""Who knows the configurations of ranks that have a process each: the supervisor.

A rank's process that is to change something asks here. What holds then is told to the processes of all ranks whose
configuration is another now, and the answer comes when they have it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vllmsim.announcing import Load
from vllmsim.config.changes import LiveConfigurations
from vllmsim.config.loading import Loaded
from vllmsim.config.schema import Configuration
from vllmsim.errors import InferenceError, Unavailable
from vllmsim.processes.wire import Message, Wire, pack

PATIENCE: Final = 5.0
"""Seconds that a rank may take to have a new configuration."""
_METHODS: Final = frozenset({"describe", "change", "undo", "history"})


@define(eq=False)
class _Link:
    """A rank's process.

    :param received: takes what it says.
    """

    _received: Callable[["_Link", Message], object]
    wire: Wire = field(init=False)
    """How it is reached."""
    listens: bool = field(init=False, default=False)
    told: int = field(init=False, default=0)
    """The version of the configuration that it was told last; 0 for the one that it began with."""
    has: int = field(init=False, default=0)
    """The version that it says it has."""
    waiting: list[tuple[int, Deferred[None]]] = field(init=False, factory=list)
    """Who waits until it has a version."""
    load: tuple[int, int] = field(init=False, default=(0, 0))
    """How many sequences it said that run, and wait."""

    @wire.default
    def _make_wire(self) -> Wire:
        return Wire(partial(self._received, self))


@define(eq=False)
class ConfigurationAuthority:
    """Has the configurations of all ranks, and their processes have the same."""

    _log: ClassVar[Logger] = Logger()

    _configurations: LiveConfigurations
    _clock: IReactorTime
    _links: dict[int, _Link] = field(init=False, factory=dict)
    _version: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        for rank, live in self._configurations.ranks.items():
            live.watch(partial(self._tell, rank))

    def current(self, rank: int) -> Configuration:
        """Find what holds for a rank."""
        return self._configurations.ranks[rank].current

    def link(self, rank: int) -> Wire:
        """Learn that a rank has a process.

        :return: how it is reached.
        """
        self.unlink(rank)
        link = self._links[rank] = _Link(partial(self._received, rank))
        return link.wire

    def listening(self, rank: int) -> None:
        """Learn that it listens: from now on changes wait for it."""
        self._links[rank].listens = True

    def unlink(self, rank: int) -> None:
        """Learn that it has ended. Harmless when it has none."""
        link = self._links.pop(rank, None)
        if link is not None:
            link.wire.transport = None
            link.has = link.told
            _release(link)

    def load(self) -> Load:
        """Tell what the ranks that listen have to do, as they said last."""
        loads = [link.load for link in self._links.values() if link.listens]
        return Load(len(loads), sum(running for running, _ in loads), sum(waiting for _, waiting in loads))

    async def reload(self, loaded: Loaded, who: str) -> None:
        """Take over what the sources of the configuration say now, in all processes.

        :raises InvalidRequest: when that does not go with what has been changed in between.
        :raises Unavailable: when a rank does not take it in time.
        """
        await self._configurations.reload(loaded, who)
        await self._all_have_it()

    def _tell(self, rank: int, _: Configuration, configuration: Configuration) -> None:
        link = self._links.get(rank)
        if link is not None:
            self._version += 1
            link.told = self._version
            link.wire.send(version=self._version, configuration=pack(configuration))

    def _received(self, rank: int, link: _Link, message: Message) -> None:
        if "has" in message:
            link.has = message["has"]
            _release(link)
        elif "load" in message:
            running, waiting = message["load"]
            link.load = running, waiting
        else:
            answering = Deferred.fromCoroutine(self._answer(link.wire, message))
            answering.addErrback(lambda reason: self._log.failure("Rank {rank} asked in vain.", reason, rank=rank))

    async def _answer(self, wire: Wire, message: Message) -> None:
        number = message["ask"]
        try:
            value = await self._do(message["method"], message["arguments"])
        except InferenceError as error:
            wire.send(answer=number, error=type(error).__name__, message=error.message, param=error.param)
        else:
            wire.send(answer=number, value=value)

    async def _do(self, method: str, arguments: Mapping[str, Any]) -> Any:
        assert method in _METHODS
        value = await getattr(self._configurations, method)(**arguments)
        await self._all_have_it()
        return value

    async def _all_have_it(self) -> None:
        """Wait until the processes of all ranks that listen have what they were told.

        :raises Unavailable: when one has not in time.
        """
        waiting: dict[int, Deferred[None]] = {}
        for rank, link in self._links.items():
            if link.listens and link.has < link.told:
                waiting[rank] = Deferred[None]().addTimeout(PATIENCE, self._clock)
                link.waiting.append((link.told, waiting[rank]))
        late = []
        for rank, each in waiting.items():
            try:
                await each
            except DeferredTimeoutError:
                late.append(str(rank))
        if late:
            ranks = ", ".join(late)
            raise Unavailable(
                f"The configuration has changed, but rank {ranks} has not taken it within {PATIENCE:g} s."
            )


def _release(link: _Link) -> None:
    """Tell those who wait for what a rank has."""
    there = [each for version, each in link.waiting if version <= link.has]
    link.waiting = [(version, each) for version, each in link.waiting if version > link.has]
    for each in there:
        if not each.called:
            each.callback(None)
