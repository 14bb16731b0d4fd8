"""In which order a whole rank serves requests for adapters: what llm-d-inference-sim's own tests ask for."""

from tests.harness import Exchange, RankTestCase


class OrderTests(RankTestCase):
    """Each request is a number, and the adapter that it is for; 0 is the base model."""

    def start(self, sequences: int, adapters: int, *words: str) -> None:
        """Have a rank whose answers take a second."""
        modules = [word for number in range(1, 6) for word in ("--lora-modules", f"lora{number}=/p")][1:]
        names = [word for word in modules if word != "--lora-modules"]
        self.make_rank(
            "--max-num-seqs", str(sequences), "--max-loras", str(adapters), "--time-to-first-token", "1s",
            "--model", "m", "--lora-modules", *names, *words,
        )  # fmt: skip
        self.asked: list[Exchange] = []

    def ask(self, *adapters: int, apart: float = 0.0) -> None:
        """Ask for answers, one after the other."""
        for adapter in adapters:
            self.asked.append(self.complete(model=f"lora{adapter}" if adapter else "m", max_tokens=1))
            self.clock.pump([apart / 10] * 10 if apart else [0])

    def order(self) -> list[set[int]]:
        """Wait for all, and tell which came when."""
        done: list[set[int]] = []
        for _ in range(10_000):
            self.clock.advance(0.01)
            known = set().union(*done)
            if now := {number for number, each in enumerate(self.asked) if each.complete} - known:
                done.append(now)
            if len(known | now) == len(self.asked):
                break
        self.assertEqual({200}, {each.status for each in self.asked})
        return done

    def test_one_slot(self) -> None:
        """With one slot and room for one adapter, those of the adapter that is there are first, then the oldest."""
        self.start(1, 1)
        self.ask(1, 1, 2, 3, 4, 1, 2, 3, 4)
        self.assertEqual([{number} for number in (0, 1, 5, 2, 6, 3, 7, 4, 8)], self.order())

    def test_two_slots(self) -> None:
        """With two slots those of one adapter run together."""
        self.start(2, 1)
        self.ask(1, 1, 2, 3, 4, 2, 3, 4)
        self.assertEqual([{0, 1}, {2, 5}, {3, 6}, {4, 7}], self.order())

    def test_three_adapters(self) -> None:
        """With room for three adapters, those of a fourth wait until one of the three is not in use."""
        for sequences in (4, 5):
            self.start(sequences, 3)
            self.ask(1, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, apart=0.1)
            order = [number for numbers in self.order() for number in sorted(numbers)]
            self.assertEqual([0, 1, 2, 3, 6, 7, 8], order[:7])
            self.assertEqual([{4, 9}, {5, 10}], [set(order[7:9]), set(order[9:])])

    def test_five_adapters(self) -> None:
        """With room for all adapters, those that are there are first all the same."""
        self.start(5, 5)
        self.ask(1, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, apart=0.1)
        order = [number for numbers in self.order() for number in sorted(numbers)]
        self.assertEqual([0, 1, 2, 3, 4, 6, 7, 8, 9, 5, 10], order)

    def test_late_one(self) -> None:
        """One that comes late for the adapter that is there comes before those of another."""
        for sequences, adapters in ((5, 1), (1, 5)):
            self.start(sequences, adapters)
            self.ask(1, 1, 1)
            self.clock.advance(0.1)
            self.ask(2, 2, 2, 2)
            self.clock.advance(0.5)
            self.ask(1)
            order = [number for numbers in self.order() for number in sorted(numbers)]
            self.assertEqual({0, 1, 2, 7}, set(order[:4]))

    def test_many(self) -> None:
        """Of a thousand requests as many run as there are slots, for no more adapters than may, and all are served."""
        self.start(12, 2)
        self.ask(*[1 + number % 5 for number in range(1000)])
        self.clock.advance(0)
        labels = '{engine="0",model_name="m"'
        self.assertEqual(12, self.sample(f"vllm:num_requests_running{labels}}}"))
        self.assertEqual(988, self.sample(f"vllm:num_requests_waiting{labels}}}"))
        self.assertEqual(600, self.sample(f'vllm:num_requests_waiting_by_reason{labels},reason="deferred"}}'))
        self.assertEqual(388, self.sample(f'vllm:num_requests_waiting_by_reason{labels},reason="capacity"}}'))
        served: list[float] = []
        while self.sample(f"vllm:num_requests_running{labels}}}"):
            self.assertLessEqual(self.sample('vllmsim:lora_adapters{engine="0",model_name="m",place="gpu"}'), 2)
            self.clock.pump([1, 0, 0])
            served.append(self.clock.seconds())
        self.assertEqual({200}, {each.status for each in self.asked})
        self.assertLess(len(served), 120)

    def test_full(self) -> None:
        """With one slot and one place in the queue, the third request and all after it are told that it is full."""
        self.start(1, 1, "--max-waiting-queue-length", "1")
        for stream in (False, True):
            first = [self.complete(model="m", max_tokens=1, stream=stream) for _ in range(5)]
            self.assertEqual([0, 0, 429, 429, 429], [each.status for each in first])
            error = first[2].json()["error"]
            self.assertIn("waiting requests queue is full", error["message"])
            self.assertEqual(("RateLimitError", 429), (error["type"], error["code"]))
            self.clock.pump([1, 0, 1, 0])
            self.assertEqual([200, 200], [each.status for each in first[:2]])
