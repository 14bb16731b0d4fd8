"""The daemon's token routes, with the plainest of clients: no SDK knows them."""

import http.client
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.daemon import DaemonTestCase

ROOT = Path(__file__).parents[2]


def normal(data: bytes) -> str:
    """Take out the id, and the tokens."""
    text = re.sub(r"generate-tokens-[0-9a-f]{16}", "ID", data.decode())
    return re.sub(r'"token_ids":\[\d+\]', '"token_ids":[0]', text)


class TokenRouteTests(DaemonTestCase):
    """What goes over the socket."""

    words = ("--model", "m1", "--mode", "echo", "--inter-token-latency", "1ms", "--enable-prompt-tokens-details")

    def ask(self, path: str, body: Any) -> tuple[int, bytes]:
        """Send a request and read the whole answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=20)
        self.addCleanup(connection.close)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()

    def test_stream(self) -> None:
        """A stream of token ids is the recorded one, but for its id and tokens."""
        asked = {"token_ids": [1, 2, 3, 4, 5], "sampling_params": {"max_tokens": 2}, "stream": True,
                 "stream_options": {"include_usage": True}}  # fmt: skip
        status, sent = self.ask("/inference/v1/generate", asked)
        expected = ROOT.joinpath("tests", "golden", "vllm-0.33", "genstream.txt").read_bytes()
        self.assertEqual((200, normal(expected).strip()), (status, normal(sent).strip()))

    def test_the_example(self) -> None:
        """The example makes an answer in three steps; the echo of a prompt comes back word for word."""
        address = f"http://127.0.0.1:{self.daemon.port}"
        script = str(ROOT.joinpath("examples", "generate_tokens.py"))
        done = subprocess.run([sys.executable, script, address, address, address], capture_output=True, check=True)
        self.assertIn("generated: [", done.stdout.decode())
        self.assertIn("### user: What happens to a token on its way?\n", done.stdout.decode())

    def test_others(self) -> None:
        """The other routes answer."""
        messages = [{"role": "user", "content": "hi"}]
        for path, asked, status in (
            ("/v1/chat/completions/batch", {"messages": [messages, messages]}, 200),
            ("/invocations", {"prompt": "x"}, 200),
            ("/v1/completions/render", {"prompt": "x"}, 200),
            ("/generative_scoring", {"query": "a", "items": ["b"], "label_token_ids": [1]}, 200),
            ("/v1/decisions", {}, 501),
            ("/inference/v1/generate", {}, 400),
        ):
            self.assertEqual(status, self.ask(path, asked)[0], path)
        self.assertIn(b"WordTokenizer", self.daemon.get("/tokenizer_info"))
