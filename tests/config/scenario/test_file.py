"""Scenarios in files."""

import json
import os
import pickle
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.listing import print_config
from vllmsim.config.loading import ConfigurationError
from vllmsim.config.scenario.file import ScenarioFile, ScenarioPath
from vllmsim.config.scenario.reading import scenario_of

GOOD = "{name: x, steps: [{at: 1s, ready: false}]}"


class FileTests(SynchronousTestCase):
    """The option."""

    def write(self, text: str, suffix: str = ".yaml") -> str:
        """Write a file."""
        path = Path(self.mktemp() + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return str(path)

    def pipe(self) -> str:
        """Make a pipe, to which nobody writes."""
        path = self.write("")
        Path(path).unlink()
        os.mkfifo(path)
        return path

    def problem(self, *words: str) -> str:
        """Tell what is wrong with a command line."""
        error = self.assertRaises(ConfigurationError, load_words, words, {})
        [problem] = error.problems
        return str(problem)

    def test_good(self) -> None:
        """A file is read when the server starts."""
        path = self.write(GOOD)
        loaded = load_words(("--scenario", path), {})
        file = loaded.configuration.scenario
        assert file is not None
        scenario = scenario_of(loaded.configuration)
        assert scenario is not None
        self.assertEqual((path, "x"), (file.path, scenario.name))
        self.assertIn(f'scenario: "{path}"', print_config(loaded))

    def test_json(self) -> None:
        """It is read as JSON where its name says so."""
        path = self.write(json.dumps({"name": "x", "steps": [{"at": "1s", "ready": True}]}), ".json")
        self.assertIsNotNone(load_words(("--scenario", path), {}).configuration.scenario)
        self.assertIn("it is not JSON", self.problem("--scenario", self.write(GOOD, ".json")))

    def test_once(self) -> None:
        """What is in it then is what counts, also in other processes."""
        path = self.write(GOOD)
        file = ScenarioPath().from_text(path)
        Path(path).write_text("nonsense", "utf-8")
        self.assertEqual(file.text, pickle.loads(pickle.dumps(file)).text)  # noqa: S301 - our own
        self.assertEqual((GOOD.encode(), file), (file.text, ScenarioPath().from_text(path)))

    def test_bad(self) -> None:
        """The server does not start with a file that is not there, or with a scenario that will not do."""
        for path, words in (
            ("/nowhere.yaml", "cannot read it: No such file or directory"),
            (os.sep, "cannot read it: it is no regular file"),
            (self.pipe(), "cannot read it: it is no regular file"),
            ("a\0b", "cannot read it: embedded null byte"),
            ("17", "cannot read it: No such file or directory"),
            (self.write("name: [1"), "This is no scenario: it is not YAML"),
            (self.write("{name: x, steps: [{at: 1s, kv-pressure: 0.5}]}"), "step 1, kv-pressure: needs a KV cache"),
            (self.write(" " * 300_000), "at most 131072 are allowed"),
        ):
            problem = self.problem("--scenario", path)
            self.assertIn(words, problem)
            self.assertIn("scenario (", problem)

    def test_other_problems(self) -> None:
        """What is wrong with the server is told before what does not go with it."""
        path = self.write("{name: x, steps: [{at: 1s, kv-pressure: 0.5}]}")
        self.assertIn("max-num-seqs", self.problem("--scenario", path, "--max-num-seqs", "0"))

    def test_path(self) -> None:
        """Only the path makes a difference, so that a file that is edited is no change of the server."""
        self.assertEqual(ScenarioFile("a", b"1"), ScenarioFile("a", b"2"))
