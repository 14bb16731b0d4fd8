"""The command, from reports to a configuration."""

import io
import json
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.calibration.known import (
    KNOWN,
    Server,
    aiperf_records,
    guidellm_report,
    poisson,
    sizes,
    sparse,
    vllm_report,
)
from tests.commandline import load_words
from vllmsim.calibration.fit import Fitting
from vllmsim.calibration.replay import NoRoom
from vllmsim.scripts.calibrate import command


class CommandTests(SynchronousTestCase):
    """A server whose step time is known, measured."""

    def setUp(self) -> None:
        """Have reports, and somewhere to print to."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.fitted = Server(sizes(30, 1)).at_a_time(6)
        self.report = self.write("fitted.json", vllm_report(self.fitted))
        self.printed, self.complaints = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.printed)
        self.patch(sys, "stderr", self.complaints)

    def write(self, name: str, text: str) -> str:
        """Write a file."""
        path = self.folder / name
        path.write_text(text, "utf-8")
        return str(path)

    def test_whole(self) -> None:
        """It writes a configuration with the coefficients, which the daemon takes, and prints how good they are."""
        unseen = self.write("unseen.json", vllm_report(Server(sizes(30, 2)).at(poisson(30, 5.0, 2))))
        target = self.folder / "sim.yaml"
        words = [self.report, "--check", unseen, "--write", str(target), "--max-num-seqs", "64"]
        self.assertEqual(0, command.run(words))
        c = load_words(["--config", str(target)], {}).configuration
        self.assertEqual(("step", "linear", 64), (c.scheduling_model, c.step_time, c.max_num_seqs))
        found = (
            c.step_time_constant,
            c.step_time_per_prefill_token,
            c.step_time_per_decode_sequence,
            c.step_time_per_cached_token,
        )
        for value, right in zip(found, KNOWN.values, strict=True):
            self.assertLess(abs(value / right - 1), 0.001)
        said = self.printed.getvalue()
        self.assertRegex(said, r"step-time-per-prefill-token +120us")
        self.assertIn("fitted.json (learned from): 30 requests, at most 6 at a time", said)
        self.assertIn("unseen.json (not seen): 30 requests", said)
        self.assertEqual(6, said.count("0.00%"))
        comments = target.read_text("utf-8").splitlines()[:3]
        self.assertIn("#   unseen.json (not seen): TTFT 0.00%, ITL 0.00%, E2E 0.00%", comments)

    def test_sizes(self) -> None:
        """The configuration has the sizes that the engine was told, whichever name they have."""
        target = self.folder / "sim.yaml"
        words = ["--kv-cache-size", "300", "--block-size", "32", "--no-enable-chunked-prefill"]
        self.assertEqual(0, command.run([self.report, "--write", str(target), *words]))
        c = load_words(["--config", str(target)], {}).configuration
        self.assertEqual((300, 32, False), (c.kv_cache_size, c.block_size, c.chunks_prefills))

    def test_json(self) -> None:
        """It prints JSON, of reports of any of the three programs; what those do not tell is said to be uncertain."""
        guide = self.write("benchmarks.json", guidellm_report(self.fitted, sparse(self.fitted)))
        records = self.write("profile_export.jsonl", aiperf_records(self.fitted))
        self.assertEqual(0, command.run([records, "--check", guide, "--json"]))
        value = json.loads(self.printed.getvalue())
        self.assertLess(abs(value["coefficients"]["constant"] / KNOWN.constant - 1), 0.001)
        self.assertEqual("step", value["settings"]["scheduling-model"])
        self.assertEqual([30, 30], [each["requests"] for each in value["checked"]])
        for each in (*value["fitted"], *value["checked"]):
            self.assertEqual({"ttft", "itl", "e2e"}, each["times"].keys())
            for times in each["times"].values():
                self.assertLess(times["mape"], 0.05)

    def test_untold(self) -> None:
        """Coefficients that a run hardly tells are named; here every request is alone, and has one token."""
        run = Server([(100, 1)] * 5).at([1.0, 2.0, 3.0, 4.0, 5.0])
        self.assertEqual(0, command.run([self.write("r", vllm_report(run))]))
        said = self.printed.getvalue()
        self.assertIn("These runs hardly tell", said)
        self.assertIn("step-time-per-cached-token. Measure with other lengths", said)
        self.assertNotIn("ITL", said)

    def test_preempted(self) -> None:
        """Where the KV cache is small, preemptions are counted."""
        report = self.write("r", vllm_report(Server([(30, 60)] * 6).at([0.0] * 6)))
        self.assertEqual(0, command.run([report, "--num-gpu-blocks-override", "16", "--max-model-len", "100"]))
        self.assertIn(" preemptions", self.printed.getvalue())

    def test_outside(self) -> None:
        """The time of requests on their way is told."""
        run = Server(sizes(40, 1), way=0.005).at(poisson(40, 6.0, 1))
        self.assertEqual(0, command.run([self.write("r", vllm_report(run))]))
        self.assertRegex(self.printed.getvalue(), r"A request spends [45]\.\d+ms outside of the engine")

    def test_no_room(self) -> None:
        """A KV cache in which a request never finds its blocks is a problem."""

        def starve(_self: object) -> None:
            raise NoRoom

        self.patch(Fitting, "fit", starve)
        self.assertEqual(1, command.run([self.report]))
        self.assertIn("the KV cache has no room for a request", self.complaints.getvalue())

    def test_problems(self) -> None:
        """What goes wrong is one line, and a status."""
        for words, status, problem in (
            ([self.write("no", "no")], 1, "no: it is not JSON"),
            ([self.report, "--check", self.write("e", "{}")], 1, "e: it is no report of vllm bench serve"),
            ([self.report, "--max-num-seqs", "0"], 2, "--max-num-seqs (command line): '0' will not do"),
            ([self.report, "--max-model-len", "5"], 2, "and there is room for 5"),
            ([self.report, "--write", str(self.folder / "none" / "x")], 1, "No such file or directory"),
        ):
            self.complaints.truncate(0)
            self.assertEqual(status, command.run(words))
            said = self.complaints.getvalue().lstrip("\0")
            self.assertTrue(said.startswith("vllmsim calibrate: "), said)
            self.assertIn(problem, said)
            self.assertEqual(1, said.count("\n"))
        self.assertEqual("", self.printed.getvalue())

    def test_interrupted(self) -> None:
        """An interrupt ends it, with nothing written."""

        def interrupt(_self: object) -> None:
            raise KeyboardInterrupt

        self.patch(Fitting, "fit", interrupt)
        target = self.folder / "sim.yaml"
        self.assertEqual(130, command.run([self.report, "--write", str(target)]))
        self.assertFalse(target.exists())
        self.assertEqual("vllmsim calibrate: interrupted; nothing was written\n", self.complaints.getvalue())
