"""Streams that end early, in both dialects; whole streams are in their own tests."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.api.golden import EOS, HEAD, answer, prompt, settings
from tests.fakes import prefilled
from vllmsim.api.chat import ChatDialect
from vllmsim.api.completions import CompletionDialect
from vllmsim.api.dialect import Dialect
from vllmsim.inference import NOTHING_SAID, Prefill

DIALECTS: list[tuple[Dialect, dict[str, Any]]] = [
    (ChatDialect(settings()), {"messages": [{"role": "user", "content": "Hello"}]}),
    (CompletionDialect(settings()), {"prompt": "Hello"}),
]
DETAILS: list[dict[str, Any]] = [
    {},
    {"return_token_ids": True},
    {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    {"stream_interval": 7},
    {"logprobs": 1},
]
"""What makes a stream write its chunks one way or another."""


class AbortedStreamTests(SynchronousTestCase):
    """A choice may end without a token."""

    def events(self, dialect: Dialect, body: dict[str, Any], sent: int) -> list[dict[str, Any]]:
        """Stream some tokens of an answer, then its end."""
        call = dialect.parse(json.dumps({**body, "stream": True}).encode(), HEAD)
        assert call.stream_encoder is not None
        encoder, whole = call.stream_encoder(), answer(71, 72, 73, EOS)
        parts = [encoder.opening([prompt([1, 2], "Hello")], prefilled([prompt([1, 2], "Hello")]))]
        parts += [encoder.tokens(0, whole, token, token + 1) for token in range(sent)]
        parts += [encoder.tokens(0, whole.aborted(sent) if sent else NOTHING_SAID, sent, sent), encoder.closing()]
        texts = [part.removeprefix("data: ") for part in b"".join(parts).decode().split("\n\n") if part]
        self.assertEqual("[DONE]", texts.pop())
        return [event for event in map(json.loads, texts) if event["choices"]]

    def test_all(self) -> None:
        """No text is lost or said twice, and the last chunk alone has the reason; its text is what was kept, if any."""
        for dialect, body in DIALECTS:
            for details in DETAILS:
                for sent in range(4):
                    events = self.events(dialect, {**body, **details}, sent)
                    choices = [event["choices"][0] for event in events]
                    texts = [each["text"] if "text" in each else each["delta"]["content"] for each in choices]
                    self.assertEqual("abc"[:sent], "".join(texts), (details, sent))
                    self.assertEqual("abc"[1:sent] if "stream_interval" in details else "", texts[-1])
                    reasons = [each["finish_reason"] for each in choices]
                    self.assertEqual([None] * (len(events) - 1) + ["abort"], reasons)
                    if "stream_options" in details:
                        self.assertEqual(sent, events[-1]["usage"]["completion_tokens"])
                    if "return_token_ids" in details:
                        self.assertEqual([], choices[-1]["token_ids"])

    def test_echo(self) -> None:
        """A completion that is to repeat its prompt does so even if it is ended before its first token, and once."""
        dialect, body = DIALECTS[1]
        for sent, texts in ((0, ["Hello"]), (1, ["Helloa", ""])):
            events = self.events(dialect, {**body, "echo": True}, sent)
            self.assertEqual(texts, [event["choices"][0]["text"] for event in events])

    def test_whole(self) -> None:
        """An answer in one piece has what was said, and the reason."""
        for dialect, body in DIALECTS:
            for details in ({}, {"return_token_ids": True}, {"logprobs": 1}):
                call = dialect.parse(json.dumps({**body, **details}).encode(), HEAD)
                for sent in range(4):
                    said = answer(71, 72, 73, EOS).aborted(sent)
                    written = json.loads(call.whole_encoder().body([prompt([1, 2], "Hello")], Prefill(2), [said]))
                    [choice] = written["choices"]
                    text = choice["text"] if "text" in choice else choice["message"]["content"]
                    self.assertEqual(
                        ("abc"[:sent], "abort", None), (text, choice["finish_reason"], choice["stop_reason"])
                    )
                    self.assertEqual(
                        (2, sent), (written["usage"]["prompt_tokens"], written["usage"]["completion_tokens"])
                    )
