"""All datasets of a process."""

import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from tests.dataset.making import DatasetTestCase, fill, prompt_of, row_of
from tests.fakes import FixedSource, RecordingMetrics, in_thread
from vllmsim.config.datasets import Dataset
from vllmsim.dataset.database import DatasetError
from vllmsim.dataset.datasets import Datasets
from vllmsim.inference import Extent, Tokens
from vllmsim.tokenization.words import WordTokenizer


class DatasetsTests(DatasetTestCase):
    """Which model answers from which dataset."""

    def make(self, name: str, answer: str, table: str = "llmd") -> str:
        """Make a database that says one thing."""
        path = self.folder / name
        fill(path, [row_of("hi", answer)], table=table)
        return str(path)

    def open(self, usual: Dataset | None, **by_model: Dataset) -> Datasets:
        """Open datasets; the models a and m are served."""
        datasets = Datasets.open(usual, by_model, ("a", "m"), Clock(), in_thread)
        self.addCleanup(datasets.close)
        return datasets

    def said(self, datasets: Datasets, model: str) -> str:
        """Tell what a model says."""
        tokenizer = WordTokenizer(in_thread)
        source = datasets.answers(FixedSource(["sentence"]), tokenizer, RecordingMetrics())
        answer: Deferred[Tokens] = Deferred.fromCoroutine(
            source.respond(prompt_of("hi"), model, Extent(0, 9, explicit=True), random.Random(1))
        )
        return "".join(self.successResultOf(answer).texts)

    def test_routes(self) -> None:
        """A model has its own dataset, else the usual one, else sentences."""
        one, two = self.make("one", "1"), self.make("two", "2")
        both = self.open(Dataset(one), a=Dataset(two))
        self.assertEqual(["1", "2", "1"], [self.said(both, model) for model in ("m", "a", "other")])
        own = self.open(None, a=Dataset(two, in_memory=True))
        self.assertEqual(["sentence", "2"], [self.said(own, model) for model in ("m", "a")])
        self.assertEqual(([one, two], [two]), (both.names, own.names))

    def test_tables(self) -> None:
        """A file may have a dataset in each of its tables."""
        path = self.make("one", "1")
        self.make("one", "2", table="other")
        datasets = self.open(Dataset(path), a=Dataset(path, table_name="other"))
        self.assertEqual(["1", "2"], [self.said(datasets, model) for model in ("m", "a")])
        self.assertEqual([path, f"{path}:other"], datasets.names)

    def test_shared(self) -> None:
        """What several names share is opened once, in memory if one of them wants it."""
        path = self.make("one", "1")
        self.folder.joinpath("link").symlink_to(path)
        datasets = self.open(Dataset(path), a=Dataset(str(self.folder / "link"), in_memory=True))
        self.assertIs(datasets.usual, datasets.by_model["a"])
        self.assertEqual([path], datasets.names)
        self.folder.joinpath("one").unlink()
        self.assertEqual("1", self.said(datasets, "m"))

    def test_wrong(self) -> None:
        """All that is wrong with datasets is told at once."""
        missing, other = str(self.folder / "none"), self.make("other", "1", table="other")
        error = self.assertRaises(DatasetError, self.open, Dataset(missing), a=Dataset(other))
        expected = (
            f"database file does not exist: {missing}; "
            f"failed to verify database: there is no table 'llmd' in {other}, whose tables are: other"
        )
        self.assertEqual(expected, str(error))

    def test_no_path(self) -> None:
        """What can be no path is told too."""
        loop = self.folder / "loop"
        loop.symlink_to(loop)
        for path in ("a\0b", str(loop)):
            self.assertIn("cannot be read", str(self.assertRaises(DatasetError, self.open, Dataset(path))))

    def test_not_served(self) -> None:
        """A name that is not served is warned of, as an adapter of that name may come later."""
        path = self.make("one", "1")
        named: dict[str, Any] = {"a": Dataset(path), "b": Dataset(path)}
        with capturedLogs() as events:
            datasets = self.open(None, **named)
        warnings = [formatEvent(event) for event in events if event["log_level"] is LogLevel.warn]
        self.assertEqual(["b has a dataset and is not served, until an adapter of that name is loaded."], warnings)
        self.assertEqual("1", self.said(datasets, "b"))

    def test_close(self) -> None:
        """Closing lets go of all files."""
        datasets = self.open(Dataset(self.make("one", "1")), a=Dataset(self.make("two", "2")))
        self.successResultOf(datasets.close())
        self.assertEqual(["sentence"] * 2, [self.said(datasets, model) for model in ("m", "a")])
