"""Requests for vectors and scores."""

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import CountingEmbedder, FixedLatency, in_thread
from vllmsim.errors import InferenceError, InvalidRequest, QueueFull, Unavailable
from vllmsim.inference import Cut, Prompt, TextPrompt, TokenPrompt
from vllmsim.interfaces import ILatencyModel, IPooler
from vllmsim.pooling import Pooled, PoolingInput, PoolingRequest
from vllmsim.scheduling.behaviour import Behaviour
from vllmsim.scheduling.lifecycle import rank_lifecycle
from vllmsim.scheduling.limits import RankLimits
from vllmsim.scheduling.openrequests import OpenRequests
from vllmsim.scheduling.pooling import MOST_NUMBERS, RankPooler
from vllmsim.scheduling.prompts import PromptReader
from vllmsim.tokenization.words import WordTokenizer


def request(task: Any, *inputs: str | Sequence[int], **more: Any) -> PoolingRequest:
    """Make a request."""
    prompts: list[Prompt] = [TextPrompt(i) if isinstance(i, str) else TokenPrompt(tuple(i)) for i in inputs]
    return PoolingRequest(task, tuple(PoolingInput(prompt) for prompt in prompts), **more)


class PoolerTestCase(SynchronousTestCase):
    """Tests that pool."""

    def make(self, latency: float = 0.0, slots: int = 2, bound: int = 1000) -> RankPooler:
        """Make a pooler whose context is 100 tokens."""
        self.clock = Clock()
        self.embedder = CountingEmbedder()
        self.latency: ILatencyModel = FixedLatency(latency)
        self.lifecycle = rank_lifecycle(self.clock, 0)
        self.lifecycle.start()
        self.clock.advance(0)
        reader = PromptReader(self.clock, WordTokenizer(in_thread), 100)
        self.requests = OpenRequests()
        self.paused = False
        self.limits = RankLimits(slots, bound)
        self.pooler = RankPooler(
            self.clock,
            self.lifecycle,
            self.requests,
            lambda: self.paused,
            reader,
            self.embedder,
            lambda: Behaviour(self.latency),
            lambda: self.limits,
            7,
        )
        return self.pooler

    def pool(self, *call: Any, **more: Any) -> Sequence[Pooled]:
        """Pool and have the result."""
        return self.successResultOf(self.pooler.pool(request(*call, **more)))

    def refusal(self, *call: Any, **more: Any) -> InferenceError:
        """Find out why a request is refused."""
        error: Any = self.failureResultOf(self.pooler.pool(request(*call, **more)), InvalidRequest).value
        assert isinstance(error, InferenceError)
        return error


class TaskTests(PoolerTestCase):
    """What each task makes of inputs."""

    def setUp(self) -> None:
        """Have a pooler."""
        self.make()

    def test_provides(self) -> None:
        """It is a pooler."""
        verifyObject(IPooler, self.pooler)

    def test_embed(self) -> None:
        """Each input has a vector, made of the texts of its tokens or of its ids."""
        pooled = self.pool("embed", "a b c", [5, 6], dimensions=3)
        self.assertEqual([3, 2], [each.tokens for each in pooled])
        self.assertEqual([[[3.0] * 3], [[2.0] * 3]], [each.vectors for each in pooled])
        self.assertEqual([["a ", "b ", "c"], [5, 6]], self.embedder.seen)

    def test_known_ids(self) -> None:
        """Ids are embedded as ids, even where the tokenizer remembers their texts."""
        self.pool("embed", "world", [933488787])
        self.assertEqual([["world"], [933488787]], self.embedder.seen)

    def test_embed_tokens(self) -> None:
        """Each token has a vector, and the same tokens have the same one, made once."""
        [pooled] = self.pool("token_embed", "a b a ", dimensions=2)
        self.assertEqual((3, True, [[1.0, 1.0]] * 3), (pooled.tokens, pooled.by_token, pooled.vectors))
        self.assertEqual([["a "], ["b "]], self.embedder.seen)

    def test_classify(self) -> None:
        """Probabilities add up to one; without an activation there are the logits they are made of."""
        [pooled] = self.pool("classify", "a b")
        self.assertEqual([[0.5, 0.5]], pooled.vectors)
        [pooled] = self.pool("classify", "a b", activation=False)
        self.assertEqual([[8.0, 8.0]], pooled.vectors)
        [pooled] = self.pool("token_classify", "a b")
        self.assertEqual((True, [[0.5, 0.5]] * 2), (pooled.by_token, pooled.vectors))

    def test_score(self) -> None:
        """One query is compared with every document, several each with its own; tokens are those of the pair."""
        pooled = self.pool("score", "a b", "b", "a b b", "", queries=1, empty=True)
        self.assertEqual([(3, [[1.0]]), (5, [[2.0]]), (2, [[0.0]])], [(each.tokens, each.vectors) for each in pooled])
        pooled = self.pool("score", "a", "b", "a", "a", queries=2)
        self.assertEqual([[[1.0]], [[0.0]]], [each.vectors for each in pooled])

    def test_cuts(self) -> None:
        """Inputs are shortened as the request wants, and what is left is counted."""
        inputs = (PoolingInput(TextPrompt("a b c"), (Cut(2),)),)
        [pooled] = self.successResultOf(self.pooler.pool(PoolingRequest("embed", inputs)))
        self.assertEqual((2, [["a ", "b "]]), (pooled.tokens, self.embedder.seen))

    def test_empty(self) -> None:
        """An input without tokens is refused, unless the task can do with one."""
        self.assertEqual("The decoder prompt cannot be empty", self.refusal("embed", "a", "").message)
        self.refusal("embed", [])

    def test_too_long(self) -> None:
        """An input beyond the context is refused."""
        self.assertIn("maximum context length is 100 tokens", self.refusal("embed", "a " * 101).message)

    def test_too_many_numbers(self) -> None:
        """An answer that would be too long is refused before anything is computed."""
        size = MOST_NUMBERS // 64
        self.assertIn(
            f"would have {MOST_NUMBERS + size} numbers", self.refusal("embed", *"a" * 65, dimensions=size).message
        )
        self.refusal("token_embed", "a " * 65, dimensions=size)
        self.assertEqual([], self.embedder.seen)
        self.assertEqual(65, len(self.pool("classify", *"a" * 65)))


class SlowClock(Clock):
    """A clock that goes on by more than a millisecond whenever it is looked at, and counts calls."""

    turns = 0

    def seconds(self) -> float:
        """Tell the time."""
        self.rightNow += 0.0011
        return self.rightNow

    def callLater(self, delay: float, callable: Any, *args: object, **kw: object) -> IDelayedCall:  # noqa: A002
        """Count a call."""
        self.turns += 1
        return super().callLater(delay, callable, *args, **kw)


class _SlowLatency(FixedLatency):
    """Takes a second, and ten milliseconds to say so."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(1.0)
        self._clock = clock

    def time_to_first_token(self, *call: Any) -> float:
        """Return the prefill's time, later."""
        self._clock.rightNow += 0.01
        return super().time_to_first_token(*call)


class TimeTests(PoolerTestCase):
    """How long requests take."""

    def test_prefill(self) -> None:
        """An answer comes after the time of a prefill."""
        self.make(0.5)
        result = self.pooler.pool(request("embed", "a"))
        self.clock.advance(0.4)
        self.assertNoResult(result)
        self.clock.advance(0.1)
        self.successResultOf(result)

    def test_slots(self) -> None:
        """As many prompts as there are slots take their time together, of one request or of several."""
        self.make(1.0)
        self.latency = latency = FixedLatency(1.0)
        results = [self.pooler.pool(request("embed", *texts)) for texts in ("abc", "de")]
        done = []
        for _ in range(4):
            done.append([result.called for result in results])
            self.clock.advance(1)
        self.assertEqual([[False, False], [False, False], [True, False], [True, True]], done)
        self.assertEqual([1, 2, 2, 2, 2], latency.seen)

    def test_many(self) -> None:
        """While many inputs are served, other events come in between."""
        self.make()
        clock = SlowClock()
        self.pooler._clock = clock
        for task, more in (("embed", {}), ("token_embed", {}), ("score", {"queries": 10})):
            clock.turns = 0
            result = self.pooler.pool(request(task, *(f"w{number}" for number in range(20)), **more))
            self.assertNoResult(result)
            clock.advance(0)
            self.successResultOf(result)
            self.assertGreater(clock.turns, 14)

    def test_cancel(self) -> None:
        """A request that is cancelled frees its slots and its place in the queue."""
        self.make(1.0, slots=1)
        results = [self.pooler.pool(request("embed", "a", "b")) for _ in range(3)]
        for result in results[:2]:
            result.cancel()
            self.failureResultOf(result, CancelledError)
        for _ in range(2):
            self.assertNoResult(results[2])
            self.clock.advance(1)
        self.successResultOf(results[2])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_cancel_while_prompts_queue(self) -> None:
        """A request that is cancelled before its last prompt has queued frees the slots that it has."""
        self.make(1.0, slots=2)
        self.latency = _SlowLatency(self.clock)
        result = self.pooler.pool(request("embed", "a", "b"))
        self.assertEqual(2, len(self.clock.getDelayedCalls()))
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_queue_full(self) -> None:
        """A request is refused when as many prompts wait as may; its own do not count, so that it may have many."""
        self.make(1.0, slots=1, bound=2)
        results = [self.pooler.pool(request("embed", "a", "b")) for _ in range(2)]
        self.failureResultOf(self.pooler.pool(request("embed", "a")), QueueFull)
        for _ in range(4):
            self.clock.advance(1)
        for result in results:
            self.successResultOf(result)

    def test_more_slots(self) -> None:
        """When there are more slots, those who wait have them; when there are fewer, nobody loses one."""
        self.make(1.0, slots=1, bound=5)
        results = [self.pooler.pool(request("embed", "a")) for _ in range(4)]
        self.limits = RankLimits(3, 0)
        self.pooler.fill()
        self.failureResultOf(self.pooler.pool(request("embed", "a")), QueueFull)
        self.limits = RankLimits(1, 5)
        self.clock.advance(1)
        self.assertEqual([True, True, True, False], [result.called for result in results])
        self.clock.advance(1)
        self.successResultOf(results[3])

    def test_told(self) -> None:
        """A request that says how it is served is served so, whatever holds when it comes."""
        self.make(1.0)
        asked = evolve(request("embed", "a"), behaviour=Behaviour(FixedLatency(2.0)))
        result = self.pooler.pool(asked)
        self.clock.advance(1.9)
        self.assertNoResult(result)
        self.clock.advance(0.1)
        self.successResultOf(result)

    def test_no_queue(self) -> None:
        """Where nobody may wait, a request is served while a slot is free, and refused when none is."""
        self.make(1.0, slots=1, bound=0)
        result = self.pooler.pool(request("embed", "a"))
        self.failureResultOf(self.pooler.pool(request("embed", "a")), QueueFull)
        self.clock.advance(1)
        self.successResultOf(result)

    def test_pause(self) -> None:
        """A rank that is paused serves who is in, and lets no more in."""
        self.make(1.0)
        result = self.pooler.pool(request("embed", "a"))
        self.assertEqual(1, len(self.requests))
        self.paused = True
        self.failureResultOf(self.pooler.pool(request("embed", "a")), Unavailable)
        self.clock.advance(1)
        self.successResultOf(result)
        self.assertEqual(0, len(self.requests))

    def test_shutdown(self) -> None:
        """A rank that stops lets no more in, and tells those who are in when their time is over."""
        self.make(1.0)
        result = self.pooler.pool(request("embed", "a"))
        self.lifecycle.drain()
        self.failureResultOf(self.pooler.pool(request("embed", "a")), Unavailable)
        self.requests.dismiss()
        self.failureResultOf(result, Unavailable)

    def test_break(self) -> None:
        """What goes wrong is the request's error, and no other's."""
        self.make()
        working, self.latency = self.latency, None  # type: ignore[assignment]
        self.failureResultOf(self.pooler.pool(request("embed", "a", "b")), AttributeError)
        self.latency = working
        self.assertEqual(2, len(self.pool("embed", "a", "b")))
