"""Steps that somebody has measured."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from tests.folders import make_folder
from vllmsim.config.arguments import renewed, scan
from vllmsim.config.loading import ConfigurationError
from vllmsim.config.profiles import MOST_STEPS, MeasuredStep, StepProfile, StepProfileKind

KIND = StepProfileKind()
CSV = """\
# measured on a Tuesday
prefill-tokens, decodes, cached-tokens, time
0,1,500,7.5ms

512,,,21
"""
YAML = """\
- {decodes: 1, cached-tokens: 500, time: 7.5ms}
- {prefill_tokens: 512, time: 21}
"""
STEPS = (MeasuredStep(0, 1, 500, 0.0075), MeasuredStep(512, 0, 0, 0.021))


class ReadingTests(SynchronousTestCase):
    """Files, and lists."""

    def setUp(self) -> None:
        """Have a folder."""
        self.folder = make_folder(self)

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def test_files(self) -> None:
        """Steps come from CSV, YAML or JSON: by their columns or members, what is not there being nothing."""
        json = '[{"decodes": 1, "cached-tokens": 500, "time": "7.5ms"}, {"prefill-tokens": 512, "time": 21}]'
        for name, content in (("a.csv", CSV), ("b.CSV", f"\ufeff{CSV}"), ("c.yaml", YAML), ("d.json", json)):
            path = self.write(name, content)
            self.assertEqual(StepProfile(STEPS, str(path)), KIND.from_text(str(path)))
            self.assertEqual(str(path), KIND.to_value(StepProfile(STEPS, str(path))))

    def test_relative(self) -> None:
        """A file is found again when the program has left its folder."""
        self.write("a.csv", CSV)
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        read = KIND.from_text("a.csv")
        assert read is not None
        self.assertTrue(os.path.isabs(read.path))  # noqa: PTH117 - as the program says it

    def test_list(self) -> None:
        """Steps may stand in the configuration itself, and are written as they are read."""
        profile = KIND.from_value(
            [{"decodes": 1, "cached-tokens": 500, "time": "7.5ms"}, {"prefill-tokens": 512, "time": 21}]
        )
        self.assertEqual(StepProfile(STEPS), profile)
        self.assertEqual(profile, KIND.from_value(KIND.to_value(profile)))
        self.assertEqual(
            profile,
            KIND.from_text('[{"decodes":1,"cached-tokens":500,"time":"7.5ms"},{"prefill-tokens":512,"time":21}]'),
        )
        self.assertIsNone(KIND.from_text(""))
        self.assertIsNone(KIND.to_value(None))

    def test_wrong_files(self) -> None:
        """What is wrong with a file is said when the server starts, with the file and the option."""
        for content, fault in (
            ("", "its first line must name columns"),
            ("time\n", "it is not a list of steps"),
            ("decodes,time\n1\n", "row 1 has 1 columns, and the first line has 2"),
            ("decodes,decodes\n1,1\n", "two of its columns have the same name"),
            ("decodes,when\n1,1\n", "0.when: is none of prefill-tokens, decodes, cached-tokens, time"),
            ("decodes,time\n1,long\n", "0.time: must be a duration such as"),
            ("decodes,time\n1,-3ms\n", "0.time: must be a duration such as"),
            ("decodes,time\n-1,3ms\n", "0.decodes: must be an integer from 0"),
            ("decodes,time\n1,\n", "0.time: is missing"),
            ("decodes,time\n0,3ms\n", "0.prefill-tokens: must be above 0 where decodes is not"),
            ('decodes,time\n"1,3ms\n', "it is not CSV"),
            (b"decodes,time\n\xff,3ms\n", "it is not UTF-8 text"),
            ("decodes,time\n" + "1,3ms\n" * 30_000, "it has more than 131072 bytes"),
            ("decodes,time\n" + "1,3ms\n" * (MOST_STEPS + 1), f"at most {MOST_STEPS} are allowed"),
        ):
            path = self.write("a.csv", content)
            error = self.assertRaises(
                ConfigurationError, load_words, ["--step-time", "profile", "--step-profile", str(path)], {}
            )
            self.assertIn("--step-profile", str(error))
            self.assertIn(fault, str(error))

    def test_wrong_others(self) -> None:
        """So it is with YAML, and with what is no file."""
        for name, content, fault in (
            ("a.yaml", "steps: 3", "it is not a list of steps"),
            ("b.yaml", "- 3", "0: must be a map"),
            ("c.yaml", "- [", "it is not YAML"),
            ("d.json", "[", "it is not JSON"),
        ):
            path = self.write(name, content)
            self.assertIn(fault, str(self.assertRaises(ValueError, KIND.from_text, str(path))))
        for path in (self.folder, self.folder / "none.csv"):
            error = self.assertRaises(ValueError, KIND.from_text, str(path))
            self.assertIn(f"cannot read {str(path)!r}: ", str(error))
        self.assertRaises(ValueError, KIND.from_value, 3)
        self.assertRaises(ValueError, KIND.from_value, [])

    def test_read_again(self) -> None:
        """What is named on the command line is read again when the configuration is."""
        path = self.write("a.csv", CSV)
        arguments = scan(["--step-profile", str(path)])
        self.write("a.csv", "decodes,time\n1,9ms\n")
        profile, _ = renewed(arguments).values["step-profile"]
        self.assertEqual(KIND.from_text(str(path)), profile)
        self.assertApproximates(0.009, profile.steps[0].seconds, 1e-9)
