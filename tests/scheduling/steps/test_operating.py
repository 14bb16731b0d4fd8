"""What operators do to an engine that goes in steps, and what they see of it: steps of 100 ms."""

from tests.harness import Exchange
from tests.scheduling.steps.test_engine import LABELS, STEP, EngineCase


class PauseTests(EngineCase):
    """A rank that is paused, or sleeps."""

    def test_keep(self) -> None:
        """A pause that keeps what runs stops the step in its midst, and it goes on where it was."""
        self.make()
        asked = self.ask(tokens=3)
        self.assertEqual([1], self.later(STEP * 1.5, asked))
        self.post("/pause?mode=keep&clear_cache=false", b"")
        self.assertEqual([1], self.later(60, asked))
        self.post("/resume", b"")
        self.assertEqual([[1], [2]], [self.later(STEP / 4, asked), self.later(STEP / 4, asked)])
        self.assertEqual([[3]], self.steps(1, asked))

    def test_clear(self) -> None:
        """If the cache is cleared as well, what was computed is computed once more, and nothing is said twice."""
        self.make()
        asked = [self.ask([number] * 20, tokens=4) for number in range(2)]
        self.steps(2)
        self.post("/pause?mode=keep", b"")
        self.post("/resume", b"")
        told = [self.told(*asked), *self.steps(6, *asked)]
        self.assertEqual(([2, 1], [4, 4]), (told[0], told[-1]))
        self.assertEqual([2.0, 2.0], self.values("num_preemptions_total", "request_num_preemptions_sum"))

    def test_wait(self) -> None:
        """A pause may wait for what runs."""
        self.make()
        asked = self.ask(tokens=3)
        pause = self.post("/pause?mode=wait", b"")
        self.steps(2)
        self.assertEqual((0, 503), (pause.status, self.ask().status))
        self.step()
        self.assertEqual((True, 200), (asked.complete, pause.status))

    def test_abort(self) -> None:
        """By default it ends all, and who comes when it is over is served behind the step that runs."""
        self.make()
        asked = [self.ask(tokens=9) for _ in range(3)]
        self.step()
        self.post("/pause", b"")
        self.assertEqual([True] * 3, [each.complete for each in asked])
        self.post("/resume", b"")
        self.assertEqual([[0], [1]], self.steps(2, self.ask(tokens=1)))

    def test_sleep(self) -> None:
        """Who falls asleep with what runs goes on with it when it is awake."""
        self.make("--enable-sleep-mode")
        asked = self.ask(tokens=3)
        self.step()
        self.post("/sleep?level=1&mode=keep", b"")
        self.assertEqual([1], self.later(5, asked))
        self.post("/wake_up", b"")
        self.assertEqual([3], self.steps(5, asked)[-1])

    def test_reset(self) -> None:
        """The prefix cache is not forgotten while sequences run, unless they are to begin anew."""
        self.make()
        asked = self.ask(30, tokens=4)
        self.steps(2)
        self.assertEqual({"success": False}, self.post("/reset_prefix_cache", b"").json())
        self.assertEqual({"success": True}, self.post("/reset_prefix_cache?reset_running_requests=true", b"").json())
        self.assertEqual([4], self.steps(4, asked)[-1])
        self.assertEqual([1.0], self.values("num_preemptions_total"))


class QueueTests(EngineCase):
    """Who waits, and how many may."""

    def order(self, *exchanges: Exchange) -> list[int]:
        """Let all come to their end, and tell in which order they did."""
        ended: list[int] = []
        while len(ended) < len(exchanges):
            self.step()
            ended += [number for number, each in enumerate(exchanges) if each.complete and number not in ended]
        return ended

    def test_full(self) -> None:
        """A request that would wait beyond the bound is refused; those for whom there is room do not count."""
        self.make("--max-num-seqs", "2", "--max-waiting-queue-length", "1")
        asked = [self.ask() for _ in range(5)]
        self.assertEqual([200, 200, 200, 429, 429], [each.status or 200 for each in asked])
        self.steps(3)
        self.assertEqual(0, self.ask().status)

    def test_together(self) -> None:
        """Many that come together find the places that are free, though none has begun."""
        self.make("--max-num-seqs", "3", "--max-waiting-queue-length", "0")
        self.assertEqual(429, self.post("/v1/completions", {"prompt": "x", "n": 4}).status)
        asked = self.complete("x", n=3, max_tokens=1)
        self.step()
        self.assertEqual(200, asked.status)

    def test_priority(self) -> None:
        """The lowest priority comes first, where priorities count, and takes the blocks of others if it must."""
        self.make("--max-num-seqs", "1", "--scheduling-policy", "priority")
        asked = [self.ask(tokens=2, priority=priority) for priority in (5, 3, 1, 1)]
        self.assertEqual([0, 2, 3, 1], self.order(*asked))

    def test_victim(self) -> None:
        """Where blocks run out the one of the highest priority number loses its own."""
        self.make("--scheduling-policy", "priority", "--kv-cache-size", "9")
        asked = [self.ask([number] * 20, tokens=20, priority=priority) for number, priority in enumerate((9, 1))]
        self.assertEqual([1, 0], self.order(*asked))
        self.assertEqual([True, False], [self.record(number)["preemptions"] > 0 for number in range(2)])

    def test_more_slots(self) -> None:
        """When more may run, or a step may be larger, they do from the next step on."""
        self.make("--max-num-seqs", "1")
        asked = [self.ask(tokens=5) for _ in range(3)]
        self.step()
        self.post("/admin/config", {"max-num-seqs": 3})
        self.assertEqual([[2, 0, 0], [3, 1, 1]], self.steps(2, *asked))
        self.post("/admin/config", {"max-num-seqs": 1})
        self.assertEqual([3.0], self.values("num_requests_running"))

    def test_choices(self) -> None:
        """Choices of a prompt go together, and all but the first find what that has computed."""
        self.make("--enable-prompt-tokens-details")
        asked = self.complete([*range(30)], n=3, max_tokens=2, ignore_eos=True)
        self.steps(2)
        self.assertEqual([2] * 3, [len(each["text"].split()) for each in asked.json()["choices"]])
        self.assertEqual([90.0, 48.0], self.values("prefix_cache_queries_total", "prefix_cache_hits_total"))


class SeenTests(EngineCase):
    """What operators see."""

    def test_metrics(self) -> None:
        """Steps are iterations, and intervals go by their ends."""
        self.make("--max-num-seqs", "1")
        self.ask(8, tokens=3), self.ask(8, tokens=3)
        self.steps(6)
        count, total = self.values("iteration_tokens_total_count", "iteration_tokens_total_sum")
        self.assertEqual((6, 22), (count, total))
        sums = {
            "time_to_first_token_seconds": 0.1 + 0.4,
            "inter_token_latency_seconds": 4 * 0.1,
            "request_queue_time_seconds": 0.3,
            "request_prefill_time_seconds": 0.2,
            "request_decode_time_seconds": 0.4,
            "request_inference_time_seconds": 0.6,
            "e2e_request_latency_seconds": 0.9,
        }
        for name, seconds in sums.items():
            self.assertAlmostEqual(seconds, self.sample(f"vllm:{name}_sum{LABELS}"), 6, name)

    def test_chunks(self) -> None:
        """A step that gives no token is no iteration; the prompt counts with the first token."""
        self.make("--max-num-batched-tokens", "16")
        self.ask(40, tokens=2)
        self.steps(4)
        self.assertEqual([2, 42], self.values("iteration_tokens_total_count", "iteration_tokens_total_sum"))

    def test_load(self) -> None:
        """What gateways are told of the load is so."""
        self.make("--max-num-seqs", "2")
        for _ in range(3):
            self.ask([1] * 30, tokens=9)
        self.step()
        loads = self.rank.loads().figures(0)
        assert loads is not None
        self.assertEqual((2, 1, 2), (loads.running, loads.waiting, loads.most_running))

    def test_waiting(self) -> None:
        """The journal has who waits, who runs, and when each began."""
        self.make("--max-num-seqs", "1")
        self.ask(tokens=2), self.ask(tokens=2)
        self.step()
        self.assertEqual(["running", "waiting"], [self.record(number)["state"] for number in range(2)])
        self.steps(3)
        times = [self.record(number)["times"] for number in range(2)]
        self.assertEqual(
            [(0.0, 0.1, 0.2), (0.2, 0.3, 0.4)],
            [tuple(round(each[name], 6) for name in ("started", "first_token", "last_token")) for each in times],
        )
