"""Equal seeds and equal requests have equal answers, whatever runs at the same time."""

from collections.abc import Sequence

from tests.harness import RankTestCase

NAMES = [f"r{i}" for i in range(40)]
LATENCY = ("--time-to-first-token", "20ms", "--inter-token-latency", "3ms", "--inter-token-latency-std-dev", "0.9ms")


class ConcurrencyTests(RankTestCase):
    """Forty requests, one by one and all at once."""

    def ask(self, names: Sequence[str], *words: str, together: bool, named: bool = True) -> dict[str, str]:
        """Ask a new server for an answer to each of some requests."""
        self.make_rank(*LATENCY, *words)
        exchanges = {}
        for name in names:
            head = {"X_Request_Id": name} if named else {}
            message = {"role": "user", "content": name}
            exchanges[name] = self.post("/v1/chat/completions", {"messages": [message], "n": 2}, **head)
            if not together:
                self.clock.pump([0.01] * 200)
        self.clock.pump([0.01] * 4000)
        return {
            name: "|".join(choice["message"]["content"] for choice in exchange.json()["choices"])
            for name, exchange in exchanges.items()
        }

    def test_named(self) -> None:
        """Requests with ids of their own are answered alike in any order, in few slots and in many."""
        expected = self.ask(NAMES, "--max-num-seqs", "2", together=False)
        self.assertEqual(80, len({text for both in expected.values() for text in both.split("|")}))
        for slots in ("1", "64"):
            self.assertEqual(expected, self.ask(NAMES[::-1], "--max-num-seqs", slots, together=True))

    def test_unnamed(self) -> None:
        """Requests without are answered by the order in which they come."""
        expected = self.ask(NAMES, "--max-num-seqs", "2", together=False, named=False)
        self.assertEqual(expected, self.ask(NAMES, "--max-num-seqs", "64", together=True, named=False))
        other = self.ask(NAMES[::-1], "--max-num-seqs", "64", together=True, named=False)
        self.assertNotEqual(expected, other)
        self.assertEqual(list(expected.values()), list(other.values()))
