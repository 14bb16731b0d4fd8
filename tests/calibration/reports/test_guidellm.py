"""What guidellm writes."""

import json
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.calibration.known import Server, guidellm_report, sizes
from vllmsim.calibration.measured import Measured, Run
from vllmsim.calibration.reports import guidellm
from vllmsim.calibration.reports.fields import ReportError


class GuidellmTests(SynchronousTestCase):
    """Its benchmarks."""

    def setUp(self) -> None:
        """Measure a server twice."""
        self.runs = [Server(sizes(5, 1)).at_a_time(2), Server(sizes(4, 2)).at_a_time(1)]
        self.report = json.loads(guidellm_report(*self.runs))

    def first(self, **requests: Any) -> Run:
        """Read a report of one benchmark with such requests."""
        benchmark = self.report["benchmarks"][0]
        benchmark["requests"] |= requests
        (run,) = guidellm.read("r", {"benchmarks": [benchmark]})
        return run

    def same(self, seen: Measured, read: Measured) -> None:
        """Compare what is known of a request."""
        self.assertEqual(
            (seen.prompt_tokens, seen.output_tokens, ()), (read.prompt_tokens, read.output_tokens, read.times)
        )
        # Seconds since 1970 have no room for less than a fraction of a microsecond.
        self.assertAlmostEqual(seen.first, read.first, 5)
        self.assertAlmostEqual(seen.last, read.last, 5)

    def test_whole(self) -> None:
        """Every benchmark is a run, whose requests have a first and a last token."""
        runs = [*guidellm.read("r", self.report)]
        self.assertEqual(["r, benchmark 1", "r, benchmark 2"], [run.title for run in runs])
        for run, read in zip(self.runs, runs, strict=True):
            for seen, again in zip(run.requests, read.requests, strict=True):
                self.same(seen, again)

    def older(self, seen: Measured, **names: str) -> Mapping[str, Any]:
        """Write a request as an older release does."""
        timings = {"request_start": 100.0, "first": 100.0 + seen.first, "last": 100.0 + seen.last}
        return {
            "info": {"timings": {names.get(name, name): value for name, value in timings.items()}},
            "input_metrics": {"text_tokens": seen.prompt_tokens},
            "output_metrics": {"total_tokens": seen.output_tokens},
        }

    def test_older(self) -> None:
        """Releases of the middle have other names for the tokens, and the oldest have all in the request itself."""
        seen = self.runs[0].requests[0]
        oldest = {
            "start_time": 100.0,
            "first_token_time": 100.0 + seen.first,
            "last_token_time": 100.0 + seen.last,
            "prompt_tokens": seen.prompt_tokens,
            "output_tokens": seen.output_tokens,
        }
        middle = self.older(seen, first="first_iteration", last="last_iteration")
        del self.report["benchmarks"][0]["metrics"]
        for read in self.first(successful=[middle, oldest]).requests:
            self.same(seen, read)

    def test_failed(self) -> None:
        """Requests that were not answered, or of which too little is said, are left out and counted."""
        answered = self.report["benchmarks"][0]["requests"]["successful"]
        answered[0]["info"]["timings"]["first_token_iteration"] = None
        run = self.first(errored=[{}], incomplete=[{}, {}])
        self.assertEqual((4, 4), (len(run.requests), run.failed))

    def test_sampled(self) -> None:
        """A report with a part of the requests does not do: the others were there too."""
        answered = self.report["benchmarks"][0]["requests"]["successful"]
        problem = self.assertRaises(ReportError, self.first, successful=answered[:2])
        self.assertIn("it has 2 of 5 requests that were answered", str(problem))
