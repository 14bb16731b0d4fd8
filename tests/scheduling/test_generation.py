"""One sequence, from prefill to its last token."""

import random
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Several
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.fakes import (
    FixedLatency,
    FixedSource,
    GivenCache,
    PlainComposer,
    RecordingMetrics,
    RecordingSink,
    SlowSource,
    in_thread,
    request_for,
)
from vllmsim.inference import Answer, Extent, HashedPrompt, Prefill, SequenceTimes, TextPrompt, TokenizedPrompt, Tokens
from vllmsim.interfaces import IKVCache, ITokenSink
from vllmsim.kvcache.absent import NoCache
from vllmsim.scheduling.behaviour import Behaviour
from vllmsim.scheduling.drawn import DrawnCourse
from vllmsim.scheduling.generation import generate
from vllmsim.scheduling.model import Model
from vllmsim.scheduling.pacing import TokenPacer
from vllmsim.scheduling.sequence import Sequence, Submission
from vllmsim.structure import PLAIN, Form
from vllmsim.tokenization.words import WordTokenizer


class GenerationCase(SynchronousTestCase):
    """Tests that start sequences."""

    fields: Mapping[str, Any] = {}
    """What requests have beside what :func:`tests.fakes.request_for` gives them."""

    def setUp(self) -> None:
        """Have a model that says three words, 50 ms after the start and 20 ms apart."""
        self.clock = Clock()
        self.metrics = RecordingMetrics()
        self.sink = RecordingSink()
        self.source = FixedSource(["one ", "two ", "three"])
        self.latency = FixedLatency(0.05, [0.02])
        self.hit_threshold: float | None = None
        self.composer = PlainComposer(self.source)
        self.pacer = TokenPacer(self.clock, self.metrics.iteration_finished)
        self.pacer.start()
        self.kv_cache: IKVCache = NoCache()
        self.model = Model(self.clock, WordTokenizer(in_thread), self.pacer, self.metrics, self.metrics)

    def start(self, **sampling: object) -> Deferred[int]:
        """Start a sequence of plain text, 10 ms after it arrived."""
        return self.start_with(PLAIN, **sampling)

    def start_with(self, form: Form, **sampling: object) -> Deferred[int]:
        """Start a sequence, 10 ms after it arrived."""
        self.clock.advance(0.01)
        return self.start_now(form, **sampling)

    def start_now(self, form: Form, **sampling: object) -> Deferred[int]:
        """Start a sequence without a turn for anything else."""
        prompt = TokenizedPrompt(TextPrompt("hi"), "hi", [1, 2], ["h", "i"])
        request = request_for("hi", **{"max_tokens": 16, **sampling})  # type: ignore[arg-type]
        request = evolve(request, form=form, **self.fields)
        limit = request.sampling.max_tokens
        assert limit is not None
        self.sequence = Sequence(
            Submission(request, [prompt], self.sink, Behaviour(self.latency, self.hit_threshold, self.composer)),
            0,
            prompt,
            HashedPrompt(prompt.ids),
            limit,
            random.Random(1),
            0.0,
            lambda _: None,
            lambda _: None,
        )
        return generate(self.model, self.sequence, DrawnCourse(self.model, self.kv_cache, lambda: 1, self.sequence))

    def abort(self, done: Deferred[int]) -> None:
        """End the sequence that was started last."""
        self.sequence.aborted = True
        done.cancel()


class GenerationTests(GenerationCase):
    """A sequence's tokens come when they are due."""

    def test_a_whole_answer(self) -> None:
        """The first token comes after the prefill, each further one after its gap, the end with the last."""
        done = self.start()
        self.clock.advance(0.04)
        self.assertEqual([], self.sink.calls)
        self.clock.advance(0.01)
        self.assertEqual([("started", [2]), (0, ["one "])], self.sink.calls)
        self.clock.pump([0.02, 0.02])
        self.assertNoResult(done)
        self.clock.advance(0.02)
        self.assertEqual([(0, ["two "]), (0, ["three"]), (0, [""]), (0, "stop")], self.sink.calls[2:])
        self.assertEqual(4, self.successResultOf(done))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_image(self) -> None:
        """An image takes its time after the text: the last token, which ends the answer, waits for it."""
        self.latency.image = 0.5
        for gaps, text_at in (([0.02], 0.09), ([0.0], 0.05)):
            self.latency.gaps, self.sink.calls = gaps, []
            self.start_with(Form(image=True))
            self.clock.advance(text_at + 0.001)
            self.assertEqual("one two three", self.sink.said())
            self.assertNotIn((0, "stop"), self.sink.calls)
            self.clock.advance(0.5 + gaps[0])
            self.assertEqual((0, "stop"), self.sink.calls[-1])

    def test_begins_while_others_are_late(self) -> None:
        """Tokens that are late are delivered before one more sequence begins: many may begin in one turn."""
        self.start()
        self.clock.advance(0.05)
        said = self.sink.said()
        self.clock.rightNow += 0.03
        self.start_now(PLAIN)
        self.assertEqual(("one ", "one two "), (said, self.sink.said()))
        self.clock.advance(1)

    def test_late(self) -> None:
        """A reactor that was busy delivers everything that is due in one run, and nothing is lost."""
        done = self.start()
        self.clock.advance(10)
        self.assertEqual("one two three", self.sink.said())
        self.assertEqual([("started", [2]), (0, ["one ", "two ", "three", ""]), (0, "stop")], self.sink.calls)
        self.assertEqual(4, self.successResultOf(done))

    def test_no_latency(self) -> None:
        """Without any latency the whole answer is one run."""
        self.latency.prefill, self.latency.gaps = 0.0, (0.0,)
        done = self.start()
        self.clock.advance(0)
        self.assertEqual([("started", [2]), (0, ["one ", "two ", "three", ""]), (0, "stop")], self.sink.calls)
        self.successResultOf(done)

    def test_limit(self) -> None:
        """An answer that reaches its limit ends with length, and without an ending token."""
        done = self.start(max_tokens=2)
        self.clock.advance(1)
        self.assertEqual(2, self.successResultOf(done))
        self.assertEqual((0, "length"), self.sink.calls[-1])

    def test_what_the_source_is_asked(self) -> None:
        """The least number of tokens is the request's, or the limit where the ending token is ignored."""
        self.start(min_tokens=2)
        self.start(ignore_eos=True)
        self.assertEqual([Extent(2, 16, explicit=True), Extent(16, 16, explicit=True)], self.source.asked)
        self.pacer.stop()

    def test_metrics(self) -> None:
        """The metrics hear of each stage, with the times that passed."""
        self.start()
        self.clock.pump([0.05, 0.02, 0.02, 0.02])
        heard = self.metrics.heard
        self.assertEqual(
            ["started", "prefilled", "emitted", "iteration", *["emitted", "iteration"] * 2, "emitted"],
            self.metrics.names()[:-2],
        )
        self.assertEqual(("prefilled", 2), heard[1][:2])
        self.assertAlmostEqual(0.06, heard[1][2])
        self.assertEqual(("emitted", 1, None), heard[2])
        self.assertAlmostEqual(0.02, heard[4][2])
        name, reason, tokens, limit, times = heard[-2]
        self.assertEqual(("finished", "stop", 4, 16), (name, reason, tokens, limit))
        expected = SequenceTimes(0.0, 0.01, 0.06, 0.12)
        self.assertAlmostEqual(expected.started, times.started)
        self.assertAlmostEqual(expected.first_token, times.first_token)
        self.assertAlmostEqual(expected.last_token, times.last_token)

    def test_cancelled(self) -> None:
        """A cancelled sequence emits no more, leaves no timer, and counts as aborted."""
        done = self.start()
        self.clock.advance(0.05)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.clock.advance(1)
        self.assertEqual("one ", self.sink.said())
        self.assertEqual("aborted", self.metrics.names()[-1])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_aborted_while_decoding(self) -> None:
        """An aborted sequence ends with what it has said: a run of no tokens, an answer of those that were sent."""
        done = self.start()
        self.clock.pump([0.05, 0.02])
        self.abort(done)
        self.assertEqual(2, self.successResultOf(done))
        self.assertEqual([(0, ["two "]), (0, []), (0, "abort")], self.sink.calls[2:])
        self.assertEqual("aborted", self.metrics.names()[-1])
        self.clock.advance(1)
        self.assertEqual(("one two ", []), (self.sink.said(), self.clock.getDelayedCalls()))

    def test_aborted_in_prefill(self) -> None:
        """A sequence that is aborted before its first token ends without one."""
        done = self.start()
        self.abort(done)
        self.assertEqual(0, self.successResultOf(done))
        self.assertEqual([("started", [2]), (0, []), (0, "abort")], self.sink.calls)
        self.assertEqual(["started", "aborted"], self.metrics.names())

    def test_aborted_while_composing(self) -> None:
        """A sequence that is aborted while its answer is being composed ends, and the answer comes to nothing."""
        composing: Deferred[Tokens] = Deferred()
        self.composer = PlainComposer(SlowSource(composing))
        done = self.start()
        self.abort(done)
        self.assertEqual(0, self.successResultOf(done))
        composing.callback(Tokens([1], ["one "]))
        self.clock.advance(1)
        self.assertEqual([("started", [2]), (0, []), (0, "abort")], self.sink.calls)

    def test_abort_that_cannot_be_delivered(self) -> None:
        """A sink that raises at the end fails its sequence."""
        self.sink.broken = True
        done = self.start()
        self.abort(done)
        self.failureResultOf(done, RuntimeError)

    def test_frozen(self) -> None:
        """While the pacer is frozen nothing is said; then every token comes as late as it was held, and none earlier.

        The metrics tell the time that clients have waited.
        """
        done = self.start()
        self.clock.advance(0.06)
        self.pacer.freeze()
        self.clock.advance(10)
        self.assertEqual("one ", self.sink.said())
        self.pacer.thaw()
        self.clock.advance(0.009)
        self.assertEqual("one ", self.sink.said())
        self.clock.advance(0.002)
        self.assertEqual("one two ", self.sink.said())
        self.clock.pump([0.02, 0.02])
        self.successResultOf(done)
        gaps = [round(each[2], 6) for each in self.metrics.heard if each[0] == "emitted" and each[2] is not None]
        self.assertEqual([10.011, 0.02, 0.02], gaps)

    def test_started_while_frozen(self) -> None:
        """A sequence that starts while the pacer is frozen has its whole prefill before it."""
        self.pacer.freeze()
        self.clock.advance(5)
        self.start()
        self.clock.advance(5)
        self.pacer.thaw()
        self.clock.advance(0.049)
        self.assertEqual("", self.sink.said())
        self.clock.advance(0.002)
        self.assertEqual("one ", self.sink.said())
        self.pacer.stop()

    def test_long_runs(self) -> None:
        """However many tokens are due, no sink gets more at once than it can write while others wait."""
        self.source.words = ["a "] * 3000
        for fields, longest in (({}, 256), ({"logprobs": 0}, 128), ({"prompt_logprobs": 1}, 128)):
            for gap in (0.0, 1e-6):
                self.latency.gaps = [gap]
                self.sink = RecordingSink()
                done = self.start(max_tokens=3000, **fields)
                self.clock.pump([0.1] * 30)
                self.assertEqual(3000, self.successResultOf(done))
                runs = [len(call[1]) for call in self.sink.calls if call[0] == 0 and call[1] != "length"]
                self.assertEqual((longest, 3000), (max(runs), sum(runs)), (fields, gap))

    def test_long_answers_take_turns(self) -> None:
        """Long answers without latency are delivered in turns, whoever came first."""
        self.source.words = ["a "] * 1000
        self.latency.prefill, self.latency.gaps = 0.0, [0.0]
        turns: list[int] = []
        for number in range(3):
            self.sink = TurnSink(number=number, turns=turns)
            self.start_now(PLAIN, max_tokens=1000)
        self.clock.advance(0)
        self.assertEqual([0, 1, 2] * 4, turns)

    def test_broken_sink(self) -> None:
        """A sink that raises fails its own sequence."""
        self.sink.broken = True
        done = self.start()
        self.clock.advance(1)
        self.failureResultOf(done, RuntimeError)
        self.assertIn("aborted", self.metrics.names())

    def test_sink_cancels(self) -> None:
        """A sink may cancel its own sequence at any call: it hears no more, and the others go on."""
        for call in ("started", "first", "last"):
            self.sink = LeavingSink(leave_at=call)
            done = self.start()
            self.sink.leave = done.cancel
            other_sink, self.sink = self.sink, RecordingSink()
            other = self.start()
            self.clock.pump([0.02] * 8)
            self.failureResultOf(done, CancelledError)
            self.assertEqual({"started": 1, "first": 2, "last": 6}[call], len(other_sink.calls))
            self.assertEqual(4, self.successResultOf(other))
            self.assertEqual([], self.clock.getDelayedCalls())
            self.assertEqual([], self.flushLoggedErrors())

    def test_sink_cancels_and_breaks(self) -> None:
        """A sink that raises after it has cancelled its sequence stops no other."""
        self.sink = LeavingSink(leave_at="first", broken=True)
        done = self.start()
        self.sink.leave = done.cancel
        self.sink = RecordingSink()
        other = self.start()
        self.clock.pump([0.02] * 8)
        self.failureResultOf(done, CancelledError)
        self.assertEqual(4, self.successResultOf(other))

    def test_slow_source(self) -> None:
        """The prefill is counted from the slot on, whether the source answers at once or later."""
        composing: Deferred[Tokens] = Deferred()
        self.composer = PlainComposer(SlowSource(composing))
        self.start()
        self.clock.advance(0.03)
        composing.callback(Tokens([1], ["one "]))
        self.clock.advance(0.019)
        self.assertEqual("", self.sink.said())
        self.clock.advance(0.002)
        self.assertEqual("one ", self.sink.said())
        self.pacer.stop()


class BlockTests(GenerationCase):
    """What sequences do with the KV cache."""

    def give(self, prefill: Prefill) -> None:
        """Have a cache that tells this of every prompt."""
        self.kv_cache = self.cache = GivenCache(prefill)

    def ask(self, **fields: Any) -> Deferred[int]:
        """Start a sequence whose request says something of the cache."""
        self.fields = fields
        return self.start()

    def test_growth(self) -> None:
        """Blocks grow with the tokens that are computed, which the last is not, and are given back at the end."""
        self.give(Prefill(2))
        done = self.ask()
        self.clock.pump([0.05, 0.02, 0.02])
        (blocks,) = self.cache.given
        self.assertEqual(([3, 4, 5], 0), (blocks.grown, blocks.released))
        self.clock.advance(0.02)
        self.successResultOf(done)
        self.assertEqual(([3, 4, 5, 5], 1), (blocks.grown, blocks.released))
        ((ids, answer, *asked),) = self.cache.asked
        self.assertEqual(([1, 2], 4, [True, 0]), (ids, len(answer), asked))

    def test_released(self) -> None:
        """However a sequence ends, its blocks are given back."""
        self.give(Prefill(2))
        self.abort(self.ask())
        self.ask().addErrback(lambda _: None).cancel()
        self.sink.broken = True
        self.ask().addErrback(lambda _: None)
        self.clock.advance(1)
        self.assertEqual([1, 1, 1], [blocks.released for blocks in self.cache.given])

    def test_waiting(self) -> None:
        """A sequence that waits for blocks is not running, and its prefill begins when it has them."""
        self.give(Prefill(2))
        self.cache.full = True
        done = self.ask()
        self.clock.advance(5)
        self.assertEqual([], self.metrics.names())
        self.cache.give()
        self.assertEqual(["started"], self.metrics.names())
        self.clock.advance(0.049)
        self.assertEqual("", self.sink.said())
        self.clock.advance(0.002)
        self.assertEqual("one ", self.sink.said())
        self.clock.pump([0.02] * 3)
        self.successResultOf(done)
        times = next(each[-1] for each in self.metrics.heard if each[0] == "finished")
        self.assertAlmostEqual(5.01, times.started)

    def test_given_up(self) -> None:
        """Who waits for blocks may be cancelled, or aborted: it has not run."""
        self.give(Prefill(2))
        self.cache.full = True
        done = self.ask()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        done = self.ask()
        self.abort(done)
        self.assertEqual(0, self.successResultOf(done))
        self.assertEqual(([], ["unqueued", "unqueued"]), (self.cache.turns, self.metrics.names()))

    def test_cached(self) -> None:
        """What is cached is told to the latency model, to the metrics and to the sink."""
        self.give(Prefill(2, cached=1))
        self.ask()
        self.assertEqual([(2, 1, False)], self.latency.asked)
        self.pacer.stop()

    def test_shared(self) -> None:
        """Tokens from a cache outside take the time of a transfer, beside the prefill of the others."""
        self.give(Prefill(10, cached=2, external=5))
        self.ask()
        self.assertEqual([(10, 7, False), (5, 0, True)], self.latency.asked)
        self.clock.advance(0.099)
        self.assertEqual("", self.sink.said())
        self.clock.advance(0.002)
        self.assertEqual("one ", self.sink.said())
        self.pacer.stop()

    def test_remote(self) -> None:
        """A prompt that another server has computed is fetched, as far as it was computed and there is a prompt."""
        self.give(Prefill(2, external=1))
        for told, fetched in ((None, 2), (1, 1), (0, 0), (99, 2)):
            self.ask(remote_prefill=True, remote_tokens=told)
            self.assertEqual(fetched, self.cache.asked[-1][3])
            self.assertEqual((2, 1, True), self.latency.asked[-1])
        self.ask(remote_tokens=2, reads_cache=False)
        self.assertEqual((False, 0), self.cache.asked[-1][2:])
        self.pacer.stop()

    def test_remote_in_part(self) -> None:
        """What the other server has not computed is computed here, beside the transfer of the rest."""
        self.give(Prefill(10, cached=2, external=5))
        self.ask(remote_prefill=True, remote_tokens=7)
        self.assertEqual([(10, 7, False), (5, 0, True)], self.latency.asked)
        self.clock.advance(0.11)
        self.assertIn(("fetched", 5, 0.05), self.metrics.heard)
        self.pacer.stop()

    def test_threshold(self) -> None:
        """A prompt of which too little is cached is refused at once, and none where no cache is simulated."""
        half = Prefill(4, cached=2)
        cases = (
            (half, 0.5, None, False), (half, 0.51, None, True), (half, 0.0, 0.6, True), (half, 1.0, 0.0, False),
            (Prefill(2), 0.0, None, False), (Prefill(2), 0.1, None, True), (Prefill(4, external=3), 1.0, None, False),
            (Prefill(2), None, 1.0, False),
        )  # fmt: skip
        for prefill, server, request, refused in cases:
            self.give(prefill)
            self.hit_threshold = server
            self.sink = RecordingSink()
            done = self.ask(hit_threshold=request)
            self.clock.advance(0)
            self.assertEqual(refused, done.called, (prefill, server, request))
            if refused:
                self.assertEqual(0, self.successResultOf(done))
                self.assertEqual([("started", [2]), (0, []), (0, "cache_threshold")], self.sink.calls)
                (blocks,) = self.cache.given
                self.assertEqual(([2], 1), (blocks.grown, blocks.released))
        self.pacer.stop()

    def test_told_to_refuse(self) -> None:
        """A request may ask to be refused, whatever is cached and whether there is a cache."""
        self.give(Prefill(2, cached=2))
        done = self.ask(below_threshold=True)
        self.clock.advance(0)
        self.assertEqual(0, self.successResultOf(done))
        self.assertEqual((0, "cache_threshold"), self.sink.calls[-1])


@implementer(ITokenSink)
@define(eq=False)
class LeavingSink(RecordingSink):
    """Cancels its sequence at one of the calls."""

    leave_at: str = "started"
    leave: Callable[[], None] = lambda: None

    def started(self, prompts: Several[TokenizedPrompt], prefill: Prefill) -> None:
        """Remember, and perhaps leave."""
        super().started(prompts, prefill)
        if self.leave_at == "started":
            self.leave()

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Remember, and perhaps leave."""
        broken, self.broken = self.broken, False
        super().tokens(choice, answer, start, stop)
        if self.leave_at == ("last" if stop == len(answer) else "first" if not start else ""):
            self.leave()
        if broken:
            raise RuntimeError("broken")


@implementer(ITokenSink)
@define(eq=False)
class TurnSink(RecordingSink):
    """Remembers whose turn it is."""

    number: int = 0
    turns: list[int] = field(factory=list)

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Remember."""
        self.turns.append(self.number)
