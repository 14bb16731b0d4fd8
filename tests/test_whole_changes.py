"""A request has one configuration, whole, however often that changes while it is read, waits and is served."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from tests.fakes import in_thread
from tests.harness import Exchange, RankTestCase

CHANGES = 1000
STEP = 0.001
STATES: tuple[dict[str, Any], ...] = (
    {
        "time-to-first-token": "40ms", "inter-token-latency": "10ms", "image-emission-rate": 0, "response-role": "one",
        "stream-interval": 1, "time-to-generate-image": 0, "reasoning-share": 0,
    },
    {
        "time-to-first-token": "25ms", "inter-token-latency": "4ms", "image-emission-rate": 100, "response-role": "two",
        "stream-interval": 3, "time-to-generate-image": "30ms", "reasoning-share": 100,
    },
)  # fmt: skip
"""Two configurations, every trace of which is other than of the other one."""


class Streamed:
    """A streamed answer of nine tokens, and when each piece of it came."""

    def __init__(self, exchange: Exchange, now: float) -> None:
        self.exchange, self.began = exchange, now
        self.times: list[float] = []

    def look(self, now: float) -> None:
        """See what has come."""
        self.times += [now - self.began] * (self._pieces() - len(self.times))

    def _pieces(self) -> int:
        return self.exchange.raw.count(b'"content":"') + self.exchange.raw.count(b'"reasoning":"') - 1

    def signature(self) -> tuple[Any, ...]:
        """Tell what shows how it was served, times in milliseconds."""
        events = [event for event in self.exchange.events() if event != "[DONE]"]
        deltas = [event["choices"][0]["delta"] for event in events]
        return (
            deltas[0]["role"],
            any("image" in str(delta) for delta in deltas),
            any("reasoning" in delta for delta in deltas),
            [1000 * time for time in self.times],
        )


class WholeTests(RankTestCase):
    """While everything changes all the time."""

    def flip(self, number: int) -> None:
        """Change the configuration as an administrator."""
        exchange = self.post("/admin/config", STATES[number % 2])
        self.assertEqual(200, exchange.status)
        self.forget(exchange)

    def forget(self, exchange: Exchange) -> None:
        """Close a connection."""
        exchange.drop()
        self.exchanges.remove(exchange)

    def begin(self, words: int = 1) -> Streamed:
        """Ask for nine tokens, between two of the moments when somebody looks."""
        self.clock.advance(STEP / 2)
        messages = [{"role": "user", "content": "hello " * words}]
        exchange = self.chat(messages=messages, stream=True, max_tokens=9, ignore_eos=True)
        stream = Streamed(exchange, self.clock.seconds())
        self.clock.advance(STEP / 2)
        return stream

    def finish(self, stream: Streamed) -> None:
        """Look until the answer is complete."""
        while not stream.exchange.complete:
            self.clock.advance(STEP)
            stream.look(self.clock.seconds())

    def signatures(self, begin: Callable[[], Streamed]) -> list[tuple[Any, ...]]:
        """See what an answer is like in each of the two configurations."""
        seen = []
        for number in range(2):
            self.flip(number)
            stream = begin()
            self.finish(stream)
            seen.append(stream.signature())
        self.assertNotEqual(*seen)
        return seen

    def check(self, expected: tuple[Any, ...], stream: Streamed) -> None:
        """Check that an answer is like another one; what is due at almost the same time comes together."""
        seen = stream.signature()
        self.assertEqual((expected[:-1], len(expected[-1])), (seen[:-1], len(seen[-1])))
        self.assertLess(max(abs(a - b) for a, b in zip(expected[-1], seen[-1], strict=True)), 2.0)

    def test_while_serving(self) -> None:
        """Of a thousand changes during load, each request sees what held when it came and nothing else."""
        self.make_rank("--omni", "--max-num-seqs", "1000", "--reasoning-parser", "deepseek_r1")
        expected = self.signatures(self.begin)
        running: list[tuple[int, Streamed]] = []
        seen = [0, 0]
        for number in range(CHANGES):
            self.flip(number)
            running.append((number % 2, self.begin()))
            for state, stream in running:
                stream.look(self.clock.seconds())
                if stream.exchange.complete:
                    self.check(expected[state], stream)
                    seen[state] += 1
                    self.forget(stream.exchange)
            running = [each for each in running if not each[1].exchange.complete]
        self.assertGreater(min(seen), CHANGES // 3)

    def test_failures(self) -> None:
        """A request fails and has no times, or does not and has those that go with that, whatever is read meanwhile."""
        held: list[Callable[[], object]] = []
        self.make_rank("--max-model-len", "32k", threads=self.holding(held))
        states = (
            {"failure-injection-rate": 100, "failure-types": ["rate_limit"], "time-to-first-token": 0},
            {"failure-injection-rate": 0, "failure-types": ["server_error"], "time-to-first-token": "7ms"},
        )
        for number in range(40):
            words = 5000 if number % 4 > 1 else 1
            self.forget(self.post("/admin/config", states[number % 2]))
            stream = self.begin(words)
            self.forget(self.post("/admin/config", states[(number + 1) % 2]))
            self.release(held)
            self.clock.pump([STEP] * 5)
            self.assertEqual((429, 0)[number % 2], stream.exchange.status)
            self.clock.pump([STEP] * 3)
            self.assertEqual((429, 200)[number % 2], stream.exchange.status)
            self.forget(stream.exchange)

    def holding(self, held: list[Callable[[], object]]) -> Callable[..., Deferred[Any]]:
        """Make threads that do nothing until they are told to."""

        def hold(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            result: Deferred[Any] = Deferred()
            held.append(lambda: in_thread(function, *arguments).chainDeferred(result))
            return result

        return hold

    def test_while_reading(self) -> None:
        """A large body, which takes a thread to read, is read and served as it was when it came."""
        held: list[Callable[[], object]] = []

        def begin() -> Streamed:
            stream = self.begin(words=5000)
            self.release(held)
            stream.began = self.clock.seconds() - STEP / 2
            return stream

        self.make_rank(
            "--omni", "--max-model-len", "32k", "--reasoning-parser", "deepseek_r1", threads=self.holding(held)
        )
        expected = self.signatures(begin)
        for number in range(20):
            self.flip(number)
            stream = self.begin(words=5000)
            for other in range(number + 1, number + 4):
                self.flip(other)
                self.clock.advance(STEP)
            self.assertEqual(1, len(held))
            self.release(held)
            stream.began = self.clock.seconds() - STEP / 2
            self.finish(stream)
            self.check(expected[number % 2], stream)

    def release(self, held: list[Callable[[], object]]) -> None:
        """Let threads do what they were to do."""
        while held:
            held.pop(0)()
            self.clock.advance(0)
