"""What options must satisfy together."""

from twisted.trial.unittest import SynchronousTestCase

from tests.commandline import load_words
from vllmsim.config.loading import ConfigurationError

BROKEN = {
    "--time-to-first-token 2000ms --time-to-first-token-std-dev 3000ms": "time-to-first-token-std-dev",
    "--inter-token-latency 1000 --inter-token-latency-std-dev 301": "301ms is more than 30 % of inter-token-latency",
    "--kv-cache-transfer-latency 70 --kv-cache-transfer-latency-std-dev 35": "kv-cache-transfer-latency-std-dev",
    "--time-to-generate-image-std-dev 1ms": "time-to-generate-image-std-dev",
    "--enable-kvcache --kv-cache-size 1": "kv-cache-size (--kv-cache-size): 1 is too few for a KV cache",
    "--enable-prefix-caching --kv-cache-size 9 --num-gpu-blocks-override 0": "num-gpu-blocks-override",
    "--scheduling-model step --no-enable-kvcache": "step has its blocks from a KV cache",
    "--scheduling-model step --max-num-batched-tokens 4 --max-num-seqs 5": "4 tokens are fewer than max-num-seqs",
    "--scheduling-model step --no-enable-chunked-prefill --max-num-batched-tokens 1023": "of max-model-len, 1024",
    "--scheduling-model step --no-enable-chunked-prefill --max-num-scheduled-tokens 64": "max-num-scheduled-tokens",
    "--max-loras 15 --max-cpu-loras 5": "max-cpu-loras (--max-cpu-loras): 5 is less than max-loras, which is 15",
    "--max-tool-call-integer-param -10": "max-tool-call-integer-param",
    "--max-tool-call-number-param -10": "max-tool-call-number-param",
    "--max-tool-call-array-param-length 0": "max-tool-call-array-param-length",
    '--model m --lora-modules {"name":"a","base_model_name":"other"}': "'a' belongs to 'other', and 'm' is served",
    "m --lora-modules m=/p": "'m' is there twice, or is the model's own name",
    "m --lora-modules a=/p a=/q": "'a' is there twice, or is the model's own name",
    "--data-parallel-size 9": "more than the 8 ranks",
    "--data-parallel-rank 8": "data-parallel-rank",
    "--data-parallel-size 32 -dpl 9": "data-parallel-size (--data-parallel-size): 9 is more than the 8 ranks",
    "-dp 4 -dpl 3 -dpr 2": "data-parallel-size-local (-dpl): 3 ranks from 2 on are more than data-parallel-size",
    "-dp 4 -dpl 5": "data-parallel-size-local (-dpl): 5 ranks from 0 on are more than data-parallel-size, which is 4",
    "-dp 4 -dpl 2 -dpr 4": "data-parallel-start-rank (-dpr): 4 is none of 4 ranks",
    "-dp 4 -dpn 1 -dpr 2": "data-parallel-start-rank (-dpr): 2 is not data-parallel-rank, which is 1",
    "-dp 4 -dpn 1 -dpl 2": "data-parallel-size-local (-dpl): 2 ranks cannot be one, which data-parallel-rank asks for",
    "--port 65534 -dp 8 -dpl 3 -dpr 2": "65534 leaves no port for rank 4",
    "-dpm -dp 2 --port 9255": "data-parallel-supervisor-port (default): 9256 is the port of rank 1",
    "-dpm -dp 2 --listen tcp:{port} --port 9256": "9256 is the port of rank 0",
    "--no-grpc --grpc-port 9": "grpc-port (--grpc-port): needs grpc",
    "--grpc-port 65535 -dp 2": "65535 leaves no port for rank 1",
    "--grpc-port 8001 -dp 2": "port 8001 is taken already: it is this server's own",
    "--grpc-port 9255 -dp 2 -dpm": "port 9256 is taken already",
    "--grpc-port 9000 --admin-endpoint 9000": "port 9000 is taken already",
    "-dpm -dp 2 -dph": "data-parallel-hybrid-lb (-dph): has all ranks in one process, and does not go with",
    "-dpm -dp 2 --data-parallel-internal-lb": "data-parallel-internal-lb (--data-parallel-internal-lb): has all ranks",
    "-dpe -dp 2": "data-parallel-external-lb (-dpe): needs data-parallel-rank: which of the 2 ranks this server is",
    "-dph -dp 4 --port 65535 --listen tcp:1 --host h": "goes with no host, uds or certificate",
    "--data-parallel-processes --listen onion:80:rank{rank}": "needs ranks that it can ask",
    "--port 65535 --data-parallel-size 2": "65535 leaves no port for rank 1",
    "--uds /run/x --data-parallel-size 2": "2 ranks cannot share uds",
    "--listen tcp:1 --data-parallel-size 2": "2 ranks cannot share listen",
    "--listen tcp:1 --host h": "goes with no host, uds or certificate",
    "--listen tcp:1 --uds /x": "goes with no host, uds or certificate",
    "--dataset-url http://x": "needs dataset-path",
    "--mode echo --dataset-path p": "echo uses no dataset",
    '--mode echo --datasets {"m":"p"}': "echo uses no dataset",
    "--dataset-path p --dataset-sha256 12ab": "dataset-sha256 (--dataset-sha256): is not 64 hexadecimal digits",
    '--served-model-name a b --datasets {"b":"p","c":"p","a":"q"}': "datasets (--datasets): 'b' and 'a' are names",
    "--tokenizer /no/such/tokenizer.json": "tokenizer (--tokenizer): there is nothing at '/no/such/tokenizer.json'",
    "--tokenizer a/b/c": "builtin, remote, no plugin:NAME, no path, and no name of a model on the hub",
    "--tokenizer remote --render-url localhost:8082": "render-url, which is no address of http or https",
    "--fingerprint-mode custom": "fingerprint-value",
    "--otlp-traces-endpoint ftp://x": "otlp-traces-endpoint (--otlp-traces-endpoint): 'ftp://x' is no address of",
    "--collect-detailed-traces all": "collect-detailed-traces (--collect-detailed-traces): needs otlp-traces-endpoint",
    "--otlp-traces-endpoint x:1 --collect-detailed-traces model,gpu": "'gpu' is none of model, worker, all",
    "--zmq-endpoint tcp://*:5557 --kv-events-replay-endpoint tcp://*:5557": "its ports from 5557 meet",
    "--data-parallel-size 3 --zmq-endpoint tcp://*:5557 --kv-events-replay-endpoint tcp://*:5559": "meet those",
    "--zmq-endpoint ipc:///x --kv-events-replay-endpoint ipc:///x": "'ipc:///x' cannot be both",
    "--zmq-endpoint localhost:5557": "zmq-endpoint (--zmq-endpoint): 'localhost:5557' is none of tcp://HOST:PORT",
    "--zmq-endpoint ipc:///x -dp 2": "'ipc:///x' cannot be that of rank 1 too",
    "--kv-events-replay-endpoint tcp://*:65535 -dp 2": "kv-events-replay-endpoint (--kv-events-replay-endpoint): 'tcp",
    "--spec-method ngram": "speculative-config (default): it needs num_speculative_tokens",
    "--scheduling-model step --max-num-seqs 3 --max-num-batched-tokens 3 --spec-method ngram --spec-tokens 3": (
        "a step has 3 tokens for a sequence, and 4 are verified together"
    ),
    "--scheduling-model step --max-num-scheduled-tokens 2 --spec-method ngram --spec-tokens 2": "a step has 2 tokens",
    "--scheduling-model step --max-num-batched-tokens 5 --spec-model x --spec-tokens 4": "a step has 4 tokens",
    "--scheduling-model step --no-enable-chunked-prefill --max-model-len 64 --max-num-batched-tokens 64"
    " --spec-model m --spec-tokens 2": "63 tokens have no room for a prompt of max-model-len, 64",
    '--kv-events-config {"hwm":"a","x":1}': "kv-events-config (--kv-events-config): hwm must be an integer from 1",
    '--kv-transfer-config {"kv_connector":"NixlConnector"}': "with a kv_connector it needs a kv_role: one of",
    "--nixl-side-channel-port 65535 -dp 2": "nixl-side-channel-port (--nixl-side-channel-port): 65535 leaves no port",
    '--kv-events-config {"endpoint":"x"}': "'x' is none of tcp://HOST:PORT",
    '--kv-events-config {"replay_endpoint":"x"}': "'x' is none of tcp://HOST:PORT",
    '--kv-events-config {"replay_endpoint":"tcp://*:5557"}': "its ports from 5557 meet",
}

FINE = [
    "--max-num-batched-tokens 4 --no-enable-chunked-prefill --watermark 1",
    "--scheduling-model step --max-num-batched-tokens 64 --max-num-scheduled-tokens 32",
    "--scheduling-model step --no-enable-chunked-prefill --max-model-len 8k",
    "--scheduling-model step --max-num-batched-tokens 7 --max-num-scheduled-tokens 5 --spec-model x --spec-tokens 4",
    "--max-num-batched-tokens 1 --spec-method ngram --spec-tokens 4",
    "--time-to-first-token 1s --time-to-first-token-std-dev 300ms",
    "--max-loras 15 --max-cpu-loras 0",
    '--model m --served-model-name n --lora-modules {"name":"a","base_model_name":"n"}',
    "--data-parallel-size 16 --data-parallel-rank 9",
    "--data-parallel-size 16 -dpl 8 -dpr 8",
    "--data-parallel-size 4 -dpr 2",
    "--data-parallel-size 4 -dpl 0",
    "--data-parallel-size 4 -dpl 1 -dpr 2 -dpn 2",
    "--data-parallel-size 2 --port 9255",
    "--data-parallel-size 2 --port 9255 -dpm --uds /run/x{rank}",
    "-dpm --data-parallel-rank 3 --data-parallel-size 4",
    "-dpm --listen unix:/run/{rank}",
    "-dph -dp 4 -dpl 2 -dpr 2 --port 65535",
    "--data-parallel-internal-lb -dp 4 --uds /run/x",
    "-dpe -dp 4 -dpn 2",
    "-dph -dp 4 --admin-endpoint unix:/run/admin",
    "-dph -dp 4 --port 8000 --admin-endpoint 8001",
    "-dpe -dp 4 -dpm",
    "-dpe -dph",
    "--port 65535",
    "--uds /x --host h",
    "--uds /run/x{rank} --data-parallel-size 2",
    "--data-parallel-size 3 --zmq-endpoint tcp://*:5557 --kv-events-replay-endpoint tcp://*:5600",
    "--zmq-endpoint tcp://*:5557 --kv-events-replay-endpoint ipc:///x",
    "--zmq-endpoint tcp://collector:5557 --kv-events-replay-endpoint tcp://*:5557",
    "--zmq-endpoint tcp://*:0 --kv-events-replay-endpoint tcp://*:0",
    "--fingerprint-mode custom --fingerprint-value x",
]


class RuleTests(SynchronousTestCase):
    """Rules across options."""

    def test_broken(self) -> None:
        """Each broken rule is reported with the option to blame."""
        for text, fault in BROKEN.items():
            error = self.assertRaises(ConfigurationError, load_words, text.split(), {})
            self.assertIn(fault, str(error))
            self.assertEqual(1, len(error.problems), error)

    def test_fine(self) -> None:
        """What satisfies the rules is accepted."""
        for text in FINE:
            load_words(text.split(), {})

    def test_doubtful(self) -> None:
        """A rule about a value that is wrong already says nothing more."""
        words = ["--time-to-first-token", "x", "--time-to-first-token-std-dev", "1s"]
        for more in ([], ["-dp", "x", "--data-parallel-rank", "9"], ["--uds", "/x", "--ssl-certfile"]):
            error = self.assertRaises(ConfigurationError, load_words, [*words, *more], {})
            self.assertEqual(2 if more else 1, len(error.problems), error)
