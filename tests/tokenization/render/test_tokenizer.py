"""The tokenizer of a render service."""

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface.verify import verifyObject

from tests.commandline import load_words
from tests.fakes import in_thread
from tests.tokenization.fakerender import HOST, RenderTestCase, strings
from vllmsim.errors import InferenceError, InvalidRequest, Unavailable
from vllmsim.hashing import fnv1a_32
from vllmsim.inference import Conversation, Media, Message, Span, Template, TextPrompt
from vllmsim.interfaces import ITokenizer
from vllmsim.tokenization.render.tokenizer import RemoteTokenizer, remote_tokenizer, spread

CHAT = Conversation((Message("user", "Hello world"), Message("assistant", "Hi")))
RENDERED = "<think>user</think>\nHello world<think>assistant</think>\nHi"


class RemoteTestCase(RenderTestCase):
    """Tests with a tokenizer that has asked its first questions."""

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.tokenizer = RemoteTokenizer(self.routes, in_thread)

    def meet(self) -> None:
        """Ask the first questions."""
        self.result(self.tokenizer.encode("x", 9))
        self.render.asked.clear()

    def ids(self, text: str, *, special: bool = False) -> list[int]:
        """Cut a text there."""
        ids: list[int] = self.render.tokenizer.encode(text, add_special_tokens=special).ids
        return ids


class BytesTests(RemoteTestCase):
    """With a vocabulary of bytes."""

    def test_interface(self) -> None:
        """It is a tokenizer."""
        self.assertTrue(verifyObject(ITokenizer, self.tokenizer))

    def test_encode(self) -> None:
        """Texts have the service's tokens, and what each says is known to the byte."""
        self.meet()
        for text in strings(30):
            tokens = self.result(self.tokenizer.encode(text, 1000))
            self.assertEqual((self.ids(text), text), (list(tokens.ids), "".join(tokens.texts)))
            self.assertEqual(list(tokens.texts), list(self.tokenizer.texts_of(tokens.ids)))
            self.assertEqual(tokens.ids[:3], self.result(self.tokenizer.encode(text, 3)).ids)

    def test_cached(self) -> None:
        """A text that was cut lately is not asked about again, whatever the limit."""
        self.meet()
        for _ in range(3):
            self.result(self.tokenizer.encode("Hello world", 9))
            self.result(self.tokenizer.encode("Hello world", 1))
        self.assertEqual(["/tokenize"], self.render.paths())

    def test_cache_bound(self) -> None:
        """The oldest are forgotten, and long texts are not kept."""
        self.meet()
        for number in range(5000):
            self.tokenizer._keep(str(number), self.tokenizer.tag("x"))
        self.assertEqual(4096, len(self.tokenizer._cache))
        self.assertNotIn("0", self.tokenizer._cache)
        self.tokenizer._keep("x" * 100_000, self.tokenizer.tag("x"))
        self.assertEqual(4096, len(self.tokenizer._cache))
        for number in range(100):
            self.tokenizer._keep(str(number) * 30_000, self.tokenizer.tag("x"))
        self.assertEqual(sum(map(len, self.tokenizer._cache)), self.tokenizer._cached_characters)
        self.assertLessEqual(self.tokenizer._cached_characters, 1 << 22)

    def test_nothing(self) -> None:
        """An empty text has no tokens."""
        self.assertEqual(0, len(self.result(self.tokenizer.encode("", 9))))

    def test_read_text(self) -> None:
        """A text prompt has the service's tokens, its special ones where they are wanted."""
        self.meet()
        for special in (False, True):
            read = self.result(self.tokenizer.read(TextPrompt("Hello world", special), 99))
            self.assertEqual(self.ids("Hello world", special=special), read.ids)
            self.assertEqual("<s>" * special + "Hello world", "".join(read.texts))
            self.assertEqual("Hello world", read.text)

    def test_limit(self) -> None:
        """No more tokens than are wanted are given."""
        read = self.result(self.tokenizer.read(TextPrompt("Hello world"), 2))
        self.assertEqual((2, 2), (len(read.ids), len(read.texts)))

    def test_read_conversation(self) -> None:
        """A conversation is what the service's template makes of it."""
        self.meet()
        read = self.result(self.tokenizer.read(CHAT, 99))
        self.assertEqual((self.ids(RENDERED), RENDERED), (read.ids, read.text))
        self.assertEqual(RENDERED, "".join(read.texts))
        self.assertIn("<think>", read.texts)
        self.assertEqual(["/v1/chat/completions/render", "/tokenize"], self.render.paths())

    def test_known(self) -> None:
        """Tokens that are known are not asked about again."""
        self.result(self.tokenizer.read(CHAT, 99))
        self.render.paths()
        self.result(self.tokenizer.read(CHAT, 99))
        self.assertEqual(["/v1/chat/completions/render"], self.render.paths())

    def test_many(self) -> None:
        """Many tokens are looked up off the reactor."""
        called: list[str] = []

        def run(function: Any, *arguments: Any) -> Deferred[Any]:
            called.append(function.__name__)
            return in_thread(function, *arguments)

        self.tokenizer = RemoteTokenizer(self.routes, run)
        text = "Hello world, how are you? " * 2000
        read = self.result(self.tokenizer.read(TextPrompt(text, special=False), 10**6))
        self.assertEqual(text, "".join(read.texts))
        self.assertIn("_known_texts", called)

    def test_decode(self) -> None:
        """Tokens become text; the service is asked about those that are new."""
        self.meet()
        ids = self.ids("Hello world")
        self.assertEqual("Hello world", self.result(self.tokenizer.decode(ids)))
        self.assertEqual(["/detokenize"], self.render.paths())
        self.result(self.tokenizer.encode("Hello world", 99))
        self.render.paths()
        self.assertEqual("Hello world", self.result(self.tokenizer.decode(ids)))
        self.assertEqual([], self.render.paths())
        self.assertEqual(self.render.tokenizer.id_to_token(ids[-1]), self.tokenizer.pieces_of(ids)[-1])
        self.assertIsNone(self.tokenizer.text_of(10**6))

    def test_tags(self) -> None:
        """The tags of reasoning are the service's own special tokens; others are what their text is cut into."""
        self.meet()
        self.assertEqual((self.ids("<think>"), ["<think>"]), self.tag("<think>"))
        self.assertEqual(self.ids("<tool_call>"), self.tag("<tool_call>")[0])
        self.assertLess(1, len(self.tag("<tool_call>")[0]))
        self.assertEqual([], self.render.paths())

    def tag(self, text: str) -> tuple[list[int], list[str]]:
        """Look up a tag."""
        tokens = self.tokenizer.tag(text)
        return list(tokens.ids), list(tokens.texts)

    def test_names(self) -> None:
        """Names of tools are cut with the prompt that has them; any other name is one token, which says it."""
        tools: Any = ({"type": "function", "function": {"name": "weather"}}, {"type": "function"}, {})
        self.render.text_of = lambda body: str(body.get("prompt", "Hi"))  # type: ignore[method-assign]
        self.result(self.tokenizer.read(Conversation((Message("user", "Hi"),), Template(tools=tools)), 99))
        self.assertEqual(self.ids("weather"), self.tag("weather")[0])
        ids, texts = self.tag("other")
        self.assertEqual((1, ["other"]), (len(ids), texts))
        self.assertEqual(["other"], list(self.tokenizer.texts_of(ids)))
        self.assertEqual("other", self.result(self.tokenizer.decode(ids)))

    def test_own_tags(self) -> None:
        """A tag of ours is never a token that the service may have."""
        for name, number in (("other", fnv1a_32("other")), ("name221", fnv1a_32("name221") | 1 << 31)):
            self.assertEqual([number], self.tag(name)[0])
            self.assertLess(1 << 24, number)

    def test_told(self) -> None:
        """What the service tells of its tokenizer is repeated, and its end of text is ours."""
        self.meet()
        self.assertEqual("Fake", self.tokenizer.describe()["tokenizer_class"])
        self.assertEqual((self.ids("</s>"), "</s>"), ([self.tokenizer.eos_id], self.tokenizer.eos_text))

    def test_not_told(self) -> None:
        """If it tells nothing, or no token, the end of text is the word tokenizer's."""
        ours = (self.tokenizer.eos_id, self.tokenizer.eos_text)
        for ending in (None, 1, "", "two words", {"content": None}):
            self.setUp()
            self.render.answer_tokenizer_info = lambda *_, told=ending: {"eos_token": told}  # type: ignore[method-assign]
            self.meet()
            self.assertEqual(ours, (self.tokenizer.eos_id, self.tokenizer.eos_text))
        self.setUp()
        self.render.remove("/tokenizer_info")
        self.meet()
        self.assertEqual("RemoteTokenizer", self.tokenizer.describe()["tokenizer_class"])

    def hold(self) -> list[Request]:
        """Have the service keep the first question that is asked."""
        held: list[Request] = []

        def answer(request: Request) -> Any:
            self.render.web.files[f"{HOST}/tokenize"] = self.render.answer
            held.append(request)
            return NOT_DONE_YET

        self.render.web.files[f"{HOST}/tokenize"] = answer
        return held

    def test_first_once(self) -> None:
        """However many come at first, and whoever goes away, the first questions are asked once."""
        held = self.hold()
        work = [Deferred.fromCoroutine(self.tokenizer.encode(text, 9)) for text in "abc"]
        work[0].cancel()
        self.failureResultOf(work[0], CancelledError)
        held[0].write(self.render.answer(held[0]))
        held[0].finish()
        for each in work[1:]:
            self.flush(each)
        self.assertEqual(["b", "c"], ["".join(self.successResultOf(each).texts) for each in work[1:]])
        self.assertEqual(1, self.render.paths().count("/tokenizer_info"))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_first_refused(self) -> None:
        """While the service is away all that come are told so; when it is back it is asked again."""
        held = self.hold()
        work = [Deferred.fromCoroutine(self.tokenizer.encode(text, 9)) for text in "ab"]
        held[0].setResponseCode(503)
        held[0].finish()
        for each in work:
            self.flush(each)
            self.failureResultOf(each, Unavailable)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual("a", "".join(self.result(self.tokenizer.encode("a", 9)).texts))

    def test_first_wrong(self) -> None:
        """If the service finds our first questions wrong, no client is to blame."""
        self.render.web.troubles = [400]
        error = self.failureResultOf(self.finish(self.tokenizer.encode("a", 9)), InferenceError).value
        self.assertEqual((500, False), (error.status, isinstance(error, InvalidRequest)))

    def test_refused(self) -> None:
        """What the service finds wrong with a prompt is the client's error; its troubles are ours."""
        self.meet()
        for status, kind in ((400, InvalidRequest), (503, Unavailable), (500, Unavailable), (403, InferenceError)):
            self.render.web.troubles = [status]
            self.failureResultOf(self.finish(self.tokenizer.read(CHAT, 99)), kind)
        self.render.remove("/v1/chat/completions/render")
        self.failureResultOf(self.finish(self.tokenizer.read(CHAT, 99)), InferenceError)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_media(self) -> None:
        """Prompts with media may take as long as is configured for them."""
        self.meet()
        self.render.web.files[f"{HOST}/v1/chat/completions/render"] = silent
        for media, seconds in (((), 30), ((Media("video", "x"),), 60)):
            work = self.finish(self.tokenizer.read(Conversation((Message("user", "Hi", media=media),)), 99))
            self.clock.advance(seconds - 1)
            self.assertNoResult(work)
            self.clock.advance(1)
            self.failureResultOf(work, Unavailable)

    def test_places(self) -> None:
        """Where the service says that media are, they are, as far as there are tokens."""
        self.meet()
        rendered = {"token_ids": list(range(9))} | {
            "features": {
                "mm_hashes": {"image": ["a", "b"]},
                "mm_placeholders": {"image": [{"offset": 1, "length": 2}, {"offset": 4, "length": 4}]},
            }
        }
        path = "/v1/chat/completions/render"
        self.render.web.files[f"{HOST}{path}"] = lambda _: json.dumps(rendered).encode()
        read = self.result(self.tokenizer.read(CHAT, 6))
        self.assertEqual((Span("a", 1, 2), Span("b", 4, 2)), read.media)

    def test_closed(self) -> None:
        """When it is closed, those who still wait are told."""
        self.render.web.files[f"{HOST}/tokenize"] = silent
        work = self.finish(self.tokenizer.encode("a", 9))
        self.result(self.tokenizer.close())
        self.failureResultOf(work, CancelledError)
        self.result(self.tokenizer.close())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_configured(self) -> None:
        """The service, the model and the times are those that are configured."""
        words = ("m", "--render-url", "http://r:1/", "--render-timeout", "1s", "--mm-render-timeout", "2s")
        tokenizer = remote_tokenizer(load_words(words, {}).configuration, MemoryReactorClock(), in_thread)
        question = tokenizer._routes.text("x", special=True)
        self.assertEqual((1.0, "m"), (question.within, question.body["model"]))
        self.assertEqual("http://r:1", tokenizer._routes._service._url)


def silent(_: Request) -> Any:
    """Never answer."""
    return NOT_DONE_YET


class BlanksTests(RemoteTestCase):
    """With a vocabulary that marks blanks."""

    kind = "blanks"

    def test_texts(self) -> None:
        """What tokens say is known to the byte here too."""
        self.meet()
        for text in strings(10):
            tokens = self.result(self.tokenizer.encode(text, 1000))
            self.assertEqual((self.ids(text), text), (list(tokens.ids), "".join(tokens.texts)))
        read = self.result(self.tokenizer.read(TextPrompt("Hello world"), 99))
        self.assertEqual("<s> Hello world", "".join(read.texts))


class LossyTests(RemoteTestCase):
    """With a vocabulary that does not know what the text was."""

    kind = "lossy"

    def test_texts(self) -> None:
        """Texts are split over the tokens; joined they are the text."""
        self.meet()
        for text in strings(10):
            tokens = self.result(self.tokenizer.encode(text, 1000))
            self.assertEqual((self.ids(text), text), (list(tokens.ids), "".join(tokens.texts)))
            read = self.result(self.tokenizer.read(TextPrompt(text), 1000))
            self.assertEqual((self.ids(text, special=True), text), (read.ids, "".join(read.texts)))

    def test_conversation(self) -> None:
        """The text of a conversation is what the service makes of the tokens."""
        read = self.result(self.tokenizer.read(CHAT, 99))
        self.assertEqual(self.render.tokenizer.decode(read.ids, skip_special_tokens=False), read.text)
        self.assertEqual(read.text, "".join(read.texts))


class BareTests(RemoteTestCase):
    """With a service that renders and does nothing else."""

    def setUp(self) -> None:
        """Remove all else."""
        super().setUp()
        self.render.remove("/tokenize", "/detokenize", "/tokenizer_info")

    def test_texts(self) -> None:
        """Texts have the service's tokens, and are split over them."""
        tokens = self.result(self.tokenizer.encode("Hello world", 99))
        self.assertEqual((self.ids("Hello world"), "Hello world"), (list(tokens.ids), "".join(tokens.texts)))
        self.assertEqual("Hello world", "".join(self.result(self.tokenizer.read(TextPrompt("Hello world"), 99)).texts))

    def test_conversation(self) -> None:
        """A conversation's text is what was said in it."""
        read = self.result(self.tokenizer.read(CHAT, 99))
        self.assertEqual((self.ids(RENDERED), "user: Hello world\nassistant: Hi"), (read.ids, read.text))
        self.assertEqual(read.text, "".join(read.texts))

    def test_decode(self) -> None:
        """Tokens say what they were taken for, and those that were not seen nothing."""
        tokens = self.result(self.tokenizer.encode("Hello world", 99))
        self.assertEqual("Hello world", self.result(self.tokenizer.decode(tokens.ids)))
        self.assertEqual("", self.result(self.tokenizer.decode([10**6])))


class SpreadTests(RemoteTestCase):
    """Texts over tokens of which nothing is known."""

    def test_counts(self) -> None:
        """Words are tokens; the last token has what is left over, or the last tokens nothing."""
        text = "I hear it's very cold."
        self.assertEqual(["I ", "hear ", "it", "'", "s ", "very ", "cold", "."], spread(text, 8))
        self.assertEqual(["I ", "hear ", "it's very cold."], spread(text, 3))
        self.assertEqual(["", "", ""], spread(text, 11)[-3:])
        self.assertEqual(([], ["", ""], [text]), (spread(text, 0), spread("", 2), spread(text, 1)))
