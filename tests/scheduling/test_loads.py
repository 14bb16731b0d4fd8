"""What gateways are told of a rank's load."""

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.assembly.test_joining import GroupTestCase
from tests.harness import RankTestCase
from vllmsim.interfaces import ILoads
from vllmsim.loads import LoadFigures, Progress
from vllmsim.scheduling.loads import Pace


class PaceTests(SynchronousTestCase):
    """How fast a rank is, and how much of its prompts is cached."""

    def setUp(self) -> None:
        """Begin at a time that is not 0, with something done already."""
        self.clock = Clock()
        self.clock.advance(100)
        self.done = Progress(1000, 10, 500, 100)
        self.pace = Pace(self.clock, lambda: self.done)
        self.pace.begin()
        self.pace.look()

    def do(self, *steps: tuple[float, Progress]) -> None:
        """Let time pass, and be done what is done then."""
        for seconds, done in steps:
            self.clock.advance(seconds)
            self.done = done
            self.pace.look()

    def generate(self, *steps: tuple[float, float]) -> Sequence[float]:
        """Generate tokens, each time after some seconds.

        :return: the throughput after each.
        """
        told = []
        for seconds, tokens in steps:
            self.do((seconds, Progress(self.done.generated + tokens, 10, 500, 100)))
            told.append(self.pace.throughput())
        return told

    def test_first(self) -> None:
        """What was generated before the first look is not lately; all prompts are."""
        self.assertEqual((0.0, 0.2), (self.pace.throughput(), self.pace.hit_rate()))

    def test_throughput(self) -> None:
        """Tokens count for two seconds."""
        self.assertEqual(
            [5, 10, 15, 15, 15, 10, 5, 0], [*self.generate((0.5, 10), (0.5, 10), (0.5, 10), (0.5, 0), *[(0.5, 0)] * 4)]
        )

    def test_later(self) -> None:
        """They are forgotten also when nothing is generated any more, and one looks again after a day."""
        self.generate((1, 10))
        self.clock.advance(86400)
        self.assertEqual(0, self.pace.throughput())
        self.assertEqual([2], [*self.generate((0, 4))])

    def test_quick(self) -> None:
        """However many times a second something is generated, little is remembered, and nothing lost."""
        told = self.generate(*[(0.0005, 1)] * 8000)
        self.assertAlmostEqual(2000, told[-1], delta=20)
        self.assertLess(len(self.pace._generated), 210)

    def test_silence(self) -> None:
        """How long nothing has been generated is known from the first token on."""
        self.assertIsNone(self.pace.silence())
        self.generate((1, 1), (2, 0))
        self.assertEqual(2.0, self.pace.silence())
        self.generate((0, 1))
        self.assertEqual(0.0, self.pace.silence())

    def test_hits(self) -> None:
        """The share of cached tokens is that of the latest 64 prompts, however many come at a time."""
        self.do(*[(1, Progress(0, 10 + n, 500 + 10 * n, 100)) for n in range(1, 64)])
        self.assertEqual(100 / 1130, self.pace.hit_rate())
        self.do((1, Progress(0, 74, 1140, 110)))
        self.assertEqual(10 / 640, self.pace.hit_rate())
        self.do((1, Progress(0, 174, 2140, 610)))
        self.assertEqual(0.5, self.pace.hit_rate())

    def test_nothing(self) -> None:
        """Without prompts nothing is cached."""
        pace = Pace(self.clock, Progress)
        pace.begin()
        self.assertEqual((0.0, 0.0), (pace.throughput(), pace.hit_rate()))


class _Looked(dict[Any, None]):
    """Counts how many are looked at."""

    count = 0

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():
            self.count += 1
            yield each

    def __reversed__(self) -> Iterator[Any]:
        for each in super().__reversed__():
            self.count += 1
            yield each


class RankLoadsTests(RankTestCase):
    """A whole rank's."""

    def figures(self) -> LoadFigures:
        """Ask."""
        figures = self.loads.figures(0)
        assert figures is not None
        return figures

    def start(self, *words: str) -> None:
        """Start a rank whose tokens come every 100 ms."""
        self.make_rank("--time-to-first-token", "100ms", "--inter-token-latency", "100ms", *words)
        self.loads = self.rank.loads()

    def test_idle(self) -> None:
        """A rank that does nothing says how much it may do."""
        self.start("--max-num-seqs", "3")
        verifyObject(ILoads, self.loads)
        self.assertIs(self.loads, self.rank.loads())
        self.assertEqual([0], [*self.loads.ranks])
        self.assertEqual(LoadFigures(0, most_running=3), self.figures())
        self.assertIsNone(self.loads.figures(1))

    def test_busy(self) -> None:
        """What runs and what waits is counted, and the prompts of those that wait; choices count theirs once."""
        self.start("--max-num-seqs", "2")
        self.figures()
        self.complete("one two three", max_tokens=30, ignore_eos=True)
        self.complete("one two three four", max_tokens=30, ignore_eos=True)
        self.complete("five six", n=3, max_tokens=30, ignore_eos=True)
        self.complete("seven", max_tokens=30, ignore_eos=True)
        self.assertEqual(LoadFigures(0, 2, 4, 2, uncached_tokens=3), self.figures())
        self.clock.pump([0.1] * 20)
        self.assertEqual(20.0, self.figures().throughput)
        self.clock.pump([0.1] * 75)
        self.assertEqual((0, 0), (self.figures().running, self.figures().waiting))
        self.clock.advance(2.1)
        figures = self.figures()
        self.assertEqual(LoadFigures(0, most_running=2), evolve(figures, silence=None))
        self.assertLess(2.0, figures.silence or 0.0)

    def test_long_queue(self) -> None:
        """Who asks is told of what waits without a look at each that does, whatever has happened to those before."""
        self.start("--max-num-seqs", "2", "--max-waiting-queue-length", "1000", "--server-dev-mode")
        for number in range(120):
            self.complete(
                "one " * (1 + number % 7), n=1 + number % 3, max_tokens=2 + number % 2, request_id=f"r{number}"
            )
        backlog = self.rank.backlog
        for number in range(0, 120, 3):
            self.clock.advance(0.1)
            self.post("/abort_requests", {"request_ids": [f"r{number}"]})
            figures, looked = self.figures(), _Looked(backlog.sequences)
            unread = [each for each in backlog.sequences if not each.prefilled]
            waiting = unread[len(unread) - figures.waiting :]
            told = sum(len(each.prompt.ids) for each in waiting if not each.choice % each.sampling.n)
            self.assertEqual(told, figures.uncached_tokens)
            backlog.sequences = looked
            self.assertEqual(figures, self.figures())
            self.assertLess(looked.count, 6)
            backlog.sequences = dict(looked)
        self.assertLess(100, figures.waiting)

    def test_cache(self) -> None:
        """With a KV cache its use is told in tokens too, and what waits is expected to be cached as others were."""
        self.start("--max-num-seqs", "1", "--enable-kvcache", "--kv-cache-size", "11", "--block-size", "8")
        prompt = "a b c d e f g h i j k l m n o p q"
        for _ in range(2):
            self.complete(prompt, max_tokens=1)
            self.clock.pump([0.1, 0.1])
        figures = self.figures()
        self.assertEqual((88, 0, 16 / 34), (figures.cache_tokens, figures.used_tokens, figures.hit_rate))
        self.complete("z", max_tokens=5, ignore_eos=True)
        self.complete("a b c d e f g h i j k l m n o p q r s", max_tokens=5)
        figures = self.figures()
        self.assertEqual((0.1, 9), (figures.cache_usage, figures.used_tokens))
        self.assertEqual((1, 10), (figures.waiting, figures.uncached_tokens))

    def test_limit(self) -> None:
        """How many may run is what holds now."""
        self.start("--max-num-seqs", "3")
        self.post("/admin/config", {"max-num-seqs": 5})
        self.assertEqual(5, self.figures().most_running)

    def test_frozen(self) -> None:
        """While a rank stands still it is as slow as that."""
        self.start("--server-dev-mode")
        self.figures()
        self.complete("one", max_tokens=90, ignore_eos=True)
        self.clock.pump([0.1] * 20)
        self.assertEqual(10.0, self.figures().throughput)
        self.post("/pause?mode=keep", b"")
        self.clock.pump([0.1] * 20)
        self.assertEqual((0.0, 1), (self.figures().throughput, self.figures().running))


class GroupLoadsTests(GroupTestCase):
    """Several ranks."""

    def test_ports(self) -> None:
        """A rank with a port of its own is the only one that this tells of."""
        self.make("-dp", "2")
        self.assertEqual([[0], [1]], [[*rank.loads().ranks] for rank in self.ranks])

    def test_joint(self) -> None:
        """A port of several ranks tells of each."""
        self.make("-dp", "3", "--data-parallel-internal-lb", "--inter-token-latency", "1s")
        self.ask(rank=2)
        loads = self.ranks[0].loads()
        self.assertEqual([0, 1, 2], [*loads.ranks])
        told = [loads.figures(rank) for rank in range(4)]
        self.assertEqual([(0, 0), (1, 0), (2, 1)], [(each.rank, each.running) for each in told if each is not None])
        self.assertIsNone(told[3])
