"""What holds of any engine that serves a queue, whatever is asked of it."""

import random
from typing import Any, cast
from unittest import mock

from attrs import define, field

from tests.harness import RankTestCase
from vllmsim.interfaces import IStepTime
from vllmsim.scheduling.steps.engine import StepEngine
from vllmsim.steps import StepWork

LABELS = '{engine="0",model_name="Qwen/Qwen3-0.6B"}'
WORDS = (
    "--scheduling-model", "step", "--block-size", "8", "--max-model-len", "128", "--num-gpu-blocks-override", "26",
    "--max-num-batched-tokens", "64", "--max-num-seqs", "6", "--zmq-endpoint=", "--journal-size", "1000",
    "--step-time-constant", "20ms", "--step-time-per-prefill-token", "1ms", "--step-time-per-decode-sequence", "2ms",
)  # fmt: skip


@define(eq=False)
class WatchedSteps:
    """Remembers when steps began, what they computed and how long that took."""

    _step_time: IStepTime
    _engine: StepEngine
    steps: list[tuple[float, StepWork, float]] = field(factory=list)

    def seconds(self, work: StepWork, generator: random.Random) -> float:
        """Tell how long a step takes."""
        seconds = self._step_time.seconds(work, generator)
        self.steps.append((self._engine._model.clock.seconds(), work, seconds))
        return seconds


class LawTests(RankTestCase):
    """A rank with blocks for two long sequences, asked for more than it can do for a while."""

    def make(self, *words: str) -> None:
        """Have a rank, and watch its steps."""
        self.make_rank(*WORDS, *words)
        self.engine = cast("StepEngine", self.rank.slots)
        self.watched = WatchedSteps(self.engine._step_time(), self.engine)
        watching = mock.patch.object(self.engine, "_step_time", return_value=self.watched)
        watching.start()
        self.addCleanup(watching.stop)
        self.area = 0.0
        self.overtaken = 0

    @property
    def present(self) -> int:
        """How many sequences there are."""
        return self.engine.running + self.engine.scheduler.waiting

    def pass_time(self, end: float | None = None) -> None:
        """Let time go by from event to event, until a moment or until nobody is there."""
        while self.present if end is None else self.clock.seconds() < end:
            soonest = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            assert soonest is not None
            moment = soonest if end is None else min(soonest, end)
            self.area += self.present * (moment - self.clock.seconds())
            self.clock.advance(moment - self.clock.seconds())
            running = [each.order for each in self.engine.scheduler.running]
            self.overtaken += sorted(running) != sorted(each.order for each in self.engine._courses)[: len(running)]

    def load(self, requests: int, *, same: float = 0.5, **fields: Any) -> None:
        """Have requests come, of random lengths and after random pauses, until all are served.

        :param same: how many of them begin alike.
        """
        draw = random.Random(requests)
        for number in range(requests):
            head = [5] * 24 if draw.random() < same else []
            prompt = head + [draw.randrange(10, 900) for _ in range(draw.randrange(1, 60))]
            body = {"prompt": prompt, "max_tokens": draw.randrange(1, 40), "ignore_eos": True, **fields}
            if "priority" in fields:
                body["priority"] = draw.randrange(3)
            self.complete(body.pop("prompt"), **body)
            if number % 10 < 9:
                self.pass_time(self.clock.seconds() + draw.expovariate(8))
            else:
                self.pass_time()
        self.pass_time()

    def records(self) -> list[Any]:
        """List what the journal has, in the order of coming."""
        return sorted(self.rank.journal.records(), key=lambda record: record.number)

    def check_finished(self, count: int) -> None:
        """Everyone was served to the end."""
        ends = [(record.outcome, record.choices[0][1]) for record in self.records()]
        self.assertEqual([("completed", "length")] * count, ends)

    def test_little(self) -> None:
        """How many are there, on average, is how often one comes times how long one stays."""
        self.make()
        self.load(60)
        self.check_finished(60)
        stayed = sum(record.finished - record.began for record in self.records())
        self.assertAlmostEqual(self.area, stayed, places=6)
        self.assertAlmostEqual(self.area, self.sample(f"vllm:e2e_request_latency_seconds_sum{LABELS}"), places=6)

    def test_work_conservation(self) -> None:
        """As long as anybody is there, each step begins when the one before is over."""
        self.make()
        self.load(60)
        gaps = 0
        for (begun, _, seconds), (next_begun, _, _) in zip(self.watched.steps, self.watched.steps[1:], strict=False):
            gap = next_begun - begun - seconds
            busy = any(
                r.began <= begun + seconds - 1e-9 and r.finished > begun + seconds + 1e-9 for r in self.records()
            )
            self.assertGreaterEqual(gap, -1e-9)
            if busy:
                self.assertLess(gap, 1e-9)
            gaps += not busy
        self.assertGreater(gaps, 3)

    def test_tokens(self) -> None:
        """All that is asked for is computed, some of it more than once where there are too few blocks."""
        self.make()
        self.load(60)
        records, steps = self.records(), [work for _, work, _ in self.watched.steps]
        self.assertGreater(sum(record.preemptions for record in records), 5)
        self.assertGreater(sum(work.tokens for work in steps), self.asked_tokens())
        self.assertEqual(64, max(work.tokens for work in steps))

    def asked_tokens(self) -> int:
        """Count the tokens that must be computed: the last of an answer need not be."""
        return sum(r.prompt_tokens - r.cached_tokens + r.generated_tokens - 1 for r in self.records())

    def test_no_preemption(self) -> None:
        """With room for everyone each token is computed once, and nobody waits for blocks."""
        self.make("--num-gpu-blocks-override", "200")
        self.load(60)
        records, steps = self.records(), [work for _, work, _ in self.watched.steps]
        self.assertEqual(0, sum(record.preemptions for record in records))
        self.assertEqual(self.asked_tokens(), sum(work.tokens for work in steps))

    def test_no_starvation(self) -> None:
        """Those who run have come before all who wait, however many come behind, and whoever is preempted."""
        self.make()
        self.load(60)
        self.check_finished(60)
        self.assertEqual(0, self.overtaken)
        started = [record.started for record in self.records()]
        self.assertEqual(sorted(started), started)
        self.assertGreater(sum(record.preemptions for record in self.records()), 5)

    def test_priority_ends(self) -> None:
        """Where priorities count the least urgent come late, and to an end all the same."""
        self.make("--scheduling-policy", "priority")
        self.load(60, priority=0)
        self.check_finished(60)
        self.assertGreater(self.overtaken, 50)
