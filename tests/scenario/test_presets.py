"""The scenarios that come with the program."""

from pathlib import Path

from twisted.internet.defer import Deferred

from tests.scenario.test_player import ScenarioTestCase
from vllmsim.config.scenario.reading import read_scenario

FOLDER = Path(__file__).parents[2] / "etc" / "vllmsim" / "scenarios"
WORDS = ("--enable-kvcache", "--kv-cache-size", "1025", "--max-model-len", "512", "--max-num-seqs", "8")


class PresetTests(ScenarioTestCase):
    """Each of them, with a request every five seconds."""

    def play(self, path: Path) -> None:
        """Play one round, and stop."""
        self.make_rank(*WORDS)
        before = self.live.current
        text = path.read_bytes()
        scenario = read_scenario(text, {0: before}, json=False)
        starting = Deferred.fromCoroutine(self.scenarios.start(text, json=False, rank=None, replace=False))
        self.successResultOf(starting)
        statuses = set()
        for second in range(round(scenario.duration)):
            if not second % 5:
                statuses.add(self.complete([1, 2, 3] * 20, max_tokens=20).status)
            self.clock.advance(1)
        self.assertLessEqual(statuses, {0, 200, 429, 503}, path.name)
        self.stop()
        self.assertEqual({None}, {step["trouble"] for step in self.played()["steps"]}, path.name)
        self.assertEqual(before, self.live.current, path.name)
        self.assertEqual(1, len(self.get("/v1/models").json()["data"]), path.name)
        self.assertEqual((200, 200), (self.get("/health").status, self.get("/health/ready").status))
        # Whoever waited for room is served.
        self.clock.pump([1] * 60)
        self.assertEqual(0, len(self.rank.backlog.sequences), path.name)

    def test_all(self) -> None:
        """Each goes with a server that has a KV cache, does all that it says, and leaves all as it was."""
        paths = sorted(FOLDER.glob("*.yaml"))
        self.assertEqual(6, len(paths))
        for path in paths:
            self.play(path)
            self.doCleanups()
