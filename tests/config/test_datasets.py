"""Datasets in options."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.datasets import Dataset, parse_datasets, write_datasets
from vllmsim.config.loading import read_yaml

SUM = "0123456789abcdefABCDEF" * 2 + "0" * 20


class DatasetTests(SynchronousTestCase):
    """Reading and writing."""

    def test_forms(self) -> None:
        """A dataset is a path or a map, whose keys have dashes or not."""
        value = {
            "m": "/p",
            "a": {"path": "/q", "url": "http://x/q", "sha256": SUM, "in-memory": True, "table-name": "t"},
            7: {"path": "/r", "in_memory": False, "table_name": "u"},
        }
        expected = {
            "m": Dataset("/p"),
            "a": Dataset("/q", "http://x/q", SUM, in_memory=True, table_name="t"),
            "7": Dataset("/r", in_memory=False, table_name="u"),
        }
        self.assertEqual(expected, parse_datasets(value))
        self.assertEqual(expected, parse_datasets(write_datasets(expected)))

    def test_wrong(self) -> None:
        """Each fault is named, with the model."""
        for value, fault in (
            ([], "not a map of model names"),
            ({"m": 1}, "'m' has neither a path nor a map"),
            ({"m": {}}, "'m' has no path"),
            ({"m": ""}, "'m' has no path"),
            ({"m": {"url": "http://x"}}, "'m' has no path"),
            ({"m": {"path": 1}}, "path of 'm' is not text"),
            ({"m": {"path": "p", "in-memory": "yes"}}, "in-memory of 'm' is neither true nor false"),
            ({"m": {"path": "p", "sha256": "12"}}, "sha256 of 'm' is not 64 hexadecimal digits"),
            ({"m": {"path": "p", "tabel": "x"}}, "'m' has 'tabel', which is none of path, url, sha256, table-name"),
        ):
            self.assertIn(fault, str(self.assertRaises(ValueError, parse_datasets, value)))

    def test_options(self) -> None:
        """A model's own dataset is found under the name that answers carry, and takes what it lacks from the others."""
        options = '--served-model-name m n --datasets {"n":"/p","a":{"path":"/q","table-name":"t","in-memory":false}}'
        c = load_words((*options.split(), "--dataset-table-name", "u", "--dataset-in-memory"), {}).configuration
        expected = {
            "m": Dataset("/p", in_memory=True, table_name="u"),
            "a": Dataset("/q", in_memory=False, table_name="t"),
        }
        self.assertEqual((None, expected), (c.usual_dataset, c.model_datasets))
        words = ("--dataset-path", "/p", "--dataset-url", "http://x", "--dataset-sha256", SUM)
        c = load_words(words, {}).configuration
        self.assertEqual((Dataset("/p", "http://x", SUM, False, "llmd"), {}), (c.usual_dataset, c.model_datasets))

    def test_file(self) -> None:
        """A configuration file has them as a map."""
        values, problems = read_yaml("datasets:\n  m: /p\n  a:\n    path: /q\n    in-memory: true\n", "f")
        self.assertEqual([], problems)
        self.assertEqual({"m": Dataset("/p"), "a": Dataset("/q", in_memory=True)}, values["datasets"][0])
