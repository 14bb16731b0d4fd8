"""Choosing among ranks."""

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.fakes import ScriptedSimulator
from tests.parallel.asking import OTHER, OWN, asking
from vllmsim.inference import RankLoad, TextPrompt
from vllmsim.interfaces import IPooler, ISimulator
from vllmsim.parallel.balancing import BalancedPooler, BalancedSimulator, RankBalancer, score
from vllmsim.parallel.pinning import Behaviours
from vllmsim.pooling import Pooled, PoolingInput, PoolingRequest
from vllmsim.records import RequestRecord

IDLE = RankLoad()
BEHAVIOURS = Behaviours({2: lambda: OWN, 3: lambda: OTHER})


@implementer(IPooler)
@define(eq=False)
class RecordingPooler:
    """Remembers requests."""

    requests: list[PoolingRequest] = field(factory=list)

    def pool(self, request: PoolingRequest, record: RequestRecord | None = None) -> Deferred[Sequence[Pooled]]:
        """Remember."""
        self.requests.append(request)
        return succeed([])


class BalancerTests(SynchronousTestCase):
    """Which rank is chosen."""

    def choose(self, *loads: RankLoad, times: int = 1) -> list[int]:
        """Choose among ranks 4, 5 and so on."""
        balancer = RankBalancer({4 + index: (lambda load=load: load) for index, load in enumerate(loads)})  # type: ignore[misc]
        return [balancer.choose() for _ in range(times)]

    def test_idle(self) -> None:
        """Ranks that have nothing to do take turns."""
        self.assertEqual([4, 5, 6, 4, 5], self.choose(IDLE, IDLE, IDLE, times=5))

    def test_least(self) -> None:
        """The rank with the least to do is chosen, whoever's turn it is."""
        loads = RankLoad(3, running=3), RankLoad(1, running=1), RankLoad(2, running=2)
        self.assertEqual([5, 5, 5], self.choose(*loads, times=3))

    def test_equals(self) -> None:
        """Equals take turns, also beside one that has more to do."""
        self.assertEqual([5, 5, 6, 5, 5, 6], self.choose(RankLoad(1), IDLE, IDLE, times=6))

    def test_begin(self) -> None:
        """It can begin as if nobody had been chosen yet."""
        balancer = RankBalancer({4: lambda: IDLE, 5: lambda: IDLE, 6: lambda: IDLE})
        chosen = [balancer.choose() for _ in range(2)]
        balancer.begin()
        self.assertEqual(([4, 5], 4), (chosen, balancer.choose()))

    def test_scores(self) -> None:
        """Requests in flight count, or sequences if they are more; those that wait count more in a full cache."""
        scores = {
            RankLoad(2, 0, 1): 2,
            RankLoad(1, 3, 2): 5,
            RankLoad(1, 3, 2, 0.5): 5,
            RankLoad(1, 0, 2, 1.0): 2,
            RankLoad(1, 4, 2, 0.75): 12,
            RankLoad(9, 4, 2, 1.0): 21,
        }
        self.assertEqual(scores, {load: score(load) for load in scores})


class BalancedTests(SynchronousTestCase):
    """One door for several ranks."""

    def setUp(self) -> None:
        """Have ranks 2 and 3, which are idle."""
        self.balancer = RankBalancer({2: RankLoad, 3: RankLoad})

    def test_requests(self) -> None:
        """A request that names a rank goes there and is nobody's turn; others take turns."""
        simulators = {number: ScriptedSimulator(lambda *_: None) for number in (2, 3)}
        door = BalancedSimulator(2, self.balancer, simulators, BEHAVIOURS)
        verifyObject(ISimulator, door)
        sink: Any = object()
        told: dict[str, int] = {}
        for name, rank in (("a", None), ("b", 2), ("c", 2), ("d", None), ("e", None), ("f", 3)):
            record = RequestRecord("/v1/completions", rank=2)
            self.successResultOf(door.submit(asking(name, rank), sink, record))
            told[name] = record.rank
        served = {number: [each.request_id for each in one.requests] for number, one in simulators.items()}
        self.assertEqual({2: ["a", "b", "c", "e"], 3: ["d", "f"]}, served)
        self.assertEqual({rank: [name for name, one in told.items() if one == rank] for rank in (2, 3)}, served)
        self.assertEqual([OWN, OTHER], [simulators[number].requests[0].behaviour for number in (2, 3)])

    def test_pooling(self) -> None:
        """Requests for vectors take the same turns."""
        poolers = {number: RecordingPooler() for number in (2, 3)}
        door = BalancedPooler(2, self.balancer, poolers, BEHAVIOURS)
        verifyObject(IPooler, door)
        request = PoolingRequest("embed", (PoolingInput(TextPrompt("a")),), behaviour=OWN)
        records = [RequestRecord("/v1/embeddings", rank=2) for _ in range(3)]
        for record in records:
            self.assertEqual([], self.successResultOf(door.pool(request, record)))
        self.assertEqual([2, 1], [len(each.requests) for each in poolers.values()])
        self.assertEqual([OWN, OTHER], [each.requests[0].behaviour for each in poolers.values()])
        self.assertEqual([2, 3, 2], [record.rank for record in records])
