"""How metrics are written."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, GCCollector
from twisted.trial.unittest import SynchronousTestCase

from tests.metrics.reading import rewrite
from vllmsim.config.schema import Configuration
from vllmsim.inference import Prefill, SequenceTimes
from vllmsim.metrics.cacheconfig import cache_config_labels
from vllmsim.metrics.exposition import Families, Page
from vllmsim.metrics.families import RankMetrics
from vllmsim.metrics.http import HttpMetrics
from vllmsim.metrics.series import Accumulator, Counter, Gauge, Histogram, Labels, Summary

NAMES = st.from_regex(r"[a-z_][a-z0-9_:]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from('\\"\n{}% =,'), max_size=12)
LABELS = st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True).filter("le".__ne__), TEXTS, max_size=4)
NUMBERS = st.floats() | st.integers(-(10**18), 10**18)
COUNTS = st.integers(0, 10**18)
BOUNDS = st.lists(st.floats(allow_nan=False, allow_infinity=False), unique=True, max_size=6).map(sorted)


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    """Make histograms of any content."""
    histogram = Histogram(draw(BOUNDS))
    histogram.counts = [draw(COUNTS) for _ in histogram.counts]
    histogram.total = draw(st.floats())
    return histogram


ACCUMULATORS: dict[type[Accumulator], st.SearchStrategy[Accumulator]] = {
    Gauge: st.builds(Gauge, NUMBERS),
    Counter: st.builds(Counter, NUMBERS),
    Summary: st.builds(Summary, COUNTS, st.floats()),
    Histogram: histograms(),
}


@st.composite
def pages(draw: st.DrawFn) -> Families:
    """Make families of any name, text, labels and values."""
    families = Families({}, draw(st.none() | st.floats(0, 1e10)))
    for name in draw(st.lists(NAMES, unique=True, max_size=4)):
        kind = draw(st.sampled_from(list(ACCUMULATORS)))
        family = families.family(f"{name}_{len(list(families))}", draw(TEXTS), kind)
        labels: Sequence[Labels] = draw(
            st.lists(LABELS, max_size=3, unique_by=lambda each: tuple(sorted(each.items())))
        )
        for each in labels:
            family.add(draw(ACCUMULATORS[kind]), each)
    return families


class FamiliesTests(SynchronousTestCase):
    """The text, beside the one that prometheus_client makes."""

    @given(pages())
    def test_written(self, families: Families) -> None:
        """Whatever names, texts, labels and values there are, the bytes are prometheus_client's."""
        self.assertEqual(rewrite(families), families.write())

    @given(pages(), st.data())
    def test_chosen(self, families: Families, data: st.DataObject) -> None:
        """Likewise when samples are chosen by name, whether there are such or not."""
        endings = ("", "_total", "_created", "_bucket", "_count", "_sum")
        known = [family.name + ending for family in families for ending in endings]
        names = data.draw(st.sets(st.sampled_from(["", "nope", *known]), min_size=1))
        self.assertEqual(rewrite(families, names), families.write(names))

    def test_example(self) -> None:
        """What is before a value is written once, with quotes, backslashes and line ends escaped."""
        families = Families({"model_name": 'a "b" \\c\nd%s'}, 1.5e9)
        families.show("x", "Of 100 %\\, in\ntwo lines.", Counter(1234567))
        expected = [
            r"# HELP x_total Of 100 %\\, in\ntwo lines.",
            "# TYPE x_total counter",
            r'x_total{model_name="a \"b\" \\c\nd%s"} 1.234567e+06',
            r"# HELP x_created Of 100 %\\, in\ntwo lines.",
            "# TYPE x_created gauge",
            r'x_created{model_name="a \"b\" \\c\nd%s"} 1.5e+09',
        ]
        self.assertEqual(expected, families.write().splitlines())

    def test_older(self) -> None:
        """One gauge can be shown under two names."""
        families = Families({})
        gauge = families.show("new", "How much.", Gauge())
        families.show("old", "The same.", gauge)
        gauge.value = 3
        samples = [line for line in families.write().splitlines() if not line.startswith("#")]
        self.assertEqual(["new 3.0", "old 3.0"], samples)

    def test_labels(self) -> None:
        """Gauges and counters that differ in one label are found by its value."""
        families = Families({"a": "b"})
        families.show_by("which", "g", "", {"x": Gauge(), "y": Gauge()})["y"].value = 1
        families.show_by("which", "c", "", {"x": Counter(), "y": Counter()})["x"].value = 2
        samples = [line for line in families.write().splitlines() if not line.startswith("#")]
        expected = ["g", "g", "c_total", "c_total"], ["x", "y", "x", "y"], ["0.0", "1.0", "2.0", "0.0"]
        lines = [f'{n}{{a="b",which="{w}"}} {v}' for n, w, v in zip(*expected, strict=True)]
        self.assertEqual(lines, samples)


class SeriesTests(SynchronousTestCase):
    """Series that change while they are shown."""

    def setUp(self) -> None:
        """Have two counters."""
        self.family = Families({}, 1.0).family("x", "", Counter)
        self.first, self.second = (self.family.add(Counter(), {"a": each}) for each in "bc")

    def test_restart(self) -> None:
        """One can count anew; the others go on."""
        self.family.restart(self.second, 2.0)
        since = [line for line in self.family.write({"x_created"}).splitlines() if line[0] != "#"]
        self.assertEqual(['x_created{a="b"} 1.0', 'x_created{a="c"} 2.0'], since)

    def test_restart_silent(self) -> None:
        """Where nothing is said of when counting began, nothing is said of when it begins anew."""
        for family in (Families({}).family("x", "", Counter), Families({}, 1.0).family("x", "", Gauge)):
            before = family.write()
            gauge = family.add(Gauge(), {})
            family.restart(gauge, 2.0)
            family.leave(lambda _: False)
            self.assertEqual(before, family.write())

    def test_leave(self) -> None:
        """Series that are not wanted are gone, with what was said of them."""
        self.family.leave(lambda labels: labels["a"] == "c")
        text = self.family.write()
        self.assertNotIn('a="b"', text)
        self.assertEqual(2, text.count('a="c"'))
        self.assertEqual([self.second], [each.accumulator for each in self.family.series])

    def test_hidden(self) -> None:
        """A family that is not shown is not written, and is there when it is shown again."""
        whole = self.family.write()
        self.family.shown = False
        self.assertEqual("", self.family.write())
        self.family.shown = True
        self.assertEqual(whole, self.family.write())


class RankTests(SynchronousTestCase):
    """All that a rank exposes, after work."""

    @given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 10**6)), max_size=20), TEXTS)
    def test_written(self, work: list[tuple[float, int]], model: str) -> None:
        """Whatever the model's name and however much is counted, the bytes are prometheus_client's."""
        metrics = RankMetrics("0", model, 4096, cache_config_labels(Configuration()), 1.0)
        http = HttpMetrics(1.0)
        for seconds, tokens in work:
            metrics.sequence_queued()
            metrics.sequence_started()
            metrics.prefill_finished(Prefill(tokens, tokens // 2), seconds)
            metrics.tokens_emitted(tokens, seconds)
            metrics.iteration_finished()
            times = SequenceTimes(0, 0, seconds, 2 * seconds)
            metrics.sequence_finished("stop", Prefill(tokens), tokens, tokens, times)
            http.exchange_finished(f"/{tokens % 3}", "GET", 100 * (1 + tokens % 5), seconds, tokens, tokens)
        for families in (metrics.families, http.families):
            self.assertEqual(rewrite(families), families.write())


class PageTests(SynchronousTestCase):
    """The whole page."""

    def test_order(self) -> None:
        """What prometheus_client tells comes before the sources, and names choose from all of it."""
        registry = CollectorRegistry(auto_describe=True)
        GCCollector(registry)
        families = Families({})
        families.show("x", "", Gauge())
        page = Page(registry, [families])
        text = page.write().decode()
        self.assertTrue(text.startswith("# HELP python_gc_objects_collected_total "))
        self.assertTrue(text.endswith("# HELP x \n# TYPE x gauge\nx 0.0\n"))
        self.assertEqual(b"# HELP x \n# TYPE x gauge\nx 0.0\n", page.write({"x"}))
        chosen = page.write({"python_gc_collections_total"}).decode().splitlines()
        self.assertEqual("# TYPE python_gc_collections_total counter", chosen[1])
        self.assertEqual(b"", page.write({"nope"}))
