"""What ``vllm bench serve`` writes."""

import json
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.calibration.known import Server, sizes, vllm_report
from vllmsim.calibration.measured import Run
from vllmsim.calibration.reports import vllm
from vllmsim.calibration.reports.fields import ReportError


class VllmTests(SynchronousTestCase):
    """Its detailed results."""

    def setUp(self) -> None:
        """Measure a server."""
        self.run_ = Server(sizes(6, 1)).at_a_time(2)

    def read(self, **more: Any) -> Run:
        """Read a report in which some members are otherwise; None takes one away."""
        value = json.loads(vllm_report(self.run_, **more))
        return vllm.read("r", {name: each for name, each in value.items() if name not in more or each is not None})

    def test_whole(self) -> None:
        """Every request has its lengths, its start and the time of each token."""
        run = self.read()
        self.assertEqual(0, run.failed)
        for seen, read in zip(self.run_.requests, run.requests, strict=True):
            self.assertEqual((seen.prompt_tokens, seen.output_tokens), (read.prompt_tokens, read.output_tokens))
            self.assertAlmostEqual(1000 + seen.start, read.start)
            for before, after in zip(seen.times, read.times, strict=True):
                self.assertAlmostEqual(before, after)

    def test_failed(self) -> None:
        """Requests with an error, or without a token, are left out and counted."""
        lengths = [each.output_tokens for each in self.run_.requests]
        run = self.read(errors=["", "refused", "", "", "", ""], output_lens=[*lengths[:5], 0])
        self.assertEqual((4, 2), (len(run.requests), run.failed))

    def test_chat(self) -> None:
        """The first chunk of a chat has no token, and is none."""
        gaps = [[0.0001, *(b - a for a, b in zip(r.times, r.times[1:], strict=False))] for r in self.run_.requests]
        run = self.read(itls=gaps)
        for seen, read in zip(self.run_.requests, run.requests, strict=True):
            self.assertEqual(seen.output_tokens, len(read.times))
            self.assertAlmostEqual(seen.first + 0.0001, read.first)

    def test_several_in_a_chunk(self) -> None:
        """Where chunks have several tokens, the first and the last are known."""
        run = self.read(itls=[[0.02, 0.03]] * 6, output_lens=[9] * 6)
        first = self.run_.requests[0].first
        self.assertEqual((first, ()), (run.requests[0].first, run.requests[0].times))
        self.assertAlmostEqual(first + 0.05, run.requests[0].last)

    def test_no_starts(self) -> None:
        """Older releases say nothing of starts; when all requests were there at once these are known all the same."""
        run = self.read(start_times=None, max_concurrency=2)
        self.assertEqual(2, run.concurrency)
        ends, again = (sorted(each.end for each in requests) for requests in (self.run_.requests, run.requests))
        # But for the pauses of the client.
        self.assertLess(max(abs(a - b) for a, b in zip(ends, again, strict=True)), 0.01)
        self.assertEqual(6, self.read(start_times=None).concurrency)

    def test_no_starts_at_random(self) -> None:
        """When they came at random they are not."""
        problem = self.assertRaises(ReportError, self.read, start_times=None, request_rate=4.0)
        self.assertIn("it does not say when requests were sent", str(problem))

    def test_not_detailed(self) -> None:
        """A report without details says how to get them."""
        problem = self.assertRaises(ReportError, self.read, input_lens=None, ttfts=None)
        self.assertEqual(
            "it has no input_lens: vllm bench serve writes what it saw of each request with --save-detailed",
            str(problem),
        )

    def test_lengths(self) -> None:
        """Lists that do not fit together are no report."""
        problem = self.assertRaises(ReportError, self.read, ttfts=[0.1])
        self.assertIn("are not of the same length", str(problem))

    def test_broken(self) -> None:
        """Values of another kind are those of requests that failed."""
        self.run_ = evolve(self.run_, requests=self.run_.requests[:2])
        run = self.read(ttfts=["x", None], itls=[3, {}])
        self.assertEqual((0, 2), (len(run.requests), run.failed))
