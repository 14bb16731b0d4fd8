"""Faults 70 to 75: datasets, and where they come from."""

from tests.commandline import load_words
from tests.dataset.making import fill, row_of
from tests.folders import make_folder
from tests.harness import RankTestCase
from vllmsim.preparing import needs


class DatasetTests(RankTestCase):
    """A rank with a dataset."""

    def test_model_called_echo(self) -> None:
        """73: A model may be called echo and have a dataset that is downloaded: what echoes is the mode."""
        words = ["--model", "echo", "--dataset-url", "http://127.0.0.1:1/x", "--dataset-path", "/nowhere/x"]
        [dataset] = needs(load_words(words, {}).configuration, {}).datasets
        self.assertEqual("http://127.0.0.1:1/x", dataset.url)

    def test_hostile_table(self) -> None:
        """75: A table may have any name: it is never read as SQL."""
        path = make_folder(self) / "hostile.sqlite3"
        fill(path, [row_of("hello", "other")])
        for name in ('x"; DROP TABLE llmd; --', "x'; DELETE FROM llmd; --", "select * from llmd", "[x]", "`x`", "é\n"):
            fill(path, [row_of("hello", "I ", "am ", "fine.")], table=name)
            self.make_rank("m", "--dataset-path", str(path), "--dataset-table-name", name)
            self.assertEqual("I am fine.", self.complete("hello").json()["choices"][0]["text"])
        self.make_rank("m", "--dataset-path", str(path))
        self.assertEqual("other", self.complete("hello").json()["choices"][0]["text"])
