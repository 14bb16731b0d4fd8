"""What may become of a sequence on its course through an engine: a rank that goes in steps of 100 ms."""

import json
from typing import Any

from twisted.internet.defer import Deferred

from tests.harness import Exchange
from tests.scheduling.steps.test_engine import STEP, EngineCase
from vllmsim.composing.composer import Composer
from vllmsim.errors import InvalidRequest
from vllmsim.inference import Answer, Composition

LORAS = ("--lora-modules", "a=/a", "b=/b", "--max-loras", "1", "--lora-load-time", "150ms")
PER_TOKEN = ("--step-time-per-prefill-token", "10ms", "--step-time-constant", "0")
NOTHING_LEFT = "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"
DEFERRED = 'vllm:num_requests_waiting_by_reason{engine="0",model_name="Qwen/Qwen3-0.6B",reason="deferred"}'
REMOTE = {"kv_transfer_params": {"do_remote_prefill": True}}
KV_BOTH = ("--kv-transfer-config", '{"kv_connector": "NixlConnector", "kv_role": "kv_both"}')


def reason(exchange: Exchange) -> str | None:
    """Tell why a stream ended."""
    found: list[str] = [
        each["choices"][0]["finish_reason"] for each in exchange.events()[:-1] if each["choices"][0]["finish_reason"]
    ]
    return found[0] if found else None


class LeavingTests(EngineCase):
    """Sequences that end before their last token."""

    def test_client_leaves(self) -> None:
        """Its place is free for the next step, and what it has cost in this one stays."""
        self.make("--max-num-seqs", "1")
        first, second = self.ask(tokens=9), self.ask(tokens=2)
        self.step()
        first.drop()
        self.clock.advance(0)
        self.assertEqual([0, 1], self.values("num_requests_running", "num_requests_waiting"))
        self.assertEqual([[0], [1], [2]], self.steps(3, second))
        self.assertEqual(("disconnected", 1), tuple(self.record(0)[name] for name in ("outcome", "generated_tokens")))

    def test_aborted(self) -> None:
        """Who is ended by an operator has what was sent, be it in a step or waiting, and none of it is counted."""
        self.make("--max-num-seqs", "1")
        first, second = self.ask(tokens=9), self.ask(tokens=2)
        self.steps(2)
        self.assertEqual(2, self.post("/abort_requests", b"").json()["aborted"])
        self.assertEqual([2, 0], self.told(first, second))
        self.assertEqual(["abort", "abort"], [reason(first), reason(second)])
        self.assertEqual([0, 0], self.values("num_requests_running", "num_requests_waiting"))
        self.step()
        self.assertEqual([0.0, 0.0], self.values("kv_cache_usage_perc", "e2e_request_latency_seconds_count"))

    def test_broken_sink(self) -> None:
        """If tokens of one cannot be delivered that one fails; those beside it go on."""
        self.make()
        asked = self.ask(tokens=3), self.ask(tokens=3)
        sequence = next(iter(self.rank.backlog.sequences))

        class Broken:
            def started(self, *_: object) -> None:
                """Be all right."""

            def tokens(self, _choice: int, _answer: Answer, _start: int, stop: int) -> None:
                """Break with the second token."""
                if stop > 1:
                    raise ArithmeticError

        sequence.submission.sink = Broken()  # type: ignore[assignment]
        self.steps(4)
        self.assertEqual(3, self.told(asked[1])[0])
        self.assertEqual("failed", self.record(0)["outcome"])
        self.assertEqual(1, len(self.flushLoggedErrors(ArithmeticError)))
        self.assertEqual([0, 0.0], self.values("num_requests_running", "kv_cache_usage_perc"))

    def test_broken_engine(self) -> None:
        """If a step cannot be made all that are there fail, and the rank goes on with those that come."""
        self.make()
        asked = [self.ask(tokens=3) for _ in range(3)]
        self.step()
        slots: Any = self.rank.slots
        times: list[Any] = []

        class Broken:
            def seconds(self, *_: object) -> float:
                """Break, once."""
                slots._step_time = times.pop()
                raise ArithmeticError

        times.append(slots._step_time)
        slots._step_time = Broken
        self.step()
        self.assertEqual([True] * 3, [each.complete for each in asked])
        self.assertEqual(4, len(self.flushLoggedErrors(ArithmeticError)))
        self.assertEqual([0, 0], self.values("num_requests_running", "num_requests_waiting"))
        self.assertEqual([[1], [2]], self.steps(2, self.ask(tokens=2)))
        self.step()
        self.assertEqual([0.0], self.values("kv_cache_usage_perc"))

    def test_halted(self) -> None:
        """An engine that is stopped makes no step, and goes on when it is started."""
        self.make()
        asked = self.ask(tokens=3)
        self.step()
        self.rank.slots.stop()
        self.assertEqual([[1]] * 5, self.steps(5, asked))
        self.rank.slots.start()
        self.assertEqual([2], self.later(0, asked))
        self.rank.slots.stop()
        self.rank.slots.start()
        self.assertEqual([2], self.later(STEP * 0.9, asked))
        self.assertEqual([3], self.later(STEP * 0.2, asked))


class LateTests(EngineCase):
    """Tokens that are late on purpose."""

    def spoil(self, **rule: object) -> None:
        """Disturb those that ask for it."""
        self.make("--failure-rules", json.dumps([{"name": "late", "header": {"X-Spoil": "yes"}, **rule}]))

    def ask_late(self) -> Exchange:
        """Ask for a stream of three tokens that is to be disturbed."""
        asked = {"prompt": [1, 2, 3, 4], "max_tokens": 3, "stream": True, "ignore_eos": True}
        return self.post("/v1/completions", asked, X_Spoil="yes")

    def test_first_token(self) -> None:
        """A first token comes so much later, and all others behind it; it has its place, and others are as ever."""
        self.spoil(**{"first-token": "1s"})
        late = self.ask_late()
        other = self.ask(tokens=2)
        self.assertEqual([[0, 0], [0, 1], [0, 2]], self.steps(3, late, other))
        self.assertEqual([1, 0], self.values("num_requests_running", "num_requests_waiting"))
        self.clock.advance(0.75)
        self.assertEqual([0], self.told(late))
        self.assertEqual([1], self.later(STEP / 2, late))
        self.assertEqual([[2], [3]], self.steps(2, late))

    def test_stall(self) -> None:
        """An answer may stall, and end while it does."""
        self.spoil(stall={"tokens": 2, "for": "1s"})
        asked = [self.ask_late() for _ in range(2)]
        self.assertEqual([[1, 0], [2, 1], [2, 2], [2, 2]], self.steps(4, *asked))
        asked[0].drop()
        self.clock.advance(0)
        self.assertEqual([1], self.values("num_requests_running"))
        self.assertEqual([[2]] * 9, self.steps(9, asked[1]))
        self.assertEqual([[3]], self.steps(1, asked[1]))

    def test_for_ever(self) -> None:
        """One that stalls for ever has its place until its client leaves."""
        self.spoil(stall=1)
        asked = self.ask_late()
        self.clock.pump([STEP, STEP, 1e4])
        self.assertEqual(([1], [1]), (self.told(asked), self.values("num_requests_running")))
        asked.drop()
        self.step()
        self.assertEqual([0, 0.0], self.values("num_requests_running", "kv_cache_usage_perc"))

    def test_image(self) -> None:
        """An image has the last token come later."""
        self.make("--omni", "--time-to-generate-image", "1s", "--mode", "echo")
        body = json.dumps({"messages": [{"role": "user", "content": "a b"}], "stream": True}).encode()
        asked = self.connect().send(
            "POST", "/v1/chat/completions", body, Content_Type="application/json", X_Send_Image="true"
        )
        self.clock.advance(0)
        self.clock.pump([STEP] * 3 + [0.9])
        self.assertEqual(3, len(asked.events()))
        self.clock.advance(STEP)
        self.assertEqual(("image", "[DONE]"), (asked.events()[3]["modality"], asked.events()[-1]))


class CacheTests(EngineCase):
    """What sequences find in the KV cache, or fetch."""

    def test_prefix(self) -> None:
        """A prefix that is computed is not computed again, as soon as a step computes it, and usage tells so."""
        self.make(
            "--enable-prompt-tokens-details", "--step-time-per-prefill-token", "10ms", "--step-time-constant", "0"
        )
        body = {"prompt": [*range(30)], "max_tokens": 1}
        first = self.post("/v1/completions", body)
        self.clock.advance(0.29)
        self.assertEqual(0, first.status)
        self.clock.advance(0.02)
        second = self.post("/v1/completions", body)
        self.clock.advance(0.05)
        self.assertEqual(0, second.status)
        self.clock.advance(0.02)
        self.assertEqual(24, second.json()["usage"]["prompt_tokens_details"]["cached_tokens"])
        self.assertEqual(
            [60, 24, 24],
            self.values("prefix_cache_queries_total", "prefix_cache_hits_total", "prompt_tokens_cached_total"),
        )

    def test_refused(self) -> None:
        """A prompt of which too little is cached is sent away at a step's beginning, and takes no part of it."""
        self.make("--global-cache-hit-threshold", "0.5", "--step-time-per-prefill-token", "1s")
        asked = self.ask(30, tokens=4)
        self.assertEqual(["cache_threshold"], [reason(asked)])
        self.assertEqual([0, 0, 0.0], self.values(*NOTHING_LEFT))
        self.assertEqual(1, self.record(0)["choices"][0]["tokens"] + 1)
        self.assertEqual([1], self.step(self.ask(1, tokens=1)))

    def test_choices_have_one_fate(self) -> None:
        """All choices of a prompt are refused, or none."""
        self.make("--global-cache-hit-threshold", "0.5")
        asked = self.complete([*range(30)], n=3, max_tokens=2)
        self.assertEqual(["cache_threshold"] * 3, [each["finish_reason"] for each in asked.json()["choices"]])

    def test_fetched(self) -> None:
        """What another server has computed is fetched first, which takes no place of those that run, nor their time."""
        self.make("--kv-cache-transfer-latency", "250ms", *KV_BOTH)
        fetching, other = self.ask(32, tokens=2, **REMOTE), self.ask(tokens=3)
        self.assertEqual([[0, 1], [0, 2]], self.steps(2, fetching, other))
        self.assertEqual([1, 1], self.values("num_requests_running", "num_requests_waiting"))
        self.assertEqual(
            1,
            self.sample(
                'vllm:num_requests_waiting_by_reason{engine="0",model_name="Qwen/Qwen3-0.6B",reason="deferred"}'
            ),
        )
        self.assertEqual([[0, 3], [1, 3], [2, 3]], self.steps(3, fetching, other))
        names = "nixl_xfer_time_seconds_sum", "nixl_xfer_time_seconds_count"
        self.assertEqual([0.25, 1], self.values(*names))
        self.assertEqual(31, self.record(0)["cached_tokens"])

    def test_fetch_given_up(self) -> None:
        """A client may leave while its tokens are fetched; then nothing is left of it."""
        self.make("--kv-cache-transfer-latency", "250ms", *KV_BOTH)
        fetching = self.ask(32, tokens=2, **REMOTE)
        self.clock.advance(STEP)
        fetching.drop()
        self.clock.advance(1)
        self.assertEqual([0, 0, 0.0], self.values(*NOTHING_LEFT))
        self.assertEqual([0], self.values("nixl_xfer_time_seconds_count"))


class AdapterTests(EngineCase):
    """Sequences that use LoRA adapters."""

    def test_deferred(self) -> None:
        """Who needs one more adapter than there may be waits, and holds up nobody behind it."""
        self.make(*LORAS)
        first, second, third = (self.ask(tokens=3, model=model) for model in ("a", "b", "a"))
        asked = first, second, third, self.ask(tokens=2, model="Qwen/Qwen3-0.6B")
        self.assertEqual([1, 0, 0, 0], self.later(0.3, *asked))
        deferred = 'vllm:num_requests_waiting_by_reason{engine="0",model_name="Qwen/Qwen3-0.6B",reason="deferred"}'
        self.assertEqual([1, 1.0], [*self.values("num_requests_waiting"), self.sample(deferred)])
        self.assertEqual([[2, 0, 1, 1], [3, 0, 2, 2], [3, 0, 3, 2]], self.steps(3, *asked))
        # Behind the last of the first adapter the other is loaded.
        self.assertEqual([3, 0, 3, 2], self.later(0.1, *asked))
        self.assertEqual([3, 1, 3, 2], self.later(0.15, *asked))

    def test_loaded_in_a_step(self) -> None:
        """A step waits until the adapters that it needs are there, which all that are in it feel."""
        self.make(*LORAS)
        asked = self.ask(tokens=3), self.ask(tokens=1, model="a")
        self.assertEqual([[1, 0], [1, 0], [1, 0]], self.steps(3, *asked))
        self.assertEqual([2, 1], self.later(STEP, *asked))

    def test_unloaded(self) -> None:
        """An adapter that is served no more is there until nobody needs it."""
        self.make(*LORAS)
        asked = self.ask(tokens=2, model="a")
        self.clock.advance(0)
        self.post("/v1/unload_lora_adapter", {"lora_name": "a"})
        self.steps(5)
        self.assertTrue(asked.complete)
        self.assertEqual(0, self.sample('vllmsim:lora_adapters{engine="0",model_name="Qwen/Qwen3-0.6B",place="gpu"}'))


class ComposedTests(EngineCase):
    """Sequences whose answers take time to compose."""

    def slow(self) -> None:
        """Have a rank whose first answer is not known at once."""
        self.waiting: list[Deferred[None]] = []
        compose = Composer.compose

        async def wait_once(composer: Composer, *arguments: Any) -> Composition:
            if not self.waiting:
                self.waiting.append(Deferred())
                await self.waiting[0]
            return await compose(composer, *arguments)

        self.patch(Composer, "compose", wait_once)
        self.make("--max-num-seqs", "1")

    def test_passed_over(self) -> None:
        """Who has no answer yet is passed over, and comes to its turn when it has one."""
        self.slow()
        asked = self.ask(tokens=1), self.ask(tokens=1), self.ask(tokens=1)
        deferred = 'vllm:num_requests_waiting_by_reason{engine="0",model_name="Qwen/Qwen3-0.6B",reason="deferred"}'
        self.assertEqual(1, self.sample(deferred))
        self.assertEqual([0, 1, 0], self.step(*asked))
        self.waiting[0].callback(None)
        self.assertEqual([[0, 1, 1], [1, 1, 1]], self.steps(2, *asked))
        self.assertEqual(0, self.sample(deferred))

    def laborious(self) -> None:
        """Have a rank where it takes a millisecond to compose an answer."""
        compose = Composer.compose

        async def work(composer: Composer, *arguments: Any) -> Composition:
            self.clock.rightNow += 0.001
            return await compose(composer, *arguments)

        self.patch(Composer, "compose", work)
        self.make("--max-num-seqs", "64")

    def test_in_turn(self) -> None:
        """Answers of many are composed a few at a time, so that others have their turn."""
        self.laborious()
        order: list[float] = []
        self.clock.callLater(0, lambda: order.append(self.sample(DEFERRED)))
        asked = self.complete([1, 2, 3], n=20, max_tokens=1)
        self.assertTrue(order and 0 < order[0] < 20, order)
        self.clock.pump([0.001] * 40 + [STEP] * 2)
        self.assertEqual((200, 0), (asked.status, self.sample(DEFERRED)))

    def test_gone_before_its_turn(self) -> None:
        """Who leaves or is ended before anything is composed for it is gone at once."""
        self.laborious()
        gone, slots = self.connect(), self.rank.slots
        left: list[int] = []

        def end() -> None:
            """End all in the midst of it."""
            left.append(len(slots._arrived))  # type: ignore[attr-defined]
            gone.drop()
            self.rank.control.abort([])

        self.clock.callLater(0, end)
        body = b'{"prompt": [1], "n": 20}'
        gone.send("POST", "/v1/completions", body, Content_Type="application/json")
        ended = self.complete([1, 2, 3], n=20, max_tokens=1)
        self.assertTrue(left and 20 < left[0] < 40, left)
        self.clock.pump([0.001] * 5)
        self.assertEqual(["abort"] * 20, [each["finish_reason"] for each in ended.json()["choices"]])
        self.assertEqual([0, 0], self.values("num_requests_running", "num_requests_waiting"))
        self.assertEqual(["disconnected", "aborted"], [self.record(number)["outcome"] for number in range(2)])

    def test_client_leaves(self) -> None:
        """One may leave before it has an answer, and one whose answer cannot be had fails alone."""
        self.slow()
        first, second = self.ask(tokens=1), self.ask(tokens=1)
        first.drop()
        self.assertEqual([1], self.step(second))
        self.waiting.clear()
        third = self.ask(tokens=1)
        self.waiting[0].errback(InvalidRequest("no"))
        self.assertEqual(400, third.status)
        self.assertEqual([0, 0], self.values("num_requests_running", "num_requests_waiting"))
        self.assertEqual([1], self.step(self.ask(tokens=1)))
