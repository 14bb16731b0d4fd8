"""Command lines."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.arguments import scan
from vllmsim.config.lora import LoraModule


class ScanTests(SynchronousTestCase):
    """How words are read."""

    def values(self, text: str) -> dict[str, Any]:
        """Read words that have no problem."""
        arguments = scan(text.split())
        self.assertEqual([], arguments.problems)
        return {name: value for name, (value, _) in arguments.values.items()}

    def faults(self, text: str) -> list[str]:
        """Read words and list what is wrong with them."""
        return [str(problem) for problem in scan(text.split()).problems]

    def test_values(self) -> None:
        """A value follows its flag or an equals sign; negative numbers are values."""
        self.assertEqual({"port": 9000, "seed": -5}, self.values("--port 9000 --seed=-5"))
        self.assertEqual({"seed": -5}, self.values("--seed -5"))
        self.assertEqual({"port": 2}, self.values("--port 1 --port 2"))

    def test_switches(self) -> None:
        """A switch stands alone, or takes true or false either way."""
        for text in ("--omni", "--omni true", "--omni=1", "--no-omni=false", "--no-omni false"):
            self.assertEqual({"omni": True}, self.values(text), text)
        for text in ("--no-omni", "--omni false", "--omni=off", "--omni --no-omni"):
            self.assertEqual({"omni": False}, self.values(text), text)
        self.assertEqual({"omni": True, "model": "m"}, self.values("--omni m"))

    def test_lists(self) -> None:
        """A list takes words up to the next flag, and may be repeated; empty words are dropped."""
        self.assertEqual({"served-model-name": ("a", "b"), "v": 5}, self.values("--served-model-name a b -v 5"))
        self.assertEqual(
            {"served-model-name": ("a", "b", "c")}, self.values("--served-model-name=a --served-model-name b c")
        )
        self.assertEqual({"served-model-name": ()}, self.values("--served-model-name"))
        self.assertEqual(
            {"served-model-name": ()}, {n: v for n, (v, _) in scan(["--served-model-name", ""]).values.items()}
        )

    def test_lora_modules(self) -> None:
        """Adapters are name=path or JSON."""
        expected = (LoraModule("a", "/p"), LoraModule("b", "/q"))
        self.assertEqual({"lora-modules": expected}, self.values('--lora-modules a=/p {"name":"b","path":"/q"}'))

    def test_members(self) -> None:
        """Members of JSON options are given one by one, nested and appended to."""
        text = '--kv-events-config {"hwm":1} --kv-events-config.a.b=2 --kv-events-config.l+ x --kv-events-config.l+=y,3'
        self.assertEqual({"kv-events-config": {"hwm": 1, "a": {"b": 2}, "l": ["x", "y", 3]}}, self.values(text))
        self.assertEqual(
            {"compilation-config": {"mode": 3, "level": 2}, "speculative-config": {"method": "ngram"}},
            self.values("-O.mode 3 -sc.method ngram -cc.level=2"),
        )

    def test_positional(self) -> None:
        """The model may come without its flag, after serve or alone."""
        self.assertEqual({"model": "m", "port": 1}, self.values("serve m --port 1"))
        self.assertEqual({"model": "m"}, self.values("m"))
        self.assertEqual({"model": "m"}, self.values("-- m"))
        self.assertEqual([], self.faults("serve"))

    def test_abbreviations(self) -> None:
        """A clear abbreviation is understood, also of an option that takes JSON."""
        self.assertEqual({"max-num-seqs": 3}, self.values("--max-num-se 3"))
        self.assertEqual({"hf-overrides": {"a": 1}}, self.values('--hf-over {"a":1}'))

    def test_short(self) -> None:
        """Short flags take values too."""
        self.assertEqual({"tensor-parallel-size": 2, "optimization-level": 3}, self.values("-tp=2 -O3"))
        self.assertEqual({"hf-token": None}, self.values("--hf-token"))

    def test_requests(self) -> None:
        """Help, version and the effective configuration are asked for by flags."""
        arguments = scan(["--help=latency", "--version", "--print_config", "--config", "a.yaml"])
        self.assertEqual({"help", "version", "print-config"}, arguments.requests)
        self.assertEqual(("latency", "a.yaml"), (arguments.topic, arguments.config))
        self.assertEqual({"help"}, scan(["-h"]).requests)
        self.assertEqual("b.yaml", scan(["--config=b.yaml"]).config)

    def test_problems(self) -> None:
        """Every problem is reported with the flag and what is allowed or meant."""
        cases = {
            "--bogusly 1": "--bogusly (command line): is no flag",
            "--max-nun-seqs 1": "did you mean --max-num-seqs?",
            "--max-num-queued 1": "is short for several flags: --max-num-queued-reqs, --max-num-queued-tokens",
            "--port": "--port (command line): needs a value: an integer from 1 to 65535",
            "--port x": "'x' will not do: it must be an integer from 1 to 65535",
            "--port --omni": "needs a value",
            "--omni=maybe": "it must be true or false",
            "--config": "needs the path",
            "-zz": "-zz (command line): is no flag",
            "-x 5": "-x (command line): is no flag",
            "-tp.x 5": "names a member, and tensor-parallel-size has none",
            "--allow 5": "is short for several flags",
            "--max-num-queued-reqs": "needs a value",
            "--tool-call-parser --omni": "needs a value",
            "--port " + "9" * 400: "9... will not do: it must be an integer",
            "--time-to-first-token " + "9" * 400: "will not do: it must be a duration",
            "--watermark " + "9" * 400: "will not do: it must be a number",
            "--kv-events-config " + "[" * 50_000: "will not do: it must be a JSON object",
            "--lora-modules " + "[" * 50_000: "will not do: it must be a list",
            "a b": "b (command line): is one word too many",
            "--model m n": "one word too many",
            "--port.x 1": "names a member, and port has none",
            "--kv-events-config. 1": "names a member",
            "--kv-events-config.x": "needs a value",
            "--bogusly.x 1": "is no flag",
            "--kv-events-config {": "it is not JSON",
            "--lora-modules x": "neither name=path nor a map",
            '--fake-metrics {"bogus":1}': "--fake-metrics.bogus",
            "--failure-types rate_limit nope": "one of rate_limit, invalid_api_key",
        }
        for text, fault in cases.items():
            faults = [f for f in self.faults(text) if fault in f]
            self.assertEqual((1, 1), (len(faults), len(self.faults(text))), (text, self.faults(text)))
        self.assertEqual(3, len(self.faults("--port x --bogusly --mode 7")))

    def test_secrets(self) -> None:
        """What follows a flag that is none is not shown: it may be a password."""
        for flag in ("--api-keyy", "--ap", "--api-keyy.x", "-api-key"):
            (fault,) = self.faults(f"{flag}=geheim")
            self.assertTrue(fault.startswith(f"{flag} (command line): is "), fault)
            self.assertNotIn("geheim", fault)
