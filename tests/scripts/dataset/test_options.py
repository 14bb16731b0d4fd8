"""What the words of a command line ask for."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.folders import make_folder
from vllmsim.scripts.dataset.faults import UsageError
from vllmsim.scripts.dataset.options import HubFile, Plan, Recorded, parser, plan


def planned(line: str, **environ: str) -> Plan:
    """Plan what a command line says."""
    return plan(line.split(), environ)


class PlanTests(SynchronousTestCase):
    """From words to a plan."""

    def test_defaults(self) -> None:
        """A file alone makes at most 10,000 records of both kinds, with an index, in the table llmd, here."""
        p = planned("a.json")
        self.assertEqual((Path("a.json"), Path(), "inference-sim-dataset"), (p.source, p.folder, p.name))
        self.assertEqual(("llmd", True, False, None), (p.table, p.index, p.force, p.recorded))
        w = p.wishes
        self.assertEqual((None, "both", 10_000, False), (w.form, w.records, w.most, w.skip_bad))

    def test_words(self) -> None:
        """Every option is heard."""
        p = planned(
            "--local-path d --input-file f.jsonl --output-path o --output-file n --table-name t --max-records 0"
            " --no-index --force --skip-bad --format messages --records chat"
        )
        self.assertEqual((Path("d/f.jsonl"), Path("o"), "n"), (p.source, p.folder, p.name))
        self.assertEqual(("t", False, True), (p.table, p.index, p.force))
        w = p.wishes
        self.assertEqual(("messages", "chat", None, True), (w.form, w.records, w.most, w.skip_bad))
        self.assertEqual(Path("f.json"), planned("--input-file f.json").source)
        self.assertEqual(HubFile("a/b", "f.json"), planned("--hf-repo a/b --input-file f.json").source)
        self.assertEqual(Path(), planned("f --output-path=").folder)

    def test_recorded(self) -> None:
        """The server is the one that is named, with or without its /v1; its key may be in the environment."""
        expected = Recorded("http://h:1/x", "", 8, 1024, 600.0, 3)
        for address in ("http://h:1/x", "http://h:1/x/", "http://h:1/x/v1", "http://h:1/x/v1/"):
            self.assertEqual(expected, planned(f"a --record {address}").recorded)
        words = "a --record https://h --concurrency 2 --max-tokens 3 --timeout 4.5 --retries 0 --model m --api-key k"
        self.assertEqual(Recorded("https://h", "k", 2, 3, 4.5, 0), planned(words, OPENAI_API_KEY="e").recorded)
        self.assertEqual("m", planned(words).model)
        recorded = planned("a --record https://u:p@h:2", OPENAI_API_KEY="e").recorded
        assert recorded is not None
        self.assertEqual(("e", "https://h:2"), (recorded.api_key, recorded.shown))

    def test_configuration(self) -> None:
        """The tokenizer's options are the daemon's, from all its sources; other options of it change nothing."""
        path = make_folder(self) / "sim.yaml"
        path.write_text("model: from-file\nmode: echo\nport: 1234\nrender-timeout: 9s\n")
        c = planned(f"a --config {path} --force-dummy-tokenizer --render-url http://r").configuration
        self.assertEqual(("from-file", "random", 9.0), (c.model, c.mode, c.render_timeout))
        self.assertEqual((True, "http://r", "remote"), (c.force_dummy_tokenizer, c.render_url, c.tokenizer))
        self.assertEqual("words", planned("a --render-url http://r --tokenizer words").configuration.tokenizer)

    def test_nonsense(self) -> None:
        """Words that do not go together are refused in a line."""
        for line, problem in {
            "": "INPUT is missing: name a file, or --input-file with --hf-repo or --local-path",
            "--hf-repo a": "--hf-repo defined but --input-file is empty",
            "--local-path a": "--local-path defined but --input-file is empty",
            "--local-path a --hf-repo b --input-file c": "specify only one of --hf-repo or --local-path",
            "a --input-file b": "specify either INPUT or --input-file with --hf-repo or --local-path",
            "a --max-records -1": "--max-records must be at least 0, not -1",
            "a --table-name=": "--table-name must not be empty",
            "a --concurrency 0": "--concurrency must be from 1 to 1000, not 0",
            "a --max-tokens 0": "--max-tokens must be from 1 to 2147483648, not 0",
            "a --retries 101": "--retries must be from 0 to 100, not 101",
            "a --timeout 0": "--timeout must be more than 0 and at most 1000000 seconds, not 0",
            "a --timeout nan": "--timeout must be more than 0 and at most 1000000 seconds, not nan",
            "a --record h:1": "--record must be the address of a server such as http://localhost:8000, not 'h:1'",
            "a --record http://h:x": "--record must be the address of a server such as http://localhost:8000, not 'http://h:x'",
            "a --record http://h?x": "--record must be the address of a server such as http://localhost:8000, not 'http://h?x'",
            "a --record http://h --api-key ü": "--api-key has characters that no header can have",
        }.items():
            self.assertEqual(problem, str(self.assertRaises(UsageError, planned, line)))
        error = str(self.assertRaises(UsageError, planned, "a --render-timeout soon"))
        self.assertIn("--render-timeout (command line): 'soon' will not do", error)
        self.assertNotIn("\n", error)

    def test_help(self) -> None:
        """The help has examples, and names every option."""
        text = parser().format_help()
        for word in ("examples:", "--record URL", "--max-records", "--tokenizers-cache-dir", "--no-index"):
            self.assertIn(word, text)
