"""What ``GetLoads`` answers."""

from collections.abc import Sequence

from attrs import frozen
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from vllmsim.api.engine.loads import loads_of, scheduler_load
from vllmsim.errors import InvalidRequest
from vllmsim.interfaces import ILoads
from vllmsim.loads import LoadFigures


@implementer(ILoads)
@frozen(eq=False)
class GivenLoads:
    """Tells of some ranks; as many sequences run on each as its number says."""

    ranks: Sequence[int] = (4, 5, 6)

    def figures(self, rank: int) -> LoadFigures | None:
        """Tell of one."""
        return LoadFigures(rank, running=rank) if rank in self.ranks else None


class LoadsTests(SynchronousTestCase):
    """Figures and ranks."""

    def ask(self, rank: int | None = None) -> pb.GetLoadsResponse:
        """Ask for the loads of some ranks."""
        request = pb.GetLoadsRequest(include=["core", "x"], **({} if rank is None else {"dp_rank": rank}))
        return loads_of(request, GivenLoads(), "0.33.0", 1795339833.25)

    def test_figures(self) -> None:
        """Each figure has its place, and what is used is told in tokens too."""
        figures = LoadFigures(3, 2, 5, 8, 0.25, 1000, 77, 12.5, 0.75)
        expected = pb.SchedulerLoad(
            dp_rank=3,
            num_running_reqs=2,
            num_waiting_reqs=5,
            num_total_reqs=7,
            num_used_tokens=250,
            max_total_num_tokens=1000,
            token_usage=0.25,
            gen_throughput=12.5,
            cache_hit_rate=0.75,
            utilization=0.25,
            max_running_requests=8,
            num_waiting_uncached_tokens=77,
        )
        self.assertEqual(expected, scheduler_load(figures))

    def test_too_large(self) -> None:
        """More than an integer there can hold is told as the largest."""
        load = scheduler_load(LoadFigures(0, 0, 0, 1 << 40, 1.0, 1 << 41, 1 << 42))
        told = {load.max_running_requests, load.max_total_num_tokens, load.num_used_tokens}
        self.assertEqual({2**31 - 1}, told | {load.num_waiting_uncached_tokens})

    def test_all(self) -> None:
        """Without a rank all are told, the lowest first, with the time and the release."""
        answer = self.ask()
        self.assertEqual([(4, 4), (5, 5), (6, 6)], [(each.dp_rank, each.num_running_reqs) for each in answer.loads])
        self.assertEqual((3, "0.33.0"), (answer.dp_rank_count, answer.version))
        self.assertEqual("2026-11-22T09:30:33.250000+00:00", answer.timestamp)

    def test_one(self) -> None:
        """A rank is named by its number, or counted from 0; what is neither is refused."""
        told = [[each.dp_rank for each in self.ask(rank).loads] for rank in (0, 2, 5, 6)]
        self.assertEqual([[4], [6], [5], [6]], told)
        for rank in (3, 7, -1):
            error = self.assertRaises(InvalidRequest, self.ask, rank)
            self.assertEqual(f"dp_rank {rank} is out of range [0, 3).", error.message)
