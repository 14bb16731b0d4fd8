"""The fast path against the plain one: the same requests, and the same bytes.

The fast path is what the daemon uses: text cut into rendered frames, pieces of the body sent into the socket at once,
runs of tokens remembered for a client that does not read. On the plain path each chunk is a dictionary written whole,
each piece goes through ``request.write``, and the client reads everything at once.
"""

import json
import random
from typing import Any, Final
from unittest.mock import patch

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Exchange, RankTestCase
from tests.wires import Wire
from vllmsim.api.chunks import ChunkStream
from vllmsim.web import channel
from vllmsim.web.request import Request

_COUNT: Final = 1000
_PATIENCE: Final = 1000
"""How many turns an answer may need when its client reads all that is there in each."""
_WORDS: Final = ("hello", "world", "ünïcode", "\u2028", '"quoted"', "tab\t", "日本語", "\U0001f600", "a\\b", "</s>")
_TOOL: Final = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
}


def _by_choice(body: bytes) -> dict[int | None, list[bytes]]:
    """Sort the events of a body by their choice: a client that fell behind may get one choice before another."""
    sorted_events: dict[int | None, list[bytes]] = {}
    for event in body.split(b"\n\n"):
        data = event.partition(b"data: {")[2]
        choices = json.loads(b"{" + data).get("choices") if data else None
        sorted_events.setdefault(choices[0]["index"] if choices else None, []).append(event)
    return sorted_events


@define
class _Requests:
    """Makes requests of all kinds that stream, and some that do not."""

    draw: random.Random

    def make(self) -> tuple[str, dict[str, Any]]:
        """Make one: its path and its body."""
        draw = self.draw
        text = " ".join(draw.choices(_WORDS, k=draw.randint(1, 40)))
        fields: dict[str, Any] = {"stream": draw.random() < 0.9}
        path = draw.choice(("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"))
        if path == "/v1/responses":
            return path, fields | {"input": text, "max_output_tokens": draw.randint(1, 300)}
        fields["max_tokens"] = draw.randint(1, 300)
        messages = [{"role": "user", "content": text}]
        if path == "/v1/messages":
            return path, fields | {"model": "m", "messages": messages}
        fields |= self._options()
        if path == "/v1/completions":
            prompts: list[Any] = [text, [text, "second"], [1, 2, 3]]
            return path, fields | {"prompt": draw.choice(prompts), "logprobs": draw.choice((None, None, 0, 3))}
        if draw.random() < 0.2:
            fields |= {"tools": [_TOOL], "tool_choice": draw.choice(("auto", "required"))}
        if draw.random() < 0.1:
            fields |= {"logprobs": True, "top_logprobs": draw.randint(0, 5)}
        return path, fields | {"messages": messages}

    def _options(self) -> dict[str, Any]:
        draw = self.draw
        options: dict[str, Any] = {"n": draw.choice((1, 1, 1, 2, 3)), "seed": draw.randint(0, 9)}
        some: dict[str, Any] = {
            "stream_options": {"include_usage": True, "continuous_usage_stats": draw.random() < 0.5},
            "stop": draw.choice(("world", ["o w", "日"])),
            "min_tokens": 1,
            "ignore_eos": True,
            "echo": True,
            "return_token_ids": True,
            "stream_interval": draw.randint(2, 5),
        }
        if options["n"] == 1:
            some["stop_token_ids"] = [1, 2, 3]
        options |= {name: value for name, value in some.items() if draw.random() < 0.15}
        if "stream_options" in options:
            options["stream"] = True
        return options


class FastPathTests(RankTestCase):
    """One rank after the other, with the same seed and the same requests."""

    def serve(self, words: tuple[str, ...], count: int, *, reading: random.Random | None) -> list[tuple[Any, ...]]:
        """Send requests of all kinds, and list the answers.

        :param reading: draws when the client reads; None for a client that always does, on a connection that is none
            of Twisted's.
        """
        self.make_rank("--model", "m", "--mode", "random", "--enable-auto-tool-choice", *words)
        requests = _Requests(random.Random(words[-1]))
        answers: list[tuple[Any, ...]] = []
        for _ in range(count):
            path, fields = requests.make()
            body = json.dumps(fields).encode()
            if reading is None:
                exchange = self.post(path, body)
                self.clock.pump([0.01] * 40)
            else:
                exchange = self.ask(path, body, reading)
            self.assertTrue(exchange.complete, fields)
            headers = {name: value for name, value in exchange.headers.items() if name != "date"}
            answers.append((fields, exchange.status, headers, _by_choice(exchange.body)))
        return answers

    def ask(self, path: str, body: bytes, reading: random.Random) -> Exchange:
        """Send a request on a connection of Twisted's, and read the answer now and then."""
        exchange = Exchange(self.rank.site)
        exchange.drop()
        protocol = exchange.protocol = self.rank.site.buildProtocol(None)
        wire = Wire(protocol)
        exchange.send("POST", path, body, Content_Type="application/json")
        for _ in range(41):
            self.clock.advance(0.01)
            if reading.random() < 0.2:
                exchange.transport.write(wire.read())
        for _ in range(_PATIENCE):
            exchange.transport.write(wire.read_all())
            if exchange.complete:
                break
            self.clock.advance(0)
        wire.close()
        exchange.drop()
        return exchange

    def compare(self, *words: str, count: int) -> None:
        """Compare what both paths answer."""
        fast = self.serve(words, count, reading=random.Random(words[-1]))
        start = ChunkStream.__init__

        def start_plain(stream: Any, *arguments: Any) -> None:
            start(stream, *arguments)
            stream._plain = stream._framed = False

        with (
            patch.object(ChunkStream, "__init__", start_plain),
            patch.object(Request, "piece_writer", lambda request: request.write),
            patch.object(channel, "write_to", lambda transport: transport.write),
        ):
            plain = self.serve(words, count, reading=None)
        for one, other in zip(fast, plain, strict=True):
            self.assertEqual(one, other)

    def test_at_once(self) -> None:
        """A thousand requests without any latency are answered with the same bytes on both paths."""
        self.compare("--seed", "11", count=_COUNT * 7 // 10)

    def test_paced(self) -> None:
        """And so are those whose tokens come one by one."""
        self.compare("--inter-token-latency", "1ms", "--seed", "12", count=_COUNT * 2 // 10)

    def test_reasoning(self) -> None:
        """And so are answers that begin with reasoning."""
        self.compare("--reasoning-parser", "qwen3", "--seed", "13", count=_COUNT // 10)


class RequestTests(SynchronousTestCase):
    """The requests themselves."""

    def test_kinds(self) -> None:
        """They are of all kinds."""
        requests = _Requests(random.Random(1))
        made = [requests.make() for _ in range(200)]
        self.assertEqual(4, len({path for path, _ in made}))
        self.assertEqual({True, False}, {fields["stream"] for _, fields in made})
        self.assertTrue(any("tools" in fields for _, fields in made))
