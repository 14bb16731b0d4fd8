"""vLLM's limits on what has been let in."""

from tests.harness import RankTestCase

BUSY = (
    b'{"error":{"message":"The engine is currently busy and cannot accept new requests. Please try again later or on a '
    b'different instance.","type":"Service Unavailable","param":null,"code":503}}'
)
FULL = (
    b'{"error":{"message":"The engine has reached its prefill token backlog limit. Please try again later or on a '
    b'different instance.","type":"Service Unavailable","param":null,"code":503}}'
)


class BacklogTests(RankTestCase):
    """A rank of one slot, whose answers take a second before the first token and a second after it."""

    def start(self, *words: str) -> None:
        """Start the rank."""
        self.make_rank(
            "--max-num-seqs", "1", "--time-to-first-token", "1s", "--inter-token-latency", "1s", "--mode", "echo",
            *words,
        )  # fmt: skip

    def rejections(self) -> list[float]:
        """Tell how often each limit has been hit."""
        name = 'vllm:admission_rejections_total{model_name="Qwen/Qwen3-0.6B",reason="%s"}'
        return [self.sample(name % reason) for reason in ("max_num_queued_reqs", "max_num_queued_tokens")]

    def test_sequences(self) -> None:
        """What runs and what waits counts, every choice for itself, until it has ended."""
        self.start("--max-num-queued-reqs", "3")
        first = self.complete("a", n=2)
        refused = self.complete("b", n=2)
        self.assertEqual((503, BUSY), (refused.status, refused.body))
        second = self.complete("b", stream=True)
        self.assertEqual((503, BUSY), (self.chat("c").status, self.chat("c", stream=True).body))
        self.assertEqual([3, 0], self.rejections())
        self.clock.pump([0, 1, 1])
        self.assertEqual(0, self.complete("c").status)
        self.clock.pump([0, 1, 1] * 3)
        self.assertEqual([200, 200], [first.status, second.status])

    def test_more_than_ever(self) -> None:
        """A request with more choices than the limit is never let in."""
        self.start("--max-num-queued-reqs", "3")
        self.assertEqual(503, self.complete(["a"] * 4).status)
        self.assertEqual(0, self.complete(["a"] * 3).status)

    def test_tokens(self) -> None:
        """Prompts before their first token count; the request that comes does not."""
        self.start("--max-num-queued-tokens", "4")
        self.complete("a b c")
        self.complete("a b c d e f", request_id="x")
        refused = self.complete("a")
        self.assertEqual((503, FULL), (refused.status, refused.body))
        self.clock.pump([0, 1])
        self.assertEqual(503, self.complete("a").status)
        self.post("/abort_requests", {"request_ids": ["x"]})
        self.assertEqual(0, self.complete("a").status)
        self.assertEqual([0, 2], self.rejections())

    def test_tokens_at_the_limit(self) -> None:
        """As many tokens as the limit are enough to refuse; answers that end leave nothing behind."""
        self.start("--max-num-queued-tokens", "3")
        self.complete("a b c")
        self.assertEqual(503, self.complete("a").status)
        self.clock.pump([0, 1, 1, 1, 1])
        self.assertEqual((0, 0), (len(self.rank.backlog.sequences), self.rank.backlog.prefill_tokens))

    def test_clients_that_leave(self) -> None:
        """A request whose client leaves counts no more."""
        self.start("--max-num-queued-reqs", "2", "--max-num-queued-tokens", "9")
        leaving = [self.complete("a b c d e"), self.complete("a b c d e")]
        self.assertEqual(503, self.complete("a").status)
        for exchange in leaving:
            exchange.drop()
        self.assertEqual((0, 0), (len(self.rank.backlog.sequences), self.rank.backlog.prefill_tokens))
        self.assertEqual(0, self.complete("a").status)

    def test_order(self) -> None:
        """A request that is wrong is told so; the limits come before the pause and before the waiting queue's bound."""
        self.start("--max-num-queued-reqs", "1", "--max-waiting-queue-length", "0")
        self.complete("a")
        self.assertEqual([400, 404], [self.complete(**fields).status for fields in ({"top_p": 2}, {"model": "x"})])
        self.assertEqual(BUSY, self.complete("b").body)
        self.post("/pause?mode=keep", b"")
        self.assertEqual(BUSY, self.complete("b").body)
