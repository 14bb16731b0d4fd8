"""Faults 6 to 17: options that were not heard, or heard wrongly."""

from tests.commandline import load_words
from tests.folders import make_folder
from tests.harness import RankTestCase
from vllmsim.config.kinds import Duration
from vllmsim.config.loading import ConfigurationError
from vllmsim.config.schema import own_options


class OptionTests(RankTestCase):
    """Command lines, files and routes."""

    def test_threshold_in_a_file(self) -> None:
        """6: The threshold of cache hits holds where a file has it."""
        path = make_folder(self) / "sim.yaml"
        path.write_text("model: m\nenable-kvcache: true\nglobal-cache-hit-threshold: 0.9\n", "utf-8")
        self.make_rank("--config", str(path), "--zmq-endpoint", "")
        answer = self.complete("x " * 100).json()
        self.assertEqual("cache_threshold", answer["choices"][0]["finish_reason"])

    def test_words_around_a_file(self) -> None:
        """9: A file is read whatever stands behind its name, and what stands there is heard too."""
        path = make_folder(self) / "sim.yaml"
        path.write_text("max-num-seqs: 7\n", "utf-8")
        for words in (
            ["--config", str(path), "-v", "5", "--failure-types", "rate_limit", "-v", "5"],
            ["-dp", "2", "--lora-modules", "a=/p", "-v", "5", "--config", str(path)],
            [f"--config={path}", "--served-model-name", "one", "two", "-v=5"],
        ):
            self.assertEqual(7, load_words(words, {}).configuration.max_num_seqs, words)

    def test_negative_durations(self) -> None:
        """14: No duration can be negative, wherever it is said."""
        names = [option.name for option in own_options() if isinstance(option.kind, Duration)]
        self.assertIn("startup-duration", names)
        self.assertIn("render-timeout", names)
        path = make_folder(self) / "sim.yaml"
        for name in names:
            for value in ("-1s", "-1", "-1ns"):
                path.write_text(f"{name}: {value}\n", "utf-8")
                for words in ([f"--{name}={value}"], ["--config", str(path)]):
                    error = self.assertRaises(ConfigurationError, load_words, words, {})
                    self.assertIn(name, str(error))

    def test_shown(self) -> None:
        """15: What is shown is what holds, under names of options, also when a number has followed a function."""
        self.make_rank("--fake-metrics", '{"running-requests": "ramp:1:9:1m"}', "--seed", str(2**53 + 1))
        self.post("/admin/config", {"fake-metrics": {"running-requests": 4}})
        shown = self.get("/admin/config").json()
        self.assertEqual({"running-requests": 4}, shown["fake-metrics"])
        self.assertEqual(2**53 + 1, shown["seed"])
        self.assertLessEqual(shown.keys(), {option.name for option in own_options()})
