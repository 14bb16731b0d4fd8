"""A whole rank that goes in steps of 100 ms, with blocks of 8 tokens."""

import json
from collections.abc import Sequence
from typing import Any

from attrs import define
from twisted.internet.task import Clock
from zope.interface import implementer

from tests.harness import Exchange, RankTestCase
from vllmsim.inference import Answer, Prefill, TokenizedPrompt
from vllmsim.interfaces import ITokenSink

STEP = 0.1
LABELS = '{engine="0",model_name="Qwen/Qwen3-0.6B"}'
WORDS = (
    "--scheduling-model", "step", "--block-size", "8", "--step-time-constant", "100ms", "--zmq-endpoint=",
    "--max-model-len", "64",
)  # fmt: skip


class EngineCase(RankTestCase):
    """Tests that ask for tokens of ids, and count what comes."""

    def make(self, *words: str) -> None:
        """Have a rank, and be in the midst between two steps whenever something is looked at."""
        self.make_rank(*WORDS, *words)
        self.clock.advance(STEP / 2)

    def ask(self, prompt: int | list[int] = 4, tokens: int = 3, **fields: Any) -> Exchange:
        """Ask for a stream of so many tokens."""
        ids = prompt if isinstance(prompt, list) else list(range(10, 10 + prompt))
        body = {"prompt": ids, "max_tokens": tokens, "stream": True, "ignore_eos": True, **fields}
        return self.complete(body.pop("prompt"), **body)

    def told(self, *exchanges: Exchange) -> list[int]:
        """Count the tokens that have come."""
        return [
            sum(bool(event != "[DONE]" and event["choices"] and event["choices"][0]["text"]) for event in each.events())
            for each in exchanges
        ]

    def later(self, seconds: float, *exchanges: Exchange) -> list[int]:
        """Let time go by, and count the tokens that have come."""
        self.clock.advance(seconds)
        return self.told(*exchanges)

    def step(self, *exchanges: Exchange) -> list[int]:
        """Let a step go by."""
        return self.later(STEP, *exchanges)

    def steps(self, count: int, *exchanges: Exchange) -> list[list[int]]:
        """Let some steps go by, and tell after each what has come."""
        return [self.step(*exchanges) for _ in range(count)]

    def values(self, *names: str) -> list[float]:
        """Read some metrics."""
        return [self.sample(f"vllm:{name}{LABELS}") for name in names]

    def record(self, number: int) -> dict[str, Any]:
        """Look a request up in the journal."""
        found: list[dict[str, Any]] = self.get("/admin/requests").json()["requests"]
        return found[number]


class StepTests(EngineCase):
    """Tokens leave at the ends of steps."""

    def test_one(self) -> None:
        """A sequence has a token at the end of each step, the first when its prompt is computed."""
        self.make()
        asked = self.ask()
        self.assertEqual([[1], [2], [3]], self.steps(3, asked))
        self.assertTrue(asked.complete)

    def test_together(self) -> None:
        """What comes while a step runs waits for the next, and then all go on together."""
        self.make()
        first = self.ask(tokens=4)
        self.clock.advance(STEP / 4)
        second, third = self.ask(tokens=2), self.ask(tokens=3)
        self.assertEqual([1, 0, 0], self.step(first, second, third))
        self.assertEqual([[2, 1, 1], [3, 2, 2], [4, 2, 3]], self.steps(3, first, second, third))

    def test_budget(self) -> None:
        """A long prompt is spread over steps, and those that generate go on beside it."""
        self.make("--max-num-batched-tokens", "16")
        first, long = self.ask(tokens=6), self.ask(40, tokens=2)
        self.assertEqual([[1, 0], [2, 0], [3, 0], [4, 1], [5, 2]], self.steps(5, first, long))

    def test_whole_prompts(self) -> None:
        """Where prompts are not spread, one waits for a step that has room for all of it."""
        self.make("--max-num-batched-tokens", "64", "--no-enable-chunked-prefill", "--max-num-seqs", "8")
        asked = self.post("/v1/completions", {"prompt": [[1] * 40, [2] * 40], "max_tokens": 1, "stream": True})
        self.clock.advance(STEP)
        self.assertEqual(1, len({event["choices"][0]["index"] for event in asked.events()}))
        self.clock.advance(STEP)
        self.assertTrue(asked.complete)

    def test_absolute(self) -> None:
        """A late tick makes no step behind it late, unless it is so late that this is forgotten."""
        self.make()
        asked = self.ask(tokens=20)
        self.clock.advance(STEP * 1.5)
        self.assertEqual([1], self.told(asked))
        self.assertEqual([2], self.later(STEP / 2, asked))
        self.clock.advance(STEP * 5.5)
        self.assertEqual([3], self.told(asked))
        self.assertEqual([3], self.later(STEP / 2, asked))
        self.assertEqual([4], self.later(STEP / 2, asked))

    def test_several_behind(self) -> None:
        """Steps that are over by the time of a tick all give their tokens, one step after the other."""
        self.make("--step-time-constant", "10ms")
        asked = self.ask(tokens=20)
        self.clock.advance(0.055)
        self.assertEqual([5], self.told(asked))

    def test_idle(self) -> None:
        """An engine with nothing to do does nothing, and the next step begins when something comes."""
        self.make()
        self.ask(tokens=1)
        self.steps(30)
        asked = self.ask(tokens=1)
        self.assertEqual([[0]], [self.told(asked)])
        self.assertEqual([1], self.step(asked))

    def test_instant(self) -> None:
        """Where steps take no time an answer comes at once."""
        self.make("--step-time-constant", "0")
        self.assertEqual([30], self.told(self.ask(tokens=30)))


class PreemptionTests(EngineCase):
    """Sequences for which there are no blocks any more."""

    def test_preempted(self) -> None:
        """Who loses its blocks keeps what it has sent, and sends each further token once."""
        self.make("--kv-cache-size", "9", "--max-num-seqs", "4")
        asked = [self.ask([number] * 8, tokens=24) for number in range(3)]
        self.step()
        self.assertEqual(
            [3, 0, 0], self.values("num_requests_running", "num_requests_waiting", "num_preemptions_total")
        )
        before = self.told(*asked)
        preempted = False
        for _ in range(100):
            now = self.step(*asked)
            self.assertTrue(all(0 <= more - less <= 1 for less, more in zip(before, now, strict=True)))
            running, waiting = self.values("num_requests_running", "num_requests_waiting")
            preempted = preempted or waiting > 0
            self.assertEqual(sum(not each.complete for each in asked), running + waiting)
            before = now
        self.assertTrue(preempted)
        self.assertEqual([24] * 3, before)
        total, count, sequences = self.values(
            "num_preemptions_total", "request_num_preemptions_sum", "request_num_preemptions_count"
        )
        self.assertEqual((total, 3.0), (count, sequences))
        self.assertGreater(total, 0)
        self.assertEqual(total, sum(self.record(number)["preemptions"] for number in range(3)))
        self.assertEqual([0.0], self.values("kv_cache_usage_perc"))

    def test_same_answer(self) -> None:
        """Preempted or not, a sequence says the same."""
        said = []
        for blocks in ("9", "100"):
            self.make("--kv-cache-size", blocks, "--max-num-seqs", "4")
            asked = [self.ask([number] * 8, tokens=24, request_id=f"r{number}") for number in range(3)]
            self.steps(100)
            said.append(["".join(e["choices"][0]["text"] for e in each.events()[:-1]) for each in asked])
        self.assertEqual(*said)

    def test_ended_while_preempted(self) -> None:
        """One that waits for the second time may be aborted, or its client may leave, and nothing is left of it."""
        self.make("--kv-cache-size", "9", "--max-num-seqs", "4")
        asked = [self.ask([number] * 8, tokens=24) for number in range(3)]
        self.step()
        while not self.values("num_requests_waiting")[0]:
            self.step()
        self.assertEqual([2, 1], self.values("num_requests_running", "num_requests_waiting"))
        self.assertEqual("waiting", self.record(2)["state"])
        self.post("/abort_requests", {"request_ids": [json.loads(asked[2].body.split(b"\n")[0][6:])["id"]]})
        self.clock.advance(0)
        self.assertTrue(asked[2].complete)
        self.assertEqual([2, 0], self.values("num_requests_running", "num_requests_waiting"))
        for each in asked[:2]:
            each.drop()
        self.step()
        names = "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"
        self.assertEqual([0, 0, 0], self.values(*names))
        self.assertEqual("aborted", self.record(2)["outcome"])


class LargeTests(EngineCase):
    """Steps with so many sequences that their tokens take long to deliver."""

    def test_turns(self) -> None:
        """Others have their turn between tokens of one step, and the next step begins when the last was due."""
        self.make("--max-num-seqs", "64")
        asked = self.complete("one", n=20, max_tokens=2, ignore_eos=True)
        order: list[str] = []
        submission = next(iter(self.rank.backlog.sequences)).submission
        submission.sink = SlowSink(submission.sink, self.clock, order)
        self.clock.callLater(STEP + 0.001, order.append, "other")
        self.clock.advance(STEP)
        self.assertIn(order.index("other"), range(2, 5))
        self.assertEqual(21, len(order))
        self.clock.advance(STEP - 0.021)
        self.assertEqual(21, len(order))
        self.clock.advance(0.002)
        self.assertEqual((41, 0), (len(order), len(self.rank.backlog.sequences)))
        self.assertEqual(200, asked.status)


@implementer(ITokenSink)
@define(eq=False)
class SlowSink:
    """Takes a millisecond for a token."""

    sink: ITokenSink
    clock: Clock
    order: list[str]

    def started(self, prompts: Sequence[TokenizedPrompt], prefill: Prefill) -> None:
        """Pass it on."""
        self.sink.started(prompts, prefill)

    def tokens(self, choice: int, answer: Answer, start: int, stop: int) -> None:
        """Take time."""
        self.clock.rightNow += 0.001
        self.order.append("token")
        self.sink.tokens(choice, answer, start, stop)
