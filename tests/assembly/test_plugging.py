"""A rank that has something from plugins."""

import json
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgpack

from tests.dropins import drop_in
from tests.harness import Exchange, RankTestCase

ROOT = Path(__file__).parents[2]
SOURCE = """
@implementer(IResponseSource)
@frozen
class Source:
    surroundings: object
    texts: object

    async def respond(self, prompt, model, extent, generator):
        s = self.surroundings
        text = self.texts[generator.randrange(len(self.texts))]
        if text == "usual":
            return await s.usual.respond(prompt, model, extent, generator)
        if text == "break":
            raise RuntimeError("no words")
        if text == "nonsense":
            return Tokens([s.tokenizer.vocabulary_size], ["x"])
        if text == "endless":
            return Tokens(iter(int, 1), iter(lambda: "x ", 1))
        if text == "wait":
            from twisted.internet.task import deferLater
            await deferLater(s.clock, 5)
        return await s.tokenizer.encode(f"{text} of {s.model}", extent.most)

source = offer(IResponseSourceFactory, "source", lambda s: Source(s, s.options.get("texts", ["words"])))
"""
TOKENIZER = """
@implementer(ITokenizer)
class Letters:
    eos_id, eos_text, vocabulary_size = 0, "<end>", 0x110000

    def __init__(self, surroundings):
        self.broken = surroundings.options.get("broken", ())

    def cut(self, name, text, limit):
        if name in self.broken:
            raise RuntimeError(name)
        return Tokens(tuple(map(ord, text[:limit])), tuple(text[:limit]))

    async def read(self, prompt, limit):
        text = getattr(prompt, "text", None) or prompt.messages[-1].text
        cut = self.cut("read", text, limit)
        return TokenizedPrompt(prompt, text, cut.ids, cut.texts)

    async def encode(self, text, limit):
        return self.cut("encode", text, limit)

    def texts_of(self, ids):
        return self.cut("texts_of", "".join(map(chr, ids)), len(ids)).texts

    def text_of(self, token):
        return self.cut("text_of", chr(token), 1).texts[0]

    def pieces_of(self, ids):
        return self.cut("pieces_of", "".join(map(chr, ids)), len(ids)).texts

    async def decode(self, ids):
        return "".join(self.cut("decode", "".join(map(chr, ids)), len(ids)).texts)

    def tag(self, text):
        return self.cut("tag", text, len(text))

    def describe(self):
        return {"tokenizer_class": "Letters"} if "describe" not in self.broken else 1 / 0

    async def close(self):
        self.cut("close", "", 0)

letters = offer(ITokenizerFactory, "letters", Letters)
"""
PUBLISHER = """
@implementer(IBlockEventOutlet)
class Outlet:
    made = []

    def __init__(self, surroundings):
        self.made.append(self)
        self.topic, self.batches, self.broken = surroundings.topic, [], surroundings.options.get("broken")

    def open(self):
        self.batches.append("open")

    def publish(self, sequence, payload, events):
        if self.broken:
            raise RuntimeError("full")
        self.batches.append((sequence, payload, events))

    def describe(self):
        return {"endpoint": "memory"}

    async def close(self):
        self.batches.append("close")

memory = offer(IBlockEventPublisherFactory, "memory", Outlet)
outlets = Outlet.made
"""


class PluginTestCase(RankTestCase):
    """Everything that plugins may add is there."""

    def setUp(self) -> None:
        """Put it there."""
        drop_in(self, source=SOURCE, tokenizer=TOKENIZER, publisher=PUBLISHER)

    def make(self, *words: str, options: Any = None) -> None:
        """Make a rank with some options for its plugins."""
        self.make_rank(*words, *([] if options is None else ["--plugin-options", json.dumps(options)]))

    def assertInternal(self, exchange: Exchange) -> None:
        """Look whether a request was answered 500, and whether it has left anything behind."""
        self.assertEqual(500, exchange.status, exchange.body)
        self.assertEqual("Internal server error", exchange.json()["error"]["message"])
        self.assertEqual(0, self.rank.slots.running)
        self.assertEqual([], list(self.rank.backlog.sequences))

    def assertCannotStart(self, text: str, *words: str, options: Any = None) -> None:
        """Look whether a rank cannot be made, and why."""
        with self.assertRaises(SystemExit) as caught:
            self.make(*words, options=options)
        self.assertIn(f"vllmsim: cannot start: {text}", str(caught.exception))


class SourceTests(PluginTestCase):
    """Answers."""

    def said(self, *texts: str, **fields: Any) -> str:
        """Ask one who has some texts."""
        self.make("--mode", "source", "--model", "m", options={"source": {"texts": texts}} if texts else None)
        return str(self.complete("hi", max_tokens=100, **fields).json()["choices"][0]["text"])

    def test_answers(self) -> None:
        """A plugin says what answers say, with what it finds around it."""
        self.assertEqual("words of m", self.said())
        self.assertEqual("sun of m", self.said("sun"))

    def test_usual(self) -> None:
        """It may leave that to the program."""
        self.assertNotIn("of m", self.said("usual", seed=3))

    def test_seed(self) -> None:
        """It draws as the request's seed has it."""
        texts = [f"t{number}" for number in range(100)]
        said = [self.said(*texts, seed=seed) for seed in (1, 1, 2)]
        self.assertEqual(said[0], said[1])
        self.assertNotEqual(said[0], said[2])

    def test_endless(self) -> None:
        """What has no end is cut where the answer must end."""
        self.assertEqual("x " * 100, self.said("endless"))

    def test_short(self) -> None:
        """What is shorter than the request wants is said again."""
        self.make("--mode", "source", "--model", "m")
        text = self.complete("hi", max_tokens=7, ignore_eos=True).json()["choices"][0]["text"]
        self.assertEqual("words of mwords of mwords ", text)

    def test_breaks(self) -> None:
        """One that breaks costs the request, in the dialect of its route, and nothing of the server's."""
        for text in ("break", "nonsense"):
            self.make("--mode", "source", "--enable-kvcache", "--model", "m", options={"source": {"texts": [text]}})
            self.assertInternal(self.complete("hi"))
            self.assertInternal(self.chat(stream=True))
            answer = self.post(
                "/v1/messages", {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
            )
            self.assertEqual((500, "api_error"), (answer.status, answer.json()["error"]["type"]))
            self.assertEqual(0, self.rank.simulator.load().cache_usage)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_waits(self) -> None:
        """While one waits others are served, and who leaves gives its slot back."""
        self.make("--mode", "source", "--max-num-seqs", "1", options={"source": {"texts": ["wait"]}})
        first, second = self.complete("hi", max_tokens=50), self.complete("hi", max_tokens=50)
        self.clock.advance(2)
        self.assertEqual((1, 2), (self.rank.slots.running, len(self.rank.backlog.sequences)))
        first.drop()
        self.clock.advance(0)
        self.clock.advance(5)
        self.assertEqual(200, second.status)
        self.assertEqual(0, self.rank.slots.running)

    def test_not_made(self) -> None:
        """One that is not there, or does not like its options, ends the start with one line."""
        self.assertCannotStart("mode: there is no response source 'sauce'; there are", "--mode", "sauce")
        options = {"source": {"text": "sun"}}
        text = "mode: the response source source says: 'text' is no option of it; did you mean texts?"
        self.assertCannotStart(text, "--mode", "source", options=options)


class DocumentationTests(RankTestCase):
    """The page of plugins."""

    def test_ten_lines(self) -> None:
        """The plugin that the page begins with answers as the page says."""
        page = ROOT.joinpath("docs", "plugins.rst").read_text("utf-8")
        [block] = re.findall(r"code-block:: python\n\n(.*?)\n\S", page, re.DOTALL)
        drop_in(self, head="", no=dedent(block))
        self.make_rank("--mode", "naysayer", "--plugin-options.naysayer.word", "Never.")
        self.assertEqual("Never.", self.chat().json()["choices"][0]["message"]["content"])


class TokenizerTests(PluginTestCase):
    """Texts."""

    def test_tokens(self) -> None:
        """A plugin cuts what clients send, and what is said to them."""
        self.make("--tokenizer", "plugin:letters", "--mode", "echo")
        answer = self.chat("ab cd", logprobs=True).json()
        self.assertEqual("ab cd", answer["choices"][0]["message"]["content"])
        self.assertEqual((5, 6), (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]))
        tokens = self.post("/tokenize", {"prompt": "ab", "return_token_strs": True}).json()
        self.assertEqual(([97, 98], ["a", "b"]), (tokens["tokens"], tokens["token_strs"]))
        self.assertEqual("ab", self.post("/detokenize", {"tokens": [97, 98]}).json()["prompt"])
        self.assertEqual("Letters", self.get("/tokenizer_info").json()["tokenizer_class"])

    def test_breaks(self) -> None:
        """One that breaks in any method costs requests, and nothing else."""
        # After the tokenizers are closed.
        self.addCleanup(self.flushLoggedErrors)
        asked: dict[str, Any] = {
            "read": lambda: self.chat("ab"),
            "encode": lambda: self.chat("ab"),
            "texts_of": lambda: self.complete([97, 98]),
            "tag": lambda: self.chat("ab", tools=[{"type": "function", "function": {"name": "f"}}],
                                     tool_choice="required"),
            "pieces_of": lambda: self.post("/tokenize", {"prompt": "ab", "return_token_strs": True}),
            "decode": lambda: self.post("/detokenize", {"tokens": [97, 98]}),
            "describe": lambda: self.get("/tokenizer_info"),
        }  # fmt: skip
        for name, ask in asked.items():
            with self.subTest(name):
                words = "--tokenizer", "plugin:letters", "--mode", "echo"
                self.make(*words, options={"letters": {"broken": [name, "close"]}})
                self.assertInternal(ask())
                self.assertEqual(200, self.get("/health").status)

    def test_not_made(self) -> None:
        """One that is not there ends the start."""
        self.assertCannotStart("tokenizer: there is no tokenizer 'lettres'", "--tokenizer", "plugin:lettres")


class PublisherTests(PluginTestCase):
    """KV events."""

    def outlets(self) -> list[Any]:
        """Find what has been made."""
        from vllmsim.plugins import publisher  # type: ignore[attr-defined]  # noqa: PLC0415 - it is dropped in

        return list(publisher.outlets)

    def publish(self, *words: str, options: Any = None) -> Any:
        """Have a rank publish something."""
        self.make("--enable-kvcache", "--model", "m", *words, options=options)
        self.assertEqual(200, self.complete("hello " * 40).status)
        self.clock.advance(1)
        return self.outlets()[-1]

    def test_batches(self) -> None:
        """A plugin gets the batches that sockets would get, in either way of naming it."""
        config = '{"enable_kv_cache_events":true,"publisher":"memory","topic":"kv"}'
        for words, topic in (
            (["--kv-events-publisher", "memory"], "kv@localhost:8000@m"),
            (["--kv-events-config", config], "kv"),
        ):
            outlet = self.publish(*words)
            [(sequence, payload, events)] = outlet.batches
            self.assertEqual((0, 1, topic), (sequence, events, outlet.topic))
            self.assertEqual(1, len(msgpack.unpackb(payload)[1]))
            sources = self.get("/kv_event_sources").json()
            [source] = sources if isinstance(sources, list) else sources.values()
            self.assertEqual(("memory", "memory"), (source["publisher"], source["endpoint"]))

    def test_breaks(self) -> None:
        """What it breaks on is dropped and counted, and requests hear nothing of it."""
        self.publish("--kv-events-publisher", "memory", options={"memory": {"broken": True}})
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assertIn("dropped", self.get("/metrics").body.decode())

    def test_nobody(self) -> None:
        """With null nothing is published."""
        self.make("--enable-kvcache", "--kv-events-publisher", "null")
        self.assertIsNone(self.rank.events)

    def test_not_made(self) -> None:
        """One that is not there ends the start."""
        words = "--enable-kvcache", "--kv-events-publisher", "memories"
        self.assertCannotStart("kv-events-publisher: there is no publisher of KV events 'memories'", *words)
