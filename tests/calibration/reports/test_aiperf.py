"""What aiperf writes."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.calibration.known import Server, aiperf_record, aiperf_records, sizes
from vllmsim.calibration.reports import aiperf


class AiperfTests(SynchronousTestCase):
    """Its records."""

    def setUp(self) -> None:
        """Measure a server."""
        self.run_ = Server(sizes(5, 1)).at_a_time(2)
        self.seen = self.run_.requests[0]
        self.record: dict[str, Any] = aiperf_record(self.seen)

    def test_whole(self) -> None:
        """Every request has the time of each token, to the nanosecond."""
        records = [json.loads(line) for line in aiperf_records(self.run_).splitlines()]
        read = aiperf.read("r", records)
        for seen, again in zip(self.run_.requests, read.requests, strict=True):
            self.assertEqual((seen.prompt_tokens, seen.output_tokens), (again.prompt_tokens, again.output_tokens))
            self.assertAlmostEqual(seen.start, again.start, 8)
            for before, after in zip(seen.times, again.times, strict=True):
                self.assertAlmostEqual(before, after)

    def test_usage(self) -> None:
        """What the server has counted goes before what the client has."""
        self.record["metrics"]["usage_prompt_tokens"] = {"value": 77, "unit": "tokens"}
        (read,) = aiperf.read("r", [self.record]).requests
        self.assertEqual((77, self.seen.output_tokens), (read.prompt_tokens, read.output_tokens))

    def test_several_in_a_chunk(self) -> None:
        """Where chunks have several tokens their times are those of first and last; without chunks the latency is."""
        self.record["metrics"]["inter_chunk_latency"] = {"value": [20.0, 30.0], "unit": "ms"}
        (read,) = aiperf.read("r", [self.record]).requests
        self.assertEqual((), read.times)
        self.assertAlmostEqual(self.seen.first + 0.05, read.last)
        del self.record["metrics"]["inter_chunk_latency"]
        (read,) = aiperf.read("r", [self.record]).requests
        self.assertAlmostEqual(self.seen.last, read.last)

    def test_units(self) -> None:
        """Times are in the unit that they have."""
        self.record["metrics"]["time_to_first_token"] = {"value": 5_000_000, "unit": "ns"}
        (read,) = aiperf.read("r", [self.record]).requests
        self.assertAlmostEqual(0.005, read.first)

    def test_failed(self) -> None:
        """Requests with an error are left out and counted; those of the warm-up are none of the run."""
        failed = {**aiperf_record(self.seen), "error": {"code": 499}, "metrics": {"error_isl": {"value": 5}}}
        warm = aiperf_record(self.seen)
        warm["metadata"]["benchmark_phase"] = "warmup"
        run = aiperf.read("r", [self.record, failed, warm])
        self.assertEqual((1, 1), (len(run.requests), run.failed))
