"""Putting the configuration together."""

from pathlib import Path
from tempfile import NamedTemporaryFile

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.loading import ConfigurationError, Loaded, read_yaml
from vllmsim.config.lora import LoraModule

SEED_DOCUMENT = """
port: 8000
model: "Qwen/Qwen2.5-1.5B-Instruct"
served-model-name:
  - "Qwen/Qwen2.5-1.5B-Instruct"
  - "qwen-1.5b"
max-num-seqs: 10
max-model-len: 2048
max-loras: 5
time-to-first-token: 100
time-to-first-token-std-dev: 10
inter-token-latency: 20
inter-token-latency-std-dev: 2
time-factor-under-load: 1.5
mode: random
seed: 12345
enable-kvcache: true
kv-cache-size: 2048
block-size: 16
zmq-endpoint: "tcp://localhost:5557"
event-batch-size: 32
dataset-path: "/data/conversations.sqlite3"
dataset-url: "https://example.org/conversations.sqlite3"
dataset-in-memory: true
failure-injection-rate: 5
failure-types:
  - "rate_limit"
  - "server_error"
data-parallel-size: 4
lora-modules:
  - name: "math-lora"
    path: "/models/loras/math"
    base_model_name: "Qwen/Qwen2.5-1.5B-Instruct"
"""
"""The example of the document that this project was written from."""


class LoadTests(SynchronousTestCase):
    """Sources and their order."""

    def load(self, words: str = "", yaml: str | None = None, **environ: str) -> Loaded:
        """Load a configuration."""
        if yaml is not None:
            words += f" --config {self.write(yaml.encode())}"
        return load_words(words.split(), environ)

    def write(self, data: bytes) -> str:
        """Write a file that is gone after the test."""
        with NamedTemporaryFile(delete=False) as file:
            file.write(data)
        self.addCleanup(Path(file.name).unlink)
        return file.name

    def problems(self, words: str = "", yaml: str | None = None, **environ: str) -> list[str]:
        """Load a configuration that is wrong."""
        error = self.assertRaises(ConfigurationError, self.load, words, yaml, **environ)
        return [str(problem) for problem in error.problems]

    def test_defaults(self) -> None:
        """Without any source the defaults hold."""
        loaded = self.load()
        self.assertEqual((8000, 5, 1024), (loaded.configuration.port, loaded.configuration.max_num_seqs,
                                           loaded.configuration.max_model_len))  # fmt: skip
        self.assertEqual([], loaded.idle)

    def test_precedence(self) -> None:
        """The command line comes before the environment, that before the file, that before the default."""
        yaml = "model: file\nport: 1\nmax-num-seqs: 2"
        configuration = self.load("--port 3", yaml, SIM_MODEL="environment").configuration
        self.assertEqual(("environment", 3, 2), (configuration.model, configuration.port, configuration.max_num_seqs))
        self.assertEqual("words", self.load("--model words", yaml, SIM_MODEL="environment").configuration.model)
        self.assertEqual("file", self.load("", yaml, SIM_MODEL="").configuration.model)

    def test_environment(self) -> None:
        """Each variable sets its option."""
        c = self.load(PYTHONHASHSEED="42", POD_NAME="p", POD_NAMESPACE="n", POD_IP="1.2.3.4").configuration
        self.assertEqual(("42", "p", "n", "1.2.3.4"), (c.hash_seed, c.pod_name, c.pod_namespace, c.pod_ip))

    def test_seed_document(self) -> None:
        """The seed document's example is read as it is: durations as integer milliseconds, adapters as maps."""
        c = self.load("", SEED_DOCUMENT).configuration
        self.assertEqual((0.1, 0.02, 4), (c.time_to_first_token, c.inter_token_latency, c.data_parallel_size))
        self.assertEqual(("rate_limit", "server_error"), c.failure_types)
        self.assertEqual((LoraModule("math-lora", "/models/loras/math", "Qwen/Qwen2.5-1.5B-Instruct"),), c.lora_modules)

    def test_yaml_forms(self) -> None:
        """Durations as text, adapters as JSON text, underscores, opposites, and null for the default."""
        yaml = """
            time_to_first_token: 2s
            lora-modules: ['{"name": "a"}', "b=/p"]
            no-omni: true
            disable-log-requests: true
            seed: null
            max-model-len: auto
            fake-metrics: {running-requests: 3}
        """
        c = self.load("", yaml).configuration
        self.assertEqual((2.0, False, None, 1024), (c.time_to_first_token, c.omni, c.seed, c.max_model_len))
        self.assertEqual((LoraModule("a"), LoraModule("b", "/p")), c.lora_modules)
        self.assertEqual(3.0, c.fake_metrics.running_requests if c.fake_metrics else None)

    def test_lists_replace(self) -> None:
        """A list on the command line takes the place of the file's."""
        yaml = "served-model-name: [a, b]"
        self.assertEqual(("c",), self.load("--served-model-name c", yaml).configuration.served_model_name)
        self.assertEqual((), self.load("--served-model-name", yaml).configuration.served_model_name)

    def test_empty_file(self) -> None:
        """An empty file changes nothing."""
        self.assertEqual(8000, self.load("", "# nothing\n").configuration.port)

    def test_all_problems_at_once(self) -> None:
        """Problems of every source are reported together, each with its place."""
        yaml = "port: 0\nmax-nun-seqs: 3\nport: 1\nfake-metrics: {bogus: 1}\nmode: {a: 1}"
        problems = self.problems("--bogusly --max-loras 2 --max-cpu-loras 1", yaml, SIM_MODEL=" ")
        self.assertEqual(7, len(problems), problems)
        text = "\n".join(problems)
        for part in (
            "line 1",
            "did you mean max-num-seqs?",
            "fake-metrics.bogus",
            "environment SIM_MODEL",
            "--bogusly",
        ):
            self.assertIn(part, text)

    def test_twice(self) -> None:
        """An option that is in the file twice is a problem that names both lines."""
        [problem] = self.problems("", "port: 1\nmodel: m\nport: 2\n")
        self.assertIn("line 3", problem)
        self.assertIn("line 1", problem)

    def test_not_a_map(self) -> None:
        """A file that is a list, no YAML, no text, or not there is one problem."""
        [problem] = self.problems("", "- a\n- b\n")
        self.assertIn("must be a map", problem)
        [problem] = self.problems("", "a: [1\nb: 2")
        self.assertIn("it is not YAML", problem)
        [problem] = self.problems("--config /no/such/file")
        self.assertIn("No such file", problem)
        [problem] = self.problems(f"--config {self.write(bytes((0xFF, 0xFE, 0)))}")
        self.assertIn("not UTF-8", problem)

    def test_control_characters(self) -> None:
        """A byte that YAML does not allow is a problem, not a crash."""
        _, [problem] = read_yaml("a: \x07", "f")
        self.assertIn("it is not YAML", str(problem))

    def test_unreadable_values(self) -> None:
        """What YAML may say and no option can be is a problem in one line that names its place, and no crash."""
        for text, words in (
            ("model: 2001-99-99", "model (f line 1): its value cannot be read: month must be in 1..12"),
            ("\nmodel: 2001-01-01", "model (f line 2): its value cannot be read: 2001-01-01 is a date"),
            ("model: !!int ''", "model (f line 1): its value cannot be read: it is not YAML: a value is not what"),
            ("model: !!python/object:os.system x", "could not determine a constructor for the tag"),
            ("model: &a [*a]", "found unconstructable recursive node"),
            ("seed: 0x" + "F" * 2000, "an integer of 8000 bits"),
            ("hf-overrides: {a: 1, a: 2}", "'a' is there twice, again in line 1"),
            ("model: [" + "[" * 230 + "]" * 231, "nested too deeply"),
            ("model: " + "[" * 100_000, "f (file): it is nested too deeply"),
            ("? [x]\n: 1", "f (f line 1): the name of an option must be text"),
            ('"a\\nb": 1', "'a\\nb' (f line 1): is no option"),
            ("x" * 1000 + ": 1", "x" * 200 + "... (f line 1): is no option"),
            ("".join(f"a{number}: 1\n" for number in range(501)), "it has 501 members"),
            ("a: 1\n--- {b: 1}", "it is not YAML: but found another document"),
            ("a: \0", "it is not YAML: the character #x0000 is not allowed"),
        ):
            _, [problem] = read_yaml(text, "f")
            self.assertIn(words, str(problem))
            self.assertNotIn("\n", str(problem))

    def test_little_text(self) -> None:
        """A few lines that are a thousand million values by aliases, or texts, or a file without end, cost nothing."""
        for whole, words in (
            ("[{}]", "more than 100000 values"),
            ("{{{}}}", "more than 100000 values"),
            ("{{<<: [{}]}}", "merge keys bring in more than 100000 members"),
        ):
            lines = ["a0: &a0 {x: y}"]
            for level in range(1, 12):
                members = ", ".join(
                    f"k{number}: *a{level - 1}" if whole.startswith("{{{") else f"*a{level - 1}" for number in range(10)
                )
                lines.append(f"a{level}: &a{level} {whole.format(members)}")
            _, problems = read_yaml("\n".join([*lines, "model: *a11"]), "f")
            self.assertIn(words, str(problems[-1]))
            keys = "\n".join(f"? {line}" for line in lines)
            self.assertTrue(all("must be text" in str(problem) for problem in read_yaml(keys, "f")[1]))
        _, [_, problem] = read_yaml(f"a: &a {'y' * 1000}\nmodel: [{'*a, ' * 2000}]", "f")
        self.assertIn("its texts have more than 1048576 characters", str(problem))
        [text] = self.problems("--config /dev/zero")
        self.assertIn("has more than 1048576 bytes", text)
        [text] = self.problems("--config /")
        self.assertIn("Is a directory", text)

    def test_one_problem(self) -> None:
        """A single problem is counted as one."""
        error = self.assertRaises(ConfigurationError, self.load, "--port 0")
        self.assertTrue(str(error).startswith("1 problem in the configuration:\n  --port"))

    def test_idle(self) -> None:
        """Options that have no effect are named with their source."""
        idle = self.load("--quantization x --load-format auto").idle
        self.assertEqual(
            [("quantization", "--quantization"), ("load-format", "--load-format")], [(o.name, w) for o, w in idle]
        )
