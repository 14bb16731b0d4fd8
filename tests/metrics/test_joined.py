"""The metrics of several ranks on one page."""

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.metrics.exposition import Families
from vllmsim.metrics.joined import JoinedSource
from vllmsim.metrics.series import Counter, Gauge, Histogram

PAGE = """\
# HELP a_total Counts.
# TYPE a_total counter
a_total{engine="0"} 1.0
a_total{engine="1"} 2.0
# HELP a_created Counts.
# TYPE a_created gauge
a_created{engine="0"} 10.0
a_created{engine="1"} 11.0
# HELP b_total Of all.
# TYPE b_total counter
b_total{reason="x"} 3.0
# HELP b_created Of all.
# TYPE b_created gauge
b_created{reason="x"} 11.0
# HELP c Of all, latest.
# TYPE c gauge
c{on="x y"} 2.0
c{on="0"} 1.0
c{on="1"} 2.0
"""


def rank(number: int) -> Families:
    """Count something on a rank."""
    families = Families({"engine": str(number)}, 10 + number)
    families.show("a", "Counts.", Counter(number + 1))
    families.family("b", "Of all.", Counter).add(Counter(number + 1), {"reason": "x"})
    own = families.family("c", "Of all, latest.", Gauge)
    own.add(Gauge(number + 1), {"on": "x y"})
    own.add(Gauge(number + 1), {"on": str(number)})
    return families


class JoinedTests(SynchronousTestCase):
    """What is written."""

    def setUp(self) -> None:
        """Have two ranks."""
        self.ranks = [rank(0)]
        self.joined = JoinedSource(self.ranks)
        self.ranks.append(rank(1))

    def test_page(self) -> None:
        """A family is there once; what has no rank is added up, and of points in time the latest is told."""
        self.assertEqual(PAGE, self.joined.write())

    def test_empty(self) -> None:
        """A family that has no sample yet on some rank is there like the others."""
        families = [each.family("d", "Later.", Histogram) for each in self.ranks]
        self.assertEqual(f"{PAGE}# HELP d Later.\n# TYPE d histogram\n", self.joined.write())
        families[1].add(Histogram(()), {})
        self.assertIn('\n# TYPE d histogram\nd_bucket{le="+Inf"} 0.0\nd_count 0.0\n', self.joined.write())

    def test_names(self) -> None:
        """Only what is asked for is written."""
        self.assertEqual(PAGE[: PAGE.index("# HELP a_created")], self.joined.write({"a_total"}))
        self.assertEqual("", self.joined.write({"x"}))

    def test_one_rank(self) -> None:
        """A family that only one rank has is as that rank has it."""
        last = self.ranks[1].show("d", "Late.", Histogram([0.5]))
        last.observe(0.1)
        lines = self.joined.write().removeprefix(PAGE).splitlines()
        self.assertEqual(self.ranks[1].write({line.partition("{")[0] for line in lines}).splitlines(), lines)
        self.assertEqual('d_count{engine="1"} 1.0', lines[4])

    def test_hostile_labels(self) -> None:
        """What labels and texts say is no markup."""
        for each in self.ranks:
            each.show("e", "Text\n# HELP f x", Gauge()).value = 1
            each.family("f", "F.", Gauge).add(Gauge(), {"name": "\n# HELP g engine="})
        expected = '# HELP f F.\n# TYPE f gauge\nf{name="\\n# HELP g engine="} 0.0\n'
        self.assertTrue(self.joined.write().endswith(expected))
