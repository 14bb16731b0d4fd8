"""What the command makes of its words."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.calibration.measured import Measured, Run
from vllmsim.config.schema import Configuration
from vllmsim.scripts.calibrate.options import UsageError, plan

RUN = Run("r", (Measured(0.0, 3000, 96, 1.0, 2.0), Measured(0.5, 100, 10, 0.1, 0.2)))


class PlanTests(SynchronousTestCase):
    """From words to a plan."""

    def test_words(self) -> None:
        """Reports may stand anywhere among the options."""
        what = plan(
            ["a.json", "--check", "c.json", "b.json", "--write", "new.yaml", "--max-num-seqs", "8", "--json"], {}
        )
        self.assertEqual((("a.json", "b.json"), ("c.json",)), (what.reports, what.checks))
        self.assertEqual((Path("new.yaml"), True), (what.target, what.json))
        self.assertEqual(("--max-num-seqs=8",), what.words)

    def test_there_already(self) -> None:
        """A file that is there is not replaced, unless that is said."""
        path = Path(self.mktemp())
        path.touch()
        problem = self.assertRaises(UsageError, plan, ["a", "--write", str(path)], {})
        self.assertEqual(f"{path} is there already; --force replaces it", str(problem))
        self.assertEqual(path, plan(["a", "--force", "--write", str(path)], {}).target)

    def test_no_report(self) -> None:
        """Without a report there is nothing to do."""
        self.assertEqual(2, self.assertRaises(SystemExit, plan, ["--json"], {}).code)


class EngineTests(SynchronousTestCase):
    """What the engine is told."""

    def engine(self, line: str) -> Configuration:
        """Settle it for a run."""
        return plan(["r", *line.split()], {}).engine([RUN]).configuration

    def test_usual(self) -> None:
        """Alone there is room for what was measured, and for as many sequences as vLLM usually runs."""
        c = self.engine("")
        self.assertEqual((True, 256, 3096), (c.steps, c.max_num_seqs, c.max_model_len))
        self.assertGreaterEqual((c.kv_cache_size - 1) * c.block_size, 2 * 3096)

    def test_given(self) -> None:
        """What is said of the server is as it is said, from the environment and from a file too."""
        c = self.engine(
            "--max-num-seqs 8 --max-num-batched-tokens 512 --max-model-len 4096 --num-gpu-blocks-override 999"
        )
        self.assertEqual((8, 512, 4096, 999), (c.max_num_seqs, c.batched_tokens, c.max_model_len, c.kv_cache_size))
        path = Path(self.mktemp())
        path.write_text("max-num-seqs: 16\nkv-cache-size: 777\nblock-size: 32\n", "utf-8")
        c = self.engine(f"--config {path}")
        self.assertEqual((16, 777, 32), (c.max_num_seqs, c.kv_cache_size, c.block_size))

    def test_no_room(self) -> None:
        """A server that could not have answered what was measured is refused."""
        for line, room in (("--max-model-len 2048", 2048), ("--num-gpu-blocks-override 65", 1024)):
            problem = str(self.assertRaises(UsageError, self.engine, line))
            self.assertIn(f"a request has 3096 tokens, and there is room for {room}", problem)

    def test_nonsense(self) -> None:
        """What the daemon would refuse is refused in its words."""
        problem = str(self.assertRaises(UsageError, self.engine, "--max-num-seqs none"))
        self.assertIn("--max-num-seqs (command line): 'none' will not do", problem)
