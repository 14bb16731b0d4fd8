"""What is printed."""

import json

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.scripts.clock.lateness import Asked, Run, Spread, compare
from vllmsim.scripts.clock.report import Reading, Report

ASKED = Asked(2, 3, first=0.5, gap=0.25)
RUNS = [Run(1, [1.5, 1.75, 2.0]), Run(2, [2.5625, 2.8125, 3.0625])]
REPORT = Report("2 cores", ASKED, 0.25, compare(ASKED, RUNS), Reading(True, Spread(2e-5, 1e-5, 2e-5, 3e-5, 4e-5), 0))

TABLE = """\
2 streams of 3 tokens, begun over 0.2 s, on 2 cores

milliseconds                 asked      mean       p50       p90       p99       max
time to first token         500.00    531.25    500.00    562.50    562.50    562.50
inter-token latency         250.00    250.00    250.00    250.00    250.00    250.00
behind its deadline           0.00     31.25      0.00     62.50     62.50     62.50
drift, first to last          0.00      0.00      0.00      0.00      0.00      0.00

tokens                           6   6 delivered, 0 lost
tokens/s                       8.0   8.0 delivered

Times are the kernel's. The client read later, which counts for nothing: 50 % within 0.01 ms, 99 % within 0.03 ms, \
all within 0.04 ms.
This machine holds 250 ms gaps at 2 streams within 62 ms for 99 % of tokens.
"""


class ReportTests(SynchronousTestCase):
    """For people and for programs."""

    def test_table(self) -> None:
        """People get a table of what was asked and what came, how far to trust it, and a sentence."""
        self.assertEqual(TABLE, REPORT.text())

    def test_faults(self) -> None:
        """Lost streams are told with what became of them, and missing numbers are dashes."""
        lost = compare(evolve(ASKED, varies="it varies"), [RUNS[0], Run(2, [])])
        faults = ["closed", "no", "no"]
        text = evolve(REPORT, delivered=lost, asked=evolve(ASKED, varies="it varies"), faults=faults).text()
        self.assertIn("behind its deadline           0.00" + "         -" * 5 + "\n", text)
        self.assertIn("3 delivered, 3 lost\n", text)
        self.assertIn(
            "No token has a deadline here, because it varies.\n2 streams were lost: no\n1 stream was lost: closed\n",
            text,
        )
        self.assertTrue(text.endswith("This machine lost 3 of 6 tokens at 2 streams.\n"))

    def test_client(self) -> None:
        """Where the client is less sure of its times it says so."""
        text = evolve(REPORT, reading=Reading(False, None, 7)).text()
        self.assertIn(
            "Times are the client's own, its lateness included: this kernel does not stamp what arrives.\n", text
        )
        self.assertIn("7 tokens were read together with a later one, and have its time.\n", text)

    def test_no_gap(self) -> None:
        """There is no rate to ask for without a gap."""
        asked = evolve(ASKED, gap=0.0)
        text = evolve(REPORT, asked=asked, delivered=compare(asked, RUNS)).text()
        self.assertIn("\ntokens/s                         -   2.9 delivered\n", text)

    def test_json(self) -> None:
        """Programs get the same in milliseconds."""
        value = json.loads(REPORT.json())
        self.assertEqual(500.0, value["asked"]["time_to_first_token_ms"])
        self.assertEqual(8.0, value["asked"]["tokens_per_second"])
        self.assertEqual(
            {"mean": 31.25, "p50": 0.0, "p90": 62.5, "p99": 62.5, "max": 62.5}, value["delivered"]["lateness_ms"]
        )
        self.assertEqual((6, 0), (value["delivered"]["tokens"], value["delivered"]["tokens_lost"]))
        self.assertTrue(value["client"]["kernel_time_stamps"])
        self.assertEqual(REPORT.verdict, value["verdict"])
        unsure = json.loads(evolve(REPORT, reading=Reading(False, None, 0)).json())
        self.assertIsNone(unsure["client"]["read_later_ms"])
