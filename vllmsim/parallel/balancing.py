# -*- test-case-name: tests.parallel.test_balancing -*-
"""One door for several ranks, as vLLM's internal and hybrid load balancing have it.

A request goes to the rank with the lowest score: the number of its requests in flight, or of its sequences if they are
more; and where sequences wait while more than half of the KV blocks are in use, a penalty for each of them, which grows
to 3 when all are. Of equals the first is taken, and each choice begins to look at the next rank: a server that has
nothing to do has them take turns.

In vLLM the numbers of sequences come from another process and are up to 100 ms old. Here they are those of now.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from vllmsim.inference import InferenceRequest, RankLoad
from vllmsim.interfaces import IPooler, ISimulator, ITokenSink
from vllmsim.parallel.pinning import Behaviours
from vllmsim.pooling import Pooled, PoolingRequest
from vllmsim.records import RequestRecord

_PENALTY: Final = 6.0
"""How much of the KV cache's use beyond the tolerable one sequence that waits adds to the score."""
_TOLERABLE: Final = 0.5


@define(eq=False)
class RankBalancer:
    """Chooses ranks.

    :param loads: tells how much each rank has to do, by number.
    """

    _loads: Mapping[int, Callable[[], RankLoad]]
    _next: int = field(init=False, default=0)

    def begin(self) -> None:
        """Go by loads alone, whoever was chosen before."""
        self._next = 0

    def choose(self) -> int:
        """Choose the rank for a request.

        :return: its number.
        """
        ranks = [*self._loads]
        first = self._next
        self._next = (first + 1) % len(ranks)
        return min(ranks[first:] + ranks[:first], key=lambda rank: score(self._loads[rank]()))


def score(load: RankLoad) -> float:
    """Rate how much a rank has to do; see above."""
    pressure = max(0.0, load.cache_usage - _TOLERABLE)
    return max(load.in_flight, load.waiting + load.running) + load.waiting * _PENALTY * pressure


@implementer(ISimulator)
@define(eq=False)
class BalancedSimulator:
    """Serves a request on the rank that it names, or on the one with the least to do.

    :param own: the rank whose settings requests are read with.
    :param simulators: the ranks, by number.
    :param behaviours: how they serve.
    """

    _own: int
    _balancer: RankBalancer
    _simulators: Mapping[int, ISimulator]
    _behaviours: Behaviours

    def submit(
        self, request: InferenceRequest, sink: ITokenSink, record: RequestRecord | None = None
    ) -> Deferred[None]:
        """Serve a request; see :class:`vllmsim.interfaces.ISimulator`."""
        rank = self._balancer.choose() if request.rank is None else request.rank
        if record is not None:
            record.rank = rank
        return self._simulators[rank].submit(self._behaviours.move(request, self._own, rank), sink, record)


@implementer(IPooler)
@define(eq=False)
class BalancedPooler:
    """Serves a request on the rank with the least to do; like vLLM's it looks at no header.

    :param own: the rank whose settings requests are read with.
    :param poolers: the ranks, by number.
    :param behaviours: how they serve.
    """

    _own: int
    _balancer: RankBalancer
    _poolers: Mapping[int, IPooler]
    _behaviours: Behaviours

    def pool(self, request: PoolingRequest, record: RequestRecord | None = None) -> Deferred[Sequence[Pooled]]:
        """Serve a request; see :class:`vllmsim.interfaces.IPooler`."""
        rank = self._balancer.choose()
        if record is not None:
            record.rank = rank
        return self._poolers[rank].pool(self._behaviours.move(request, self._own, rank), record)
