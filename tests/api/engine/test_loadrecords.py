"""How much a rank has to do, told to subscribers of KV events."""

from attrs import evolve
from smg_grpc_proto.generated import common_pb2 as pb
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.api.engine.loadrecords import LoadRecorder
from vllmsim.loads import LoadFigures

BUSY = LoadFigures(0, 3, 2, 8, 0.5, 1000, 77, 120.0, 0.25)
CORE = pb.EngineLoad(
    running_requests=3,
    waiting_requests=2,
    waiting_uncached_tokens=77,
    token_usage=0.5,
    gen_throughput=120.0,
    max_running_requests=8,
)
TELEMETRY = pb.EngineLoad(cache_hit_rate=0.25, num_used_tokens=500, max_total_num_tokens=1000)


def record(*parts: pb.EngineLoad, sample: int, alone: bool = False) -> pb.EngineLoad:
    """Make a record of its parts."""
    whole = pb.EngineLoad(sample=sample, load_only=alone)
    for part in parts:
        whole.MergeFrom(part)
    return whole


class LoadRecorderTests(SynchronousTestCase):
    """What is told, and when."""

    def make(self, *ranks: int, early: bool = False) -> None:
        """Begin a subscription at the time 100."""
        self.figures = {rank: evolve(BUSY, rank=rank) for rank in ranks or (0,)}
        self.recorder = LoadRecorder(self.figures.get, ranks or (0,), early, 100.0)

    def stamp(self, sequence: int, now: float, rank: int = 0) -> pb.EngineLoad:
        """Send a batch with events."""
        return self.recorder.stamp(pb.KvEventBatch(sequence_number=sequence, dp_rank=rank), now).load

    def due(self, *times: float) -> list[tuple[int, int]]:
        """Look whether something is to be told; tell the numbers of batches and of records."""
        found = []
        for now in times:
            for batch in self.recorder.due(now, 7.5):
                self.assertEqual(([], 7.5, True), ([*batch.events], batch.timestamp, batch.load.load_only))
                found.append((batch.sequence_number, batch.load.sample))
        return found

    def test_batches(self) -> None:
        """A batch tells its rank's load; what dashboards show comes with the first and with those that come alone."""
        self.make()
        self.assertEqual(record(CORE, TELEMETRY, sample=1), self.stamp(4, 100.5))
        self.assertEqual(record(CORE, sample=2), self.stamp(5, 100.6))
        [batch] = self.recorder.due(101.6, 7.5)
        self.assertEqual(record(CORE, TELEMETRY, sample=3, alone=True), batch.load)
        self.assertEqual((5, 0), (batch.sequence_number, batch.dp_rank))

    def test_large(self) -> None:
        """A cache of more tokens than there are numbers for is as large as these say."""
        self.make()
        most = 2**31 - 1
        self.figures[0] = evolve(BUSY, cache_tokens=2**40, uncached_tokens=2**40)
        load = self.stamp(0, 101)
        told = load.max_total_num_tokens, load.num_used_tokens, load.waiting_uncached_tokens
        self.assertEqual((most, most, most), told)

    def test_unknown(self) -> None:
        """Where nothing is known of a rank, a batch goes without, and nothing comes alone."""
        self.make()
        del self.figures[0]
        batch = self.recorder.stamp(pb.KvEventBatch(sequence_number=4), 100.0)
        self.assertFalse(batch.HasField("load"))
        self.assertEqual([], self.due(200.0))

    def test_quiet(self) -> None:
        """While nothing changes, a record comes after a second, another one after the next, and then every five."""
        self.make()
        self.stamp(4, 100.0)
        seconds = [100 + tenth / 10 for tenth in range(1, 180)]
        self.assertEqual([101.0, 102.0, 107.0, 112.0, 117.0], [now for now in seconds if self.due(now)])

    def test_batch_ends_quiet(self) -> None:
        """A batch begins the time anew."""
        self.make()
        self.stamp(4, 100.0)
        self.due(101.0, 102.0)
        self.stamp(5, 103.0)
        self.assertEqual([], self.due(103.9))
        self.assertEqual([(5, 5), (5, 6)], self.due(104.0, 105.0))

    def test_changes(self) -> None:
        """A load that is another is told at the next look, however small a count's change is."""
        others = [
            evolve(BUSY, running=4),
            evolve(BUSY, waiting=1),
            evolve(BUSY, uncached_tokens=76),
            evolve(BUSY, most_running=9),
            evolve(BUSY, cache_usage=0.51),
            evolve(BUSY, throughput=127.0),
        ]
        for figures in others:
            self.make()
            self.stamp(4, 100.0)
            self.figures[0] = figures
            self.assertEqual([(4, 2)], self.due(100.1, 100.2), figures)

    def test_small_changes(self) -> None:
        """A share that changes by half a percent, and a throughput that changes by a twentieth, are the same still."""
        similar = evolve(BUSY, cache_usage=0.504), evolve(BUSY, throughput=114.5), evolve(BUSY, hit_rate=0.9)
        for figures in similar:
            self.make()
            self.stamp(4, 100.0)
            self.figures[0] = figures
            self.assertEqual([], self.due(100.1, 100.9), figures)

    def test_fast(self) -> None:
        """Of a high throughput fifty tokens per second are a change."""
        self.make()
        self.figures[0] = evolve(BUSY, throughput=5000.0)
        self.stamp(4, 100.0)
        self.figures[0] = evolve(BUSY, throughput=5050.0)
        self.assertEqual([], self.due(100.1))
        self.figures[0] = evolve(BUSY, throughput=5051.0)
        self.assertEqual([(4, 2)], self.due(100.2))

    def test_before_first_batch(self) -> None:
        """Before the first batch nothing comes alone, as there is no number to tell again."""
        self.make()
        self.assertEqual([], self.due(100.0, 110.0))

    def test_early(self) -> None:
        """Who wants them is sent records from the beginning, in batches with the number 0."""
        self.make(early=True)
        self.assertEqual([(0, 1), (0, 2)], self.due(100.0, 100.9, 101.0))
        self.stamp(7, 101.5)
        self.assertEqual([(7, 4)], self.due(102.5))

    def test_ranks(self) -> None:
        """Each rank has its own load and its own last number; records are counted together."""
        self.make(2, 5)
        self.assertEqual(3, self.stamp(4, 100.0, 2).running_requests)
        self.assertEqual([(4, 2)], self.due(101.0))
        self.stamp(9, 101.5, 5)
        self.figures[5] = evolve(BUSY, rank=5, running=7)
        [batch] = self.recorder.due(101.6, 7.5)
        self.assertEqual((9, 5, 7), (batch.sequence_number, batch.dp_rank, batch.load.running_requests))
        self.assertEqual([(4, 5), (9, 6)], self.due(102.6))
