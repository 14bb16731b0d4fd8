"""The door into a rank."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import (
    FixedLatency,
    FixedSource,
    GivenAdapters,
    GivenCache,
    PlainComposer,
    RecordingMetrics,
    RecordingSink,
    SlowSource,
    in_thread,
    request_for,
)
from vllmsim.dataset.sentences import SentenceSource
from vllmsim.errors import InvalidRequest, QueueFull, Unavailable
from vllmsim.inference import Answer, HashedPrompt, InferenceRequest, Prefill, TokenizedPrompt, Tokens
from vllmsim.interfaces import IKVCache
from vllmsim.kvcache.absent import NoCache
from vllmsim.scheduling.admission import Admission
from vllmsim.scheduling.backlog import Backlog
from vllmsim.scheduling.behaviour import Behaviour
from vllmsim.scheduling.drawn import DrawnCourse
from vllmsim.scheduling.generation import generate
from vllmsim.scheduling.lifecycle import rank_lifecycle
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.pacing import TokenPacer
from vllmsim.scheduling.sequence import Sequence
from vllmsim.scheduling.simulator import RankSimulator
from vllmsim.scheduling.slots import SequenceSlots
from vllmsim.scheduling.waiting import WaitingQueue
from vllmsim.tokenization.words import WordTokenizer


class SimulatorTests(SynchronousTestCase):
    """Requests go in, tokens come out, and nothing is lost."""

    def setUp(self) -> None:
        """Have a rank of two slots and two waiting places, whose answers take a second."""
        self.clock = Clock()
        self.metrics = RecordingMetrics()
        self.tokenizer = WordTokenizer(in_thread)
        self.source: FixedSource | SentenceSource | SlowSource = FixedSource(["yes ", "no"])
        self.latency = FixedLatency(1.0)
        self.cache: IKVCache = NoCache()
        self.build()

    def build(self, seed: int = 1) -> None:
        """Wire the rank."""
        self.lifecycle = rank_lifecycle(self.clock, 0)
        self.pacer = TokenPacer(self.clock, self.metrics.iteration_finished)
        self.limits = RankLimits(2, 2)
        self.adapters = GivenAdapters()
        self.waiting = WaitingQueue(lambda: self.limits, self.adapters)
        self.model = Model(self.clock, self.tokenizer, self.pacer, self.metrics, self.metrics)
        self.slots = SequenceSlots(
            self.clock, self.waiting, lambda: self.limits, self.generate, self.metrics, self.metrics
        )
        admission = Admission(self.clock, self.tokenizer, 100, 20)
        self.backlog = Backlog(lambda: self.limits, self.metrics)
        self.simulator = RankSimulator(
            self.clock,
            self.lifecycle,
            admission,
            self.cache,
            self.backlog,
            self.slots,
            lambda: self.cache.running,
            self.metrics,
            lambda: Behaviour(self.latency, composer=PlainComposer(self.source)),
            seed,
        )
        self.lifecycle.start()
        self.pacer.start()
        self.slots.start()
        self.clock.advance(0)

    def generate(self, sequence: Sequence) -> Deferred[int]:
        """Run a sequence."""
        course = DrawnCourse(self.model, self.cache, lambda: self.slots.running, sequence)
        return generate(self.model, sequence, course)

    def submit(self, request: InferenceRequest | None = None) -> tuple[RecordingSink, Deferred[None]]:
        """Submit a request."""
        sink = RecordingSink()
        served = self.simulator.submit(request or request_for("hello"), sink)
        self.clock.advance(0)
        return sink, served

    def test_served(self) -> None:
        """A request is served to the last token of every choice, and the sink is started once."""
        sink, served = self.submit(request_for("a b", "c", n=2, max_tokens=9))
        self.assertEqual(4, len([None for name in self.metrics.names() if name == "queued"]))
        self.clock.pump([1, 1])
        self.assertIs(None, self.successResultOf(served))
        self.assertEqual([("started", [2, 1])], [call for call in sink.calls if call[0] == "started"])
        self.assertEqual(["yes no"] * 4, [sink.said(choice) for choice in range(4)])
        self.assertEqual([("prompt", 2, 3)] * 2, [each for each in self.metrics.heard if each[0] == "prompt"])

    def test_refused(self) -> None:
        """A request that can never be served is refused at once."""
        sink, served = self.submit(request_for("a " * 200))
        self.failureResultOf(served, InvalidRequest)
        self.assertEqual([], sink.calls)
        self.assertEqual([], self.metrics.heard)

    def test_load(self) -> None:
        """Whoever has a slot and no answer yet counts as waiting, as in the metrics."""
        self.source = SlowSource(Deferred())
        self.submit()
        for expected in ((1, 0), (0, 1)):
            load = self.simulator.load()
            started = self.metrics.names().count("started")
            self.assertEqual((expected, expected[1], 1), ((load.waiting, load.running), started, self.slots.running))
            if load.waiting:
                self.source.composing.callback(Tokens([1], ["a"]))
        self.clock.advance(1)
        self.assertEqual(0, self.simulator.load().running)

    def test_queue_full(self) -> None:
        """A request is refused whole when one of its sequences would have to wait beyond the bound."""
        _, first = self.submit(request_for("a", n=3))
        _, second = self.submit(request_for("b", n=2))
        self.failureResultOf(second, QueueFull)
        _, third = self.submit(request_for("c"))
        self.clock.pump([1, 1, 1])
        self.successResultOf(first)
        self.successResultOf(third)

    def test_queue_full_after_hashing(self) -> None:
        """While prompts are hashed nobody has a place: the bound holds for those that come to the queue together."""
        self.cache = cache = GivenCache(Prefill(1))
        cache.hashing = Deferred()
        self.build()
        (_, first), (_, second), (_, third) = (self.submit(request_for("a", n=2)) for _ in range(3))
        cache.hashing.callback(None)
        self.failureResultOf(third, QueueFull)
        self.clock.pump([0, 1, 1])
        self.successResultOf(first)
        self.successResultOf(second)

    def test_cancelled_while_hashing(self) -> None:
        """A request whose prompt is being hashed may be cancelled; it leaves nothing behind."""
        self.cache = cache = GivenCache(Prefill(1))
        cache.hashing = Deferred()
        self.build()
        _, served = self.submit()
        served.cancel()
        self.failureResultOf(served, CancelledError)
        self.assertEqual(([], []), (self.metrics.heard, cache.asked))

    def test_hashed_side_by_side(self) -> None:
        """The prompts of a request are hashed at the same time; what goes wrong with one ends the others."""
        hashing: list[Deferred[None]] = []

        class SlowCache(NoCache):
            async def hash(self, prompt: TokenizedPrompt, request: InferenceRequest) -> HashedPrompt:
                hashing.append(Deferred())
                await hashing[-1]
                return await super().hash(prompt, request)

        self.cache = SlowCache()
        self.build()
        _, served = self.submit(request_for("a", "b", "c"))
        self.assertEqual(3, len(hashing))
        hashing[1].errback(InvalidRequest("no"))
        self.failureResultOf(served, InvalidRequest)
        for each in hashing:
            self.assertTrue(each.called)

    def test_cancelled_while_running(self) -> None:
        """Cancelling frees the slots at once, and the next request has them."""
        sink, served = self.submit(request_for("a", n=2))
        _, next_served = self.submit()
        served.cancel()
        self.failureResultOf(served, CancelledError)
        self.clock.pump([0, 1])
        self.assertEqual([], sink.calls)
        self.successResultOf(next_served)

    def test_cancelled_while_waiting(self) -> None:
        """Cancelling a request that waits takes it out of the queue."""
        self.submit(request_for("a", n=2))
        sink, served = self.submit(request_for("b", n=2))
        served.cancel()
        self.failureResultOf(served, CancelledError)
        self.assertEqual(0, len(self.waiting))
        self.assertEqual(2, self.metrics.names().count("unqueued"))
        self.clock.pump([1, 1])
        self.assertEqual([], sink.calls)

    def test_a_choice_fails(self) -> None:
        """When one choice fails, the others stop and the request has its error."""
        self.latency.gaps = (1.0,)
        sink = RecordingSink(broken=True)
        served = self.simulator.submit(request_for("a", n=2), sink)
        self.clock.pump([0, 1])
        self.failureResultOf(served, RuntimeError)
        self.clock.advance(5)
        self.assertEqual(0, self.slots.running)

    def test_one_choice_fails(self) -> None:
        """When the delivery of one choice fails, the others are not delivered any more."""
        self.latency.gaps = (1.0,)
        sink = HalfBrokenSink()
        served = self.simulator.submit(request_for("a", n=2), sink)
        self.clock.pump([0, 1])
        self.failureResultOf(served, RuntimeError)
        heard = list(sink.calls)
        self.clock.advance(5)
        self.assertEqual((heard, 0), (sink.calls, self.slots.running))
        self.assertEqual(2, self.metrics.names().count("aborted"))

    def test_draining(self) -> None:
        """A rank that drains refuses what comes, and tells when what is in is done."""
        self.successResultOf(self.simulator.requests.drain())
        _, served = self.submit()
        self.lifecycle.drain()
        drained = self.simulator.requests.drain()
        self.failureResultOf(self.submit()[1], Unavailable)
        self.assertNoResult(drained)
        self.clock.advance(1)
        self.successResultOf(served)
        self.successResultOf(drained)

    def test_dismissed(self) -> None:
        """Requests that are dismissed are told that the server stops."""
        _, running = self.submit(request_for("a", n=2))
        _, waiting = self.submit()
        self.lifecycle.drain()
        self.simulator.requests.dismiss()
        for served in (running, waiting):
            self.assertIn("shutting down", self.failureResultOf(served, Unavailable).getErrorMessage())
        self.successResultOf(self.simulator.requests.drain())
        self.assertEqual(0, self.slots.running)

    def answers(self, seed: int, *requests: InferenceRequest) -> list[str]:
        """Find out what a rank with a seed answers to some requests, one after the other."""
        self.source = SentenceSource(self.tokenizer)
        self.latency = FixedLatency()
        self.build(seed)
        return [self.submit(request)[0].said() for request in requests]

    def test_reproducible(self) -> None:
        """Equal seeds give equal answers; other seeds and other requests give others."""
        requests = [request_for("a", max_tokens=80) for _ in range(3)]
        answers = self.answers(1, *requests)
        self.assertEqual(answers, self.answers(1, *requests))
        self.assertNotEqual(answers, self.answers(2, *requests))
        self.assertEqual(3, len(set(answers)))

    def test_seeded_request(self) -> None:
        """A request with a seed has the same answer from any server; its choices differ."""
        request = request_for("a", n=2, seed=5, max_tokens=90)
        answers = [self.answers(rank_seed, request_for("x"), request)[1] for rank_seed in (1, 2)]
        self.assertEqual(answers[0], answers[1])
        sink, _ = self.submit(request)
        self.assertNotEqual(sink.said(0), sink.said(1))

    def test_named_request(self) -> None:
        """A request that its client named has an answer of its own, whatever came before it."""
        named = InferenceRequest("mine", named_by_client=True, model="m", prompts=request_for("a").prompts,
                                 sampling=request_for(max_tokens=90).sampling)  # fmt: skip
        self.assertEqual(self.answers(1, named)[0], self.answers(1, request_for("b"), named)[1])

    def test_slow_tokenizer(self) -> None:
        """A request whose prompt is still being tokenized can be cancelled and dismissed."""
        self.tokenizer = WordTokenizer(lambda *_: Deferred())
        self.build()
        _, served = self.submit(request_for("x " * 5000))
        served.cancel()
        self.failureResultOf(served, CancelledError)
        _, served = self.submit(request_for("x " * 5000))
        self.simulator.requests.dismiss()
        self.failureResultOf(served, Unavailable)


class HalfBrokenSink(RecordingSink):
    """Cannot deliver the first choice."""

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Remember, or raise."""
        self.broken = not choice
        super().tokens(choice, answer, start, stop)
