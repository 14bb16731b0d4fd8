"""The same requests under the same scenario have the same fate, in a server that has not been started anew."""

from typing import Any

from tests.harness import Exchange
from tests.scenario.test_player import ScenarioTestCase

WORDS = (
    "--enable-kvcache", "--kv-cache-size", "65", "--max-model-len", "256", "--max-num-seqs", "4", "--lora-modules",
    "poet=/poet", "--max-loras", "1", "--max-waiting-queue-length", "12", "--enable-prompt-tokens-details",
    "--time-to-first-token", "120ms", "--time-to-first-token-std-dev", "30ms", "--inter-token-latency", "15ms",
    "--inter-token-latency-std-dev", "4ms", "--time-factor-under-load", "2",
)  # fmt: skip
STEPS: list[dict[str, Any]] = [
    {
        "at": "1s",
        "set": {
            "failure-injection-rate": 30,
            "failure-rules": [
                {"name": "sixth", "every": 6, "status": 503},
                {"name": "late", "rate": 40, "first-token": "300ms"},
            ],
        },
        "load-adapter": {"name": "painter", "path": "/painter"},
    },
    {"at": "2s", "ramp": {"kv-pressure": 0.7, "inter-token-latency": "40ms"}, "over": "3s"},
    {"at": "4s", "unload-adapter": "poet"},
    {"at": "5s", "abort": True, "set": {"failure-injection-rate": 0}},
    {"at": "6s", "pause": "keep"},
    {"at": "7s", "resume": True},
]
CHANGING = {"number", "arrived", "headers", "path"}


class ReplayTests(ScenarioTestCase):
    """Clients that come and go, twice."""

    def visit(self) -> list[Any]:
        """Have the clients come, and tell what the journal says of them."""
        before = self.rank.journal.number
        begun = self.clock.seconds()
        leaving: list[Exchange] = []
        for number in range(8 * 16):
            if not number % 3:
                model = [None, "poet", "painter"][number % 7 % 3]
                words = " ".join(f"w{word % 5}" for word in range(number % 60 + 1))
                fields: dict[str, Any] = {"max_tokens": 10 + number % 40, **({"model": model} if model else {})}
                if number % 2:
                    exchange = self.chat(words, stream=True, n=1 + number % 2, **fields)
                else:
                    exchange = self.complete(words, **fields)
                if not number % 9:
                    leaving.append(exchange)
            if leaving and not number % 5:
                leaving.pop(0).drop()
            self.clock.advance(0.0625)
        self.clock.pump([0.0625] * 16 * 20)
        self.assertEqual(28.0, self.clock.seconds() - begun)
        listed = self.get(f"/admin/requests?after={before}&limit=1000&bodies=true").json()
        self.assertEqual(0, listed["dropped"])
        return [{name: value for name, value in each.items() if name not in CHANGING} for each in listed["requests"]]

    def play(self, seed: int) -> list[Any]:
        """Have them come under a scenario."""
        self.begin(*STEPS, seed=seed, duration="20s")
        self.assertEqual(self.rank.journal.number, self.played()["requests_before"]["0"])
        told = self.visit()
        self.assertEqual(
            ("finished", {None}), (self.played()["outcome"], {s["trouble"] for s in self.played()["steps"]})
        )
        return told

    def test_same(self) -> None:
        """Two plays from one seed have the same journal: ids, outcomes, tokens and times; another seed has another."""
        self.make_rank(*WORDS)
        # What has been before makes no difference.
        self.visit()
        first, other, second = self.play(5), self.play(6), self.play(5)
        self.assertEqual(43, len(first))
        for one, again in zip(first, second, strict=True):
            self.assertEqual(one, again)
        self.assertNotEqual(first, other)
        outcomes = {each["outcome"] for each in first}
        self.assertLessEqual({"completed", "aborted", "disconnected", "invalid", "refused", "injected"}, outcomes)
        self.assertLessEqual({None, "sixth", "late"}, {each["fault"] for each in first})
        self.assertLess(10, len({each["planned_time_to_first_token"] for each in first}))
        self.assertLess(0, sum(each["cached_tokens"] for each in first))
        self.assertLess(
            0, max(each["times"]["started"] - each["times"]["queued"] for each in first if each["times"]["started"])
        )
