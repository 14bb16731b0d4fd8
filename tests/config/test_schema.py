"""The option table."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from vllmsim.config.names import all_options
from vllmsim.config.option import GROUPS, by_group
from vllmsim.config.schema import Configuration, own_options

LIVE = {
    "time-to-first-token", "time-to-first-token-std-dev", "inter-token-latency", "inter-token-latency-std-dev",
    "kv-cache-transfer-latency", "kv-cache-transfer-latency-std-dev", "prefill-overhead", "prefill-time-per-token",
    "prefill-time-std-dev", "kv-cache-transfer-time-per-token", "kv-cache-transfer-time-std-dev",
    "time-factor-under-load", "latency-calculator", "failure-injection-rate", "failure-types", "fake-metrics",
    "image-emission-rate", "time-to-generate-image", "time-to-generate-image-std-dev",
}  # fmt: skip
"""The options that llm-d-inference-sim lets change while it runs."""

ORIGINAL = {
    "port", "max-request-body-size-mb", "model", "served-model-name", "max-num-seqs",
    "max-waiting-queue-length", "max-model-len", "max-loras", "max-cpu-loras", "lora-modules",
    "data-parallel-size", "data-parallel-rank", "startup-duration", "enable-request-id-headers", "log-http",
    "ssl-certfile", "ssl-keyfile", "self-signed-certs", "enable-sleep-mode", "default-embedding-dimensions",
    "mm-encoder-only", "omni", "image-emission-rate", "mode", "seed", "dataset-path", "dataset-url",
    "dataset-in-memory", "dataset-table-name", "render-url", "render-timeout", "mm-render-timeout",
    "force-dummy-tokenizer", "max-tool-call-integer-param", "min-tool-call-integer-param",
    "max-tool-call-number-param", "min-tool-call-number-param", "max-tool-call-array-param-length",
    "min-tool-call-array-param-length", "tool-call-not-required-param-probability",
    "object-tool-call-not-required-field-probability", "tool-call-extra-call-probability",
    "skip-tool-validation", "enable-kvcache", "kv-cache-size", "block-size", "hash-seed",
    "global-cache-hit-threshold", "zmq-endpoint", "event-batch-size", "use-vllm-map-event-format",
    "kv-events-replay-endpoint", "kv-events-replay-queue-size", "fake-metrics-refresh-interval",
    "mm-processor-kwargs", "ec-transfer-config", "enforce-eager", "enable-prefix-caching",
    "tensor-parallel-size", "tokenizers-cache-dir", "zmq-max-connect-attempts", "v",
}  # fmt: skip
"""The options of llm-d-inference-sim, now and in the document this project was written from."""


class SchemaTests(SynchronousTestCase):
    """Facts that hold for every option."""

    def test_complete(self) -> None:
        """Every option of the original is there."""
        names = {option.name for option in all_options()}
        self.assertEqual(set(), (ORIGINAL | LIVE) - names)

    def test_unique(self) -> None:
        """No option is described twice."""
        names = [option.name for option in all_options()]
        self.assertEqual(len(names), len(set(names)))

    def test_live(self) -> None:
        """The options that may change live in llm-d-inference-sim do here too; tests.test_live_options tries all."""
        self.assertEqual((19, set()), (len(LIVE), LIVE - {option.name for option in own_options() if option.live}))

    def test_described(self) -> None:
        """Every option has a sentence and a group."""
        for option in all_options():
            self.assertTrue(option.help.endswith("."), option.name)
            self.assertIn(option.group, GROUPS)
        self.assertEqual(len(all_options()), sum(len(options) for _, options in by_group(all_options())))

    def test_defaults_are_allowed(self) -> None:
        """Every default, written out and read back, is what it was."""
        for option in all_options():
            if option.default is not None and option.group != "vllm":
                self.assertEqual(
                    option.default, option.kind.from_value(option.kind.to_value(option.default)), option.name
                )

    def test_attributes(self) -> None:
        """Every option of the program is a field of the configuration."""
        self.assertEqual([a.name for a in attrs.fields(Configuration)], [o.attribute for o in own_options()])

    def test_texts(self) -> None:
        """Origins, methods and headers are JSON lists of texts, on the command line as vLLM has it and in files."""
        kind = next(option.kind for option in own_options() if option.name == "allowed-origins")
        for given in ('["http://a"]', ["http://a"]):
            self.assertEqual(("http://a",), kind.from_value(given))
        for wrong in ("http://a", '"*"', "{}", "[1]", [None], 1):
            with self.assertRaises(ValueError):
                kind.from_value(wrong)

    def test_ranks(self) -> None:
        """A server has the ranks from 0, or the one it is told to be."""
        self.assertEqual(range(3), Configuration(data_parallel_size=3).ranks)
        self.assertEqual(range(2, 3), Configuration(data_parallel_size=3, data_parallel_rank=2).ranks)

    def test_ranks_of_the_machine(self) -> None:
        """One machine of several has as many ranks as it is told, or the rest, from the one that it is told."""
        for local, expected in ((2, range(3, 5)), (None, range(3, 8)), (0, range(3, 8))):
            configuration = Configuration(
                data_parallel_size=8, data_parallel_start_rank=3, data_parallel_size_local=local
            )
            self.assertEqual(expected, configuration.ranks)

    def test_served_names(self) -> None:
        """A model without aliases is served under its own name."""
        self.assertEqual(("m",), Configuration(model="m").served_names)
        self.assertEqual(("a", "b"), Configuration(model="m", served_model_name=("a", "b")).served_names)

    def test_step_tokens(self) -> None:
        """A step has as many tokens as vLLM's, and room for whole prompts where none is spread over steps."""
        usual = Configuration()
        for tokens, c in (
            (2048, usual),
            (3000, attrs.evolve(usual, max_num_seqs=3000)),
            (2048, attrs.evolve(usual, max_model_len=9000)),
            (9000, attrs.evolve(usual, max_model_len=9000, enable_chunked_prefill=False)),
            (64, attrs.evolve(usual, max_num_batched_tokens=64)),
        ):
            self.assertEqual(tokens, c.step_tokens)
