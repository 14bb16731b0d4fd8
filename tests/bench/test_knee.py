"""Throughput and gaps over the number of clients."""

import re
import sys
from io import StringIO
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench import knee
from bench.knee import Load, main, make_scheduler
from tests.commandline import load_words
from tests.folders import make_folder
from tests.integration.daemon import ROOT
from vllmsim.config.schema import Configuration
from vllmsim.steptime.choice import make_step_time


class KneeTests(SynchronousTestCase):
    """A small engine whose steps take 10 ms, however much they compute."""

    def configure(self, *words: str) -> Configuration:
        """Make a configuration."""
        step = ("--scheduling-model", "step", "--step-time-constant", "10ms", "--max-model-len", "256")
        return load_words((*step, *words), {}).configuration

    def run_load(self, clients: int, *words: str) -> Any:
        """Run clients with prompts of 32 tokens and answers of 16, on average."""
        c = self.configure(*words)
        return Load(make_scheduler(c), make_step_time(c), clients, 32, 16).run()

    def test_room_for_all(self) -> None:
        """Where each has a place, each has a token in every step."""
        for clients in (1, 4):
            point = self.run_load(clients)
            self.assertAlmostEqual(100.0 * clients, point.throughput)
            self.assertAlmostEqual(0.01, point.gap)

    def test_slots(self) -> None:
        """Where there are fewer places than clients, all places are taken."""
        point = self.run_load(8, "--max-num-seqs", "2")
        self.assertAlmostEqual(200.0, point.throughput, delta=1)

    def test_blocks(self) -> None:
        """Where blocks run out, sequences lose theirs, which others see as longer gaps."""
        point = self.run_load(16, "--num-gpu-blocks-override", "20")
        self.assertGreater(point.preemptions, 0)
        self.assertLess(point.throughput, 1000)

    def test_same(self) -> None:
        """Figures are the same each time."""
        self.assertEqual(self.run_load(3), self.run_load(3))

    def test_command(self) -> None:
        """The command writes a picture that names the preset and itself."""
        self.patch(knee, "CLIENTS", (1, 2))
        self.patch(knee, "PROMPT", 16)
        self.patch(knee, "ANSWER", 4)
        told = StringIO()
        self.patch(sys, "stdout", told)
        path = make_folder(self) / "knee.svg"
        self.assertEqual(0, main([str(path), "--model-preset", "llama-3.1-8b"]))
        drawn = path.read_text("utf-8")
        self.assertIn("llama-3.1-8b on h100-sxm", drawn)
        self.assertIn("--model-preset llama-3.1-8b", drawn)
        self.assertEqual(3, told.getvalue().count("\n"))

    def test_usage(self) -> None:
        """Without a path it says what it needs."""
        self.assertEqual([2, 2], [main([]), main(["--model-preset"])])

    def test_documented(self) -> None:
        """The picture in the documentation is made by the command that stands beside it."""
        page = ROOT.joinpath("docs", "steps.rst").read_text("utf-8")
        [command] = re.findall(r"\n    (python -m bench\.knee docs/knee\.svg .*\n(?:        .*\n)*)", page)
        notes = [
            each
            for each in ROOT.joinpath("docs", "knee.svg").read_text("utf-8").split("</text>")
            if 'font-size="10"' in each
        ]
        self.assertEqual(command.split(), " ".join([each.rpartition(">")[2] for each in notes]).split())
