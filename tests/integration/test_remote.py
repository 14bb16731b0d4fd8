"""The render service's tokenizer, with another daemon as the service."""

import json
import urllib.error
import urllib.request
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.commandline import load_words
from tests.fakes import in_thread
from tests.integration.daemon import PATIENCE, Daemon, free_port
from vllmsim.errors import InvalidRequest, Unavailable
from vllmsim.inference import Conversation, Message, Template, TextPrompt
from vllmsim.tokenization.render.tokenizer import RemoteTokenizer, remote_tokenizer
from vllmsim.tokenization.words import WordTokenizer

TOOLS = ({"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}},)


class RemoteTests(TestCase):
    """Real connections."""

    def setUp(self) -> None:
        """Start a service."""
        self.daemon = Daemon("--model", "m", "--max-model-len", "100")
        self.addCleanup(self.daemon.log.close)
        self.addCleanup(self.daemon.stop)
        self.daemon.wait()
        self.tokenizer = self.tokenizer_at(self.daemon.url("/"))
        self.words = WordTokenizer(in_thread)

    def tokenizer_at(self, url: str) -> RemoteTokenizer:
        """Make the tokenizer of a service."""
        configuration = load_words(("m", "--render-url", url, "--render-timeout", "5s"), {}).configuration
        return remote_tokenizer(configuration, reactor, deferToThread)

    def tearDown(self) -> Any:
        """Close the connections."""
        closed = Deferred.fromCoroutine(self.tokenizer.close())
        return closed.addCallback(lambda _: deferLater(reactor, 0.05))

    async def test_texts(self) -> None:
        """Texts and prompts have the service's tokens, and what they say is known to the byte."""
        text = "I hear it's very cold. \u00e9\u4f60\u597d \U0001f600"
        mine = await self.words.encode(text, 99)
        tokens = await self.tokenizer.encode(text, 99)
        self.assertEqual((list(mine.ids), list(mine.texts)), (list(tokens.ids), list(tokens.texts)))
        read = await self.tokenizer.read(TextPrompt(text), 99)
        self.assertEqual((list(mine.ids), text), (list(read.ids), read.text))
        self.assertEqual(text, await self.tokenizer.decode(mine.ids))

    async def test_conversation(self) -> None:
        """Conversations have the service's chat template, also with tools and media."""
        part = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
        turn = {"role": "user", "content": [{"type": "text", "text": "Hello"}, part]}
        conversation = Conversation((Message("user", "Hello", turn=turn),), Template(tools=TOOLS))
        read = await self.tokenizer.read(conversation, 99)
        self.assertEqual("### user: Hello\nimage: http://x/y.png\n", read.text)
        self.assertEqual("weather", "".join(self.tokenizer.tag("weather").texts))

    async def test_side_by_side(self) -> None:
        """Many questions at once are all answered, over connections that are kept."""
        texts = [f"question {number} of two hundred" for number in range(200)]
        tokens = await gatherResults([Deferred.fromCoroutine(self.tokenizer.encode(text, 99)) for text in texts])
        self.assertEqual(texts, ["".join(each.texts) for each in tokens])

    async def test_too_long(self) -> None:
        """A prompt that is too long for the service is the client's error, in the service's words."""
        error = await self.assertFailure(self.reading(TextPrompt("word " * 200)), InvalidRequest)
        self.assertIn("maximum context length is 100 tokens", str(error))

    def reading(self, prompt: TextPrompt) -> Any:
        """Read a prompt."""
        return Deferred.fromCoroutine(self.tokenizer.read(prompt, 999))

    async def test_away(self) -> None:
        """While there is no service, clients are told so; when it is there it is used."""
        port = free_port()
        self.tokenizer = self.tokenizer_at(f"http://127.0.0.1:{port}")
        await self.assertFailure(self.reading(TextPrompt("Hello")), Unavailable)
        daemon = Daemon("--model", "m", port=port)
        try:
            daemon.wait()
            self.assertEqual("Hello", (await self.tokenizer.read(TextPrompt("Hello"), 9)).text)
        finally:
            daemon.stop()
            daemon.log.close()


class ServedTests(TestCase):
    """A whole daemon that has its tokens from another."""

    def setUp(self) -> None:
        """Start both."""
        self.service = self.start("--model", "m", "--tokenizer", "builtin", "--max-model-len", "200")
        words = ("--tokenizer", "remote", "--render-url", self.service.url(), "--reasoning-parser", "deepseek_r1")
        self.daemon = self.start("--model", "m", "--max-model-len", "2000", *words)

    def start(self, *words: str) -> Daemon:
        """Start a daemon."""
        daemon = Daemon(*words)
        self.addCleanup(daemon.log.close)
        self.addCleanup(daemon.stop)
        daemon.wait()
        return daemon

    def post(self, daemon: Daemon, path: str, **body: Any) -> Any:
        """Send a request."""
        data = json.dumps(body).encode()
        asked = urllib.request.Request(daemon.url(path), data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(asked, timeout=PATIENCE) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def test_tokens(self) -> None:
        """Prompts and answers have the tokens that the other counts, to the byte."""
        text = "I hear it's very cold. \u00e9\u4f60\u597d \U0001f600"
        messages = [{"role": "user", "content": text}]
        for body in ({"prompt": text}, {"messages": messages}):
            ours, theirs = (
                self.post(daemon, "/tokenize", return_token_strs=True, **body) for daemon in (self.daemon, self.service)
            )
            self.assertEqual(theirs["tokens"], ours["tokens"])
            self.assertEqual(theirs["token_strs"], ours["token_strs"])
        answer = self.post(self.daemon, "/v1/chat/completions", messages=messages, max_tokens=50, return_token_ids=True)
        self.assertEqual(ours["count"], answer["usage"]["prompt_tokens"])
        said = self.post(self.service, "/detokenize", tokens=answer["choices"][0]["token_ids"])["prompt"]
        message = answer["choices"][0]["message"]
        self.assertIn(message["reasoning"], said)
        self.assertIn(message["content"] or "", said)

    def test_refused(self) -> None:
        """A prompt that the other refuses is refused here; when the other is gone, that is said."""
        words = "several words " * 200
        answer = self.post(self.daemon, "/v1/completions", prompt=words)
        self.assertEqual(400, answer["error"]["code"])
        self.assertIn("maximum context length is 200 tokens", answer["error"]["message"])
        self.post(self.daemon, "/v1/completions", prompt="Hello")
        self.service.stop()
        away = "The render service cannot be reached."
        for path, body in (
            ("/v1/completions", {"prompt": "new"}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "new"}]}),
            ("/v1/embeddings", {"input": "new"}),
            ("/tokenize", {"prompt": "new"}),
            ("/v1/responses", {"input": "new"}),
        ):
            answer = self.post(self.daemon, path, **body)
            self.assertEqual((503, away), (answer["error"]["code"], answer["error"]["message"]))
        messages = [{"role": "user", "content": "new"}]
        answer = self.post(self.daemon, "/v1/messages", model="m", max_tokens=5, messages=messages)
        self.assertEqual(("error", away), (answer["type"], answer["error"]["message"]))
        self.assertEqual(0, self.daemon.stop())
        self.assertNotIn("Traceback", self.daemon.output())
