"""``/tokenize`` and ``/detokenize``."""

from typing import Any

from twisted.internet.defer import Deferred

from tests.fakes import in_thread
from tests.harness import RankTestCase
from vllmsim.api.tokens import TokenDialect
from vllmsim.models import ModelCatalogue
from vllmsim.tokenization.words import WordTokenizer
from vllmsim.web.root import RankResource
from vllmsim.web.tokens import TokenRoutes


class TokenTests(RankTestCase):
    """There and back."""

    def setUp(self) -> None:
        """Serve a rank."""
        self.make_rank("--max-model-len", "2048")

    def test_text(self) -> None:
        """A text becomes ids, however long it is, and they become the text again."""
        text = "  Grüße an `alle` | 漢字 🙂\n" * 300
        answer = self.post("/tokenize", {"prompt": text, "return_token_strs": True}).json()
        self.assertEqual((len(answer["tokens"]), 2048), (answer["count"], answer["max_model_len"]))
        self.assertGreater(answer["count"], 2048)
        self.assertEqual(text, "".join(answer["token_strs"]))
        self.assertEqual(text, self.post("/detokenize", {"tokens": answer["tokens"]}).json()["prompt"])

    def test_conversation(self) -> None:
        """Messages are counted as the chat template renders them."""
        answer = self.post("/tokenize", {"messages": [{"role": "user", "content": "This is a test."}]}).json()
        self.assertEqual((10, None), (answer["count"], answer["token_strs"]))

    def test_what_makes_no_tokens(self) -> None:
        """Tools and template arguments are accepted and make no tokens; a template of the client's is refused."""
        messages = [{"role": "user", "content": "This is a test."}]
        tool = {"type": "function", "function": {"name": "f"}}
        more = {
            "tools": [tool],
            "chat_template_kwargs": {"a": 1},
            "add_special_tokens": True,
            "mm_processor_kwargs": {},
        }
        self.assertEqual(10, self.post("/tokenize", {"messages": messages, **more}).json()["count"])
        exchange = self.post("/tokenize", {"messages": messages, "chat_template": "x"})
        self.assertIn("untrusted chat template", exchange.json()["error"]["message"])
        wrongs: list[dict[str, Any]] = [{"tools": [1]}, {"chat_template_kwargs": 1}]
        for wrong in wrongs:
            self.assertEqual(400, self.post("/tokenize", {"messages": messages, **wrong}).status)

    def test_large(self) -> None:
        """Large bodies are read, and many tokens spelled, in a thread, so that nobody waits for them."""
        deferred: list[Deferred[Any]] = []

        def defer(function: Any, *arguments: Any) -> Deferred[Any]:
            deferred.append(Deferred().addCallback(lambda _: function(*arguments)))
            return deferred[-1]

        dialect = TokenDialect(ModelCatalogue("model", ("model",)), 2048)
        self.rank.site.resource = RankResource([TokenRoutes(dialect, WordTokenizer(in_thread), defer).app])
        exchange = self.post("/tokenize", {"prompt": "x " * 10_000, "return_token_strs": True})
        for _ in range(2):
            self.assertEqual(0, exchange.status)
            deferred.pop().callback(None)
        self.assertEqual(["x "] * 10_000, exchange.json()["token_strs"])
        exchange = self.post("/detokenize", {"tokens": [1] * 10_000})
        self.assertEqual(0, exchange.status)
        deferred.pop().callback(None)
        self.assertEqual(200, exchange.status)
        self.assertEqual(200, self.post("/tokenize", {"prompt": "x", "return_token_strs": True}).status)
        self.assertEqual([], deferred)

    def test_many_messages(self) -> None:
        """A conversation is as long as one of a chat may be."""
        messages = [{"role": "user", "content": "a"}] * 16_385
        self.assertIn("max-json-items", self.post("/tokenize", {"messages": messages}).json()["error"]["message"])
        self.assertEqual(200, self.post("/tokenize", {"messages": messages[1:]}).status)

    def test_unknown_ids(self) -> None:
        """Ids that mean nothing are no text."""
        self.assertEqual({"prompt": ""}, self.post("/detokenize", {"tokens": [10**30]}).json())

    def test_errors(self) -> None:
        """Errors have the shape of the API."""
        self.assertEqual(404, self.post("/tokenize", {"prompt": "a", "model": "x"}).json()["error"]["code"])
        self.assertEqual(400, self.post("/detokenize", {"tokens": "x"}).status)
        messages = [{"role": "user", "content": "a"}]
        both = {"messages": messages, "continue_final_message": True}
        for body, said in (({"messages": []}, "empty conversation"), (both, "Cannot set both")):
            exchange = self.post("/tokenize", body)
            self.assertEqual(400, exchange.status)
            self.assertIn(said, exchange.json()["error"]["message"])
        self.assertEqual(200, self.post("/tokenize", {"prompt": None, "messages": messages}).status)


class TokenizerTests(RankTestCase):
    """What the tokenizer is."""

    def test_info(self) -> None:
        """The tokenizer's class, its arguments and its chat template are told."""
        self.make_rank()
        info = self.get("/tokenizer_info").json()
        self.assertEqual(("WordTokenizer", "<|im_end|>"), (info["tokenizer_class"], info["eos_token"]))
        self.assertIn("{% for message in messages %}", info["chat_template"])
        self.assertEqual(405, self.post("/tokenizer_info", {}).status)

    def test_not_told(self) -> None:
        """A server that is told to keep it to itself has no such route."""
        self.make_rank("--no-enable-tokenizer-info-endpoint")
        exchange = self.get("/tokenizer_info")
        self.assertEqual((404, {"detail": "Not Found"}), (exchange.status, exchange.json()))
