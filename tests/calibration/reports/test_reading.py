"""Files, whoever has written them."""

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.calibration.known import Server, aiperf_records, guidellm_report, sizes, vllm_report
from vllmsim.calibration.reports.fields import ReportError
from vllmsim.calibration.reports.reading import read


class ReadTests(SynchronousTestCase):
    """Finding out what a file is."""

    def setUp(self) -> None:
        """Measure a server, and have a folder."""
        self.run_ = Server(sizes(5, 1)).at_a_time(2)
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def write(self, name: str, text: str) -> str:
        """Write a file."""
        (self.folder / name).write_text(text, "utf-8")
        return str(self.folder / name)

    def refused(self, text: str) -> str:
        """Read a file that is no report, and take what is said of it, behind its name."""
        path = self.write("x.json", text)
        said = str(self.assertRaises(ReportError, read, path))
        self.assertTrue(said.startswith(f"{path}: "), said)
        return said.removeprefix(f"{path}: ")

    def test_formats(self) -> None:
        """A report of each of the three programs is read for what it is."""
        for text in (vllm_report(self.run_), guidellm_report(self.run_), aiperf_records(self.run_)):
            (run,) = read(self.write("r", text))
            self.assertEqual("r", run.title)
            self.assertEqual(
                [each.output_tokens for each in self.run_.requests], [each.output_tokens for each in run.requests]
            )
            for seen, again in zip(self.run_.requests, run.requests, strict=True):
                self.assertAlmostEqual(seen.last, again.last, 5)

    def test_appended(self) -> None:
        """What vllm bench serve has appended to a file are runs of their own."""
        path = self.write("r", vllm_report(self.run_) + "\n" + vllm_report(self.run_))
        self.assertEqual(["r, line 1", "r, line 2"], [run.title for run in read(path)])

    def test_folder(self) -> None:
        """Of a folder the file is read that guidellm or aiperf has written there."""
        self.write("benchmarks.json", guidellm_report(self.run_))
        self.assertEqual(["benchmarks.json"], [run.title for run in read(str(self.folder))])
        self.write("profile_export.jsonl", aiperf_records(self.run_))
        self.assertEqual(["profile_export.jsonl"], [run.title for run in read(str(self.folder))])

    def test_missing(self) -> None:
        """A file that is not there is named."""
        path = str(self.folder / "none.json")
        self.assertEqual(f"{path}: No such file or directory", str(self.assertRaises(ReportError, read, path)))

    def test_no_report(self) -> None:
        """What is no report is told from what is no JSON, and from what has means alone."""
        self.assertEqual("it is not JSON", self.refused("TTFT: 3"))
        for text in ("", "[1]", "{}", '{"a": 1} 3'):
            self.assertEqual("it is no report of vllm bench serve, guidellm or aiperf", self.refused(text))
        self.assertIn("give profile_export.jsonl", self.refused(json.dumps({"request_latency": {"avg": 1.0}})))

    def test_no_request(self) -> None:
        """A report without a request that was answered is of no use."""
        self.assertEqual(
            "no request in it was answered with tokens that were streamed",
            self.refused(vllm_report(self.run_, errors=["no"] * 5)),
        )

    def test_problem(self) -> None:
        """What a report lacks is said with its name."""
        self.assertIn("--save-detailed", self.refused(json.dumps({"total_input_tokens": 1, "request_throughput": 1})))
