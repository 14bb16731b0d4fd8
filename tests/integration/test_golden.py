"""Streams of the running daemon, byte for byte beside vLLM's."""

import http.client
import json
import re
from pathlib import Path
from typing import Any

from tests.integration.daemon import DaemonTestCase

FOLDER = Path(__file__).parents[1] / "golden" / "vllm-0.33"
SIXTEEN_TOKENS = [{"role": "system", "content": "x"}, {"role": "user", "content": "a b c d e"}]
"""Messages that are as many tokens as the recorded ones, and whose echo is as long as the recorded answer."""

STREAMS: dict[str, dict[str, Any]] = {
    "chatstream": {},
    "chatstream_usage": {"stream_options": {"include_usage": True}},
    "chatstream_cont": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}, "max_tokens": 2},
    "chatstream_lp_ids": {"logprobs": True, "top_logprobs": 2, "return_token_ids": True, "max_tokens": 2},
    "eos_lp_stream": {"logprobs": True, "return_token_ids": True, "stop_token_ids": []},
    "n2": {"n": 2, "max_tokens": 1, "stream_options": {"include_usage": True}},
}
COMPLETION_STREAMS: dict[str, dict[str, Any]] = {
    "compstream": {"stream_options": {"include_usage": True}},
    "compstream_cont": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}, "max_tokens": 2},
    "compstream_nousage_lp": {"logprobs": 0, "return_token_ids": True, "max_tokens": 2},
}


def normal(data: bytes) -> str:
    """Take out ids, times, texts and log probabilities."""
    text = data.decode()
    text = re.sub(r'"id":"(chatcmpl|cmpl)-[0-9a-f]{16}"', r'"id":"\1-ID"', text)
    text = re.sub(r'"created":\d+', '"created":0', text)
    text = re.sub(r'"(content|text)":"(?:[^"\\]|\\.)+"', r'"\1":"T"', text)
    text = re.sub(r'"(prompt_token_ids|token_ids|bytes|token_logprobs|text_offset)":\[[^]]*\]', r'"\1":[]', text)
    text = re.sub(r'"token":"[^"]*","logprob":[-\d.]+', '"token":"T","logprob":0', text)
    return re.sub(r'"(tokens|top_logprobs)":\["[^]]*\]|"top_logprobs":\[\{"[^"]*":-[^]]*\]', "TOKENS", text)


class GoldenTests(DaemonTestCase):
    """What goes over the socket."""

    words = (
        "--model", "/models/m1", "--served-model-name", "m1", "m2", "--mode", "echo", "--inter-token-latency", "1ms",
        "--fingerprint-mode", "custom", "--fingerprint-value", "vllm-0.33.0-88d5fae6",
    )  # fmt: skip

    def stream(self, path: str, body: dict[str, Any]) -> tuple[str | None, bytes]:
        """Send a request and read the whole stream."""
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=20)
        self.addCleanup(connection.close)
        connection.request("POST", path, json.dumps({"stream": True, **body}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.getheader("content-type"), response.read()

    def test_chat(self) -> None:
        """Every kind of chat stream is the recorded one, but for ids, times and texts."""
        for name, fields in STREAMS.items():
            messages = SIXTEEN_TOKENS
            if name == "eos_lp_stream":
                messages = [{"role": "system", "content": "x y z f"}, {"role": "user", "content": "a b"}]
            kind, sent = self.stream("/v1/chat/completions", {"messages": messages, **fields})
            self.assertEqual("text/event-stream; charset=utf-8", kind)
            expected = FOLDER.joinpath(f"{name}.txt").read_bytes()
            self.assertEqual(normal(expected).strip(), normal(sent).strip(), name)

    def test_completions(self) -> None:
        """Every kind of completion stream is the recorded one, but for ids, times and texts."""
        for name, fields in COMPLETION_STREAMS.items():
            prompt = "a b c d e" if name == "compstream" else "a b"
            _, sent = self.stream("/v1/completions", {"prompt": prompt, **fields})
            expected = FOLDER.joinpath(f"{name}.txt").read_text("utf-8")
            if name == "compstream":
                # The recorded prompt was two tokens; an echo of five needs one of five.
                expected = expected.replace('"prompt_tokens":2,"total_tokens":8', '"prompt_tokens":5,"total_tokens":11')
            self.assertEqual(normal(expected.encode()).strip(), normal(sent).strip(), name)
