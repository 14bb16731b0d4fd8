"""The command line of vLLM 0.33."""

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.arguments import scan
from vllmsim.config.names import find, short_names

FLAGS = json.loads(Path(__file__).with_name("..").joinpath("golden", "vllm-0.33", "cli-flags.json").read_text())
SAMPLES = {
    "int": "1",
    "float": "0.5",
    "human_readable_int": "4k",
    "human_readable_int_or_auto": "auto",
    "loads": '{"a": 1}',
    "parse_dataclass": '{"a": 1}',
    "union_dict_and_str": '{"a": 1}',
}
SPECIAL = {
    "--log-level": "DEBUG",
    "--allowed-origins": '["*"]',
    "--allowed-methods": '["GET"]',
    "--allowed-headers": "[]",
    "--runner": "auto",
    "--mm-encoder-attn-dtype": "fp8",
    "--ssl-keyfile": "key.pem",
    "--kv-events-config": '{"hwm": 1}',
    "--override-generation-config": '{"top_k": 20}',
    "--kv-transfer-config": '{"kv_connector": "NixlConnector"}',
    "--fingerprint-mode": "hash",
    "--video-pruning-rate": "0.5",
    "--kv-offloading-size": "1.5",
    "--block-size": "16",
    "--lora-modules": "a=/p",
    "--scheduling-policy": "priority",
    "--data-parallel-rank": "0",
    "--chat-template-content-format": "openai",
    "--custom-histogram-buckets": '{"request_latency": [0.1, 0.5]}',
    "--prefix-caching-hash-algo": "sha256_cbor",
    "--speculative-config": '{"method": "ngram"}',
    "-sc": '{"method": "ngram"}',
    "--spec-method": "mtp",
}


class FlagTests(SynchronousTestCase):
    """Every flag that vLLM has parses."""

    def test_all(self) -> None:
        """Each spelling of each flag is understood, with the kind of value that vLLM takes."""
        self.assertEqual(322, len(FLAGS))
        for names, kind, count in FLAGS:
            spellings = names.split("/")
            if spellings[0] in {"model_tag", "-h", "--config"}:
                continue
            for flag in spellings:
                value = SPECIAL.get(flag, SAMPLES.get(kind, "1"))
                words = [flag] if count == 0 else [flag, value]
                self.assertEqual([], scan(words).problems, words)
                if count != 0 and flag.startswith("--"):
                    self.assertEqual([], scan([f"{flag}={value}"]).problems, flag)
                    self.assertEqual([], scan([flag.replace("-", "_").replace("__", "--", 1), value]).problems, flag)

    def test_negatives(self) -> None:
        """Of the two spellings of a switch one is on and the other off."""
        for names, kind, _ in FLAGS:
            if kind != "EnableDisableAction":
                continue
            long = [name[2:] for name in names.split("/") if name.startswith("--")]
            meanings = [find(name) for name in long]
            self.assertEqual([False, True], [meaning and meaning.negated for meaning in meanings], names)

    def test_short(self) -> None:
        """Short flags are those of vLLM, and klog's."""
        short = {name for names, *_ in FLAGS for name in names.split("/") if not name.startswith("--")}
        self.assertEqual(short - {"-h", "model_tag"}, set(short_names()) - {"-v", "-O"})

    def test_klog(self) -> None:
        """The flags of klog are understood too, with hyphens or underscores."""
        words = """--v=4 --vmodule=a=1 --logtostderr --alsologtostderr --log_dir=/l --log_file=/l/f --stderrthreshold=2
            --log_file_max_size=10 --log_backtrace_at=a:1 --one_output --add_dir_header --skip_headers
            --skip_log_headers=true"""
        self.assertEqual([], scan(words.split()).problems)

    def test_a_real_command_line(self) -> None:
        """A command line as people write it starts the daemon, and says what has no effect."""
        text = """serve Qwen/Qwen3-8B -tp 2 --max-model-len 32k --gpu-memory-utilization 0.9 --no-enable-prefix-caching
            --served-model-name a b --enable-auto-tool-choice --tool-call-parser hermes --max-num-seqs=256 -O3
            --kv-transfer-config {"kv_connector":"NixlConnector","kv_role":"kv_both"} --port 9000
            --kv-events-config.endpoint tcp://*:5557 --disable-log-requests"""
        loaded = load_words(text.split(), {})
        c = loaded.configuration
        self.assertEqual(("Qwen/Qwen3-8B", ("a", "b")), (c.model, c.served_model_name))
        self.assertEqual((32000, 256, 9000), (c.max_model_len, c.max_num_seqs, c.port))
        idle = {option.name for option, _ in loaded.idle}
        self.assertIn("optimization-level", idle)
        self.assertTrue(idle.isdisjoint({"port", "enable-prefix-caching"}))
        self.assertEqual("hermes", c.tool_call_parser)
