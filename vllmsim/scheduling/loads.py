# -*- test-case-name: tests.scheduling.test_loads -*-
"""How much a rank has to do, and how fast it does it, for gateways that spread requests over servers.

vLLM's scheduler does not tell how fast it is, nor how much those that wait will cost. Its gRPC server makes estimates,
and so does this module, by the same rules: tokens per second are those of the latest two seconds; the share of prompts
that is cached is that of the latest 64; and what of the prompts that wait is not cached is guessed by that share.

As long as nobody asks, nothing is remembered for it, so that it costs those nothing who do not. The first who asks is
told that nothing is generated, and the share of all prompts so far.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from vllmsim.inference import RankLoad
from vllmsim.interfaces import ILoads
from vllmsim.loads import LoadFigures, Progress
from vllmsim.scheduling.backlog import Backlog
from vllmsim.scheduling.limits import RankLimits

WINDOW: Final = 2.0
"""Seconds over which tokens per second are counted."""
PROMPTS: Final = 64
"""How many prompts the share of cached tokens is of."""
_GRAIN: Final = 0.01
"""Seconds that count as one moment: the fewest between two that are remembered."""


@define(eq=False)
class Pace:
    """Remembers what a rank has done lately.

    :param progress: tells what it has done.
    """

    _clock: IReactorTime
    _progress: Callable[[], Progress]
    _generated: deque[tuple[float, float]] = field(init=False, factory=deque)
    """How many tokens had been generated at some moments: the first before the window, the others in it."""
    _prompts: deque[Progress] = field(init=False)
    """What had been done at some moments: the first is what the latest prompts are counted from."""

    _latest: float | None = field(init=False, default=None)
    """When more had been generated than before."""

    @_prompts.default
    def _begin(self) -> deque[Progress]:
        return deque([Progress()])

    def begin(self) -> None:
        """Remember what has been done until now."""
        self._generated.append((self._clock.seconds(), self._progress().generated))

    def look(self) -> None:
        """Remember what has been done; to be called whenever that is more."""
        now, progress, moments, prompts = self._clock.seconds(), self._progress(), self._generated, self._prompts
        if progress.prompts != prompts[-1].prompts:
            prompts.append(progress)
            while prompts[1].prompts <= progress.prompts - PROMPTS:
                prompts.popleft()
        # The first moment stays as it is: what has been done since is in the window.
        if progress.generated != moments[-1][1]:
            self._latest = now
            if len(moments) > 1 and now - moments[-1][0] < _GRAIN:
                moments[-1] = moments[-1][0], progress.generated
            else:
                moments.append((now, progress.generated))
        self._forget(now)

    def silence(self) -> float | None:
        """Tell for how many seconds nothing has been generated; None if nothing has been at all."""
        return None if self._latest is None else self._clock.seconds() - self._latest

    def throughput(self) -> float:
        """Tell how many tokens per second have been generated lately."""
        self._forget(self._clock.seconds())
        return (self._generated[-1][1] - self._generated[0][1]) / WINDOW

    def hit_rate(self) -> float:
        """Tell which share of the latest prompts' tokens was not computed."""
        before, now = self._prompts[0], self._prompts[-1]
        read = now.read - before.read
        return (now.found - before.found) / read if read else 0.0

    def _forget(self, now: float) -> None:
        """Leave out what is older than the window, but for the last of it."""
        moments = self._generated
        while len(moments) > 1 and now - moments[1][0] > WINDOW:
            moments.popleft()


@implementer(ILoads)
@define(eq=False)
class RankLoads:
    """Tells how much one rank has to do.

    :param number: which rank it is.
    :param load: counts what waits and what runs.
    :param limits: tells how many sequences may run.
    :param cache_tokens: how many tokens the KV cache holds; 0 where none is simulated.
    :param progress: tells what the rank has done.
    :param watch: has somebody called whenever that is more.
    """

    _number: int
    _load: Callable[[], RankLoad]
    _backlog: Backlog
    _limits: Callable[[], RankLimits]
    _cache_tokens: int
    _watch: Callable[[Callable[[], None]], None]
    _pace: Pace
    _watching: bool = field(init=False, default=False)

    @property
    def ranks(self) -> Sequence[int]:
        """The rank."""
        return (self._number,)

    def figures(self, rank: int) -> LoadFigures | None:
        """Tell how much it has to do; see :class:`vllmsim.interfaces.ILoads`."""
        if rank != self._number:
            return None
        if not self._watching:
            self._watching = True
            self._pace.begin()
            self._pace.look()
            self._watch(self._pace.look)
        load, hit_rate = self._load(), self._pace.hit_rate()
        return LoadFigures(
            rank,
            load.running,
            load.waiting,
            self._limits().running,
            load.cache_usage,
            self._cache_tokens,
            round(self._waiting_tokens(load.waiting) * (1.0 - hit_rate)),
            self._pace.throughput(),
            hit_rate,
            self._pace.silence(),
        )

    def _waiting_tokens(self, waiting: int) -> int:
        """Count the tokens of the prompts that wait: of those whose first token is not out, they came last.

        Choices of one prompt do not count it twice, as it is cached for the second. Those that do not wait are counted
        here, as they are few, and many may wait.
        """
        backlog = self._backlog
        unread = (each for each in backlog.sequences if not each.prefilled)
        first = islice(unread, max(0, backlog.unread - waiting))
        return backlog.unread_tokens - sum(len(each.prompt.ids) for each in first if each.counts_prompt)
